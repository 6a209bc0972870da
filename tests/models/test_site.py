"""Site: what a name alone says."""

from __future__ import annotations

import json
import pickle

import pytest

from saekit.models import Site


@pytest.mark.parametrize(
    ("name", "model", "layer", "kind", "heads", "residual", "added", "editable"),
    [
        ("blocks.2.hook_resid_post", None, 2, "hook_resid_post", False, True, False, True),
        ("blocks.12.hook_resid_pre", None, 12, "hook_resid_pre", False, True, False, True),
        ("blocks.0.hook_resid_mid", None, 0, "hook_resid_mid", False, False, False, False),
        ("blocks.0.hook_mlp_out", None, 0, "hook_mlp_out", False, False, True, True),
        ("tuned:blocks.1.hook_attn_out", "tuned", 1, "hook_attn_out", False, False, True, True),
        ("a:b:blocks.1.attn.hook_z", "a:b", 1, "attn.hook_z", True, False, False, True),
        ("blocks.1.attn.hook_k", None, 1, "attn.hook_k", True, False, False, True),
        ("blocks.1.mlp.hook_post", None, 1, "mlp.hook_post", False, False, False, False),
        ("hook_embed", None, None, "hook_embed", False, False, False, False),
        ("hook_resid_post", None, None, "hook_resid_post", False, False, False, False),
        ("x", None, None, "x", False, False, False, False),
    ],
)
def test_what_a_name_says(name, model, layer, kind, heads, residual, added, editable):
    site = Site(name)
    assert (site.model, site.layer, site.kind, site.heads) == (model, layer, kind, heads)
    assert (site.is_residual, site.is_added, site.editable) == (residual, added, editable)
    assert site.hook == name.rpartition(":")[2]


def test_it_is_a_string():
    site = Site("tuned:blocks.1.hook_resid_post")
    assert site == "tuned:blocks.1.hook_resid_post" and {site: 1}["tuned:blocks.1.hook_resid_post"] == 1
    assert json.loads(json.dumps({site: [site]})) == {str(site): [str(site)]}
    again = pickle.loads(pickle.dumps(site))
    assert again == site and again.layer == 1 and f"{site!r}" == "'tuned:blocks.1.hook_resid_post'"


def test_beside():
    assert Site("blocks.3.mlp.hook_in").beside("hook_mlp_out") == "blocks.3.hook_mlp_out"
    assert Site("tuned:blocks.3.hook_mlp_out").beside("hook_resid_pre") == "tuned:blocks.3.hook_resid_pre"
    with pytest.raises(ValueError, match="'hook_embed' lies in no block"):
        Site("hook_embed").beside("hook_mlp_out")
