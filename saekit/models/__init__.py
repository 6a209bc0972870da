"""Language models: loading, hashing, and the sites where activations are read and edited."""

from __future__ import annotations

from saekit.models._pending import Site, describe_model, joined_width
from saekit.models.hashing import hash_checkpoint
from saekit.models.load import load_model
from saekit.models.sites import check_edit_site, check_site, site_layer, site_width

__all__ = ["Site", "describe_model", "joined_width", "check_edit_site", "check_site", "hash_checkpoint", "load_model", "site_layer", "site_width"]
