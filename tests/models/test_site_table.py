"""sites_of: every hook that fires, once, with its width, and where edits are offered."""

from __future__ import annotations

import torch

import saekit as sk
from saekit.models import Site, check_edit_site, joined_width


def test_the_sites_of_a_model(tiny_llama):
    found = sk.models.sites_of(tiny_llama)
    rows = {row["site"]: row for row in found.rows}
    assert len(rows) == len(found) == len(list(found)) and isinstance(found[0], Site)
    points = [id(tiny_llama.hook_dict[site]) for site in found]
    assert len(set(points)) == len(points) > 60, "a hook of two names stands there once"
    kinds = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")
    assert [(rows[f"blocks.1.{k}"]["width"], rows[f"blocks.1.{k}"]["heads"]) for k in kinds] == [
        (16, 4),
        (8, 2),
        (8, 2),
        (16, 4),
    ]
    assert rows["blocks.0.attn.hook_pattern"]["width"] is None  # as wide as the text is long
    assert rows["blocks.0.mlp.hook_post"] == {
        "site": "blocks.0.mlp.hook_post",
        "layer": 0,
        "width": 24,
        "heads": 0,
        "edits": False,
    }
    edits = [site for site, row in rows.items() if row["edits"]]
    assert len(edits) == 16 and all(check_edit_site(tiny_llama, site) for site in edits)
    for site, row in rows.items():
        assert row["width"] is None or row["width"] == joined_width(tiny_llama, site)
    assert "hook_pos_embed" not in rows and "blocks.0.hook_mlp_in" not in rows  # they do not fire
    assert list(found.frame().columns) == ["site", "layer", "width", "heads", "edits"]
    assert "blocks.0.hook_resid_post" in repr(found) and "<table>" in found._repr_html_()
    assert f"{len(rows)} sites to read, 16 to edit" in found.definition


def test_nobodys_hooks_are_asked_or_lost(tiny_gpt2):
    plain = sk.models.sites_of(tiny_gpt2).rows
    seen = []
    with tiny_gpt2.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda h, hook: seen.append(1))]):
        assert sk.models.sites_of(tiny_gpt2).rows == plain and not seen
        tiny_gpt2(torch.tensor([[1, 2]]))
        assert seen == [1]
