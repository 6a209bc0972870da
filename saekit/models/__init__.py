"""Language models: loading, hashing, the sites where activations are read and edited, and the one pass that does it."""

from __future__ import annotations

from saekit.models.bos import bos_of
from saekit.models.bridge import Call, Change, Passed, hooked
from saekit.models.filling import ROWS_AT_ONCE, passes
from saekit.models.fine_tuning import fine_tune
from saekit.models.hashing import hash_checkpoint
from saekit.models.load import describe_model, load_model
from saekit.models.one_pass import forward
from saekit.models.placing import as_device, as_dtype, put
from saekit.models.several import SeveralModels, by_model, model_at, together
from saekit.models.site import Site
from saekit.models.site_table import Sites, sites_of
from saekit.models.sites import (
    by_head,
    can_be_edited,
    check_edit_site,
    check_site,
    joined,
    joined_width,
    reached_after,
    site_layer,
    site_width,
)

__all__ = [
    "ROWS_AT_ONCE",
    "Call",
    "Change",
    "Passed",
    "SeveralModels",
    "Site",
    "Sites",
    "as_device",
    "as_dtype",
    "bos_of",
    "by_head",
    "by_model",
    "can_be_edited",
    "check_edit_site",
    "check_site",
    "describe_model",
    "fine_tune",
    "forward",
    "hash_checkpoint",
    "hooked",
    "joined",
    "joined_width",
    "load_model",
    "model_at",
    "passes",
    "put",
    "reached_after",
    "site_layer",
    "site_width",
    "sites_of",
    "together",
]


def __dir__() -> list[str]:
    return [*__all__]
