"""sites_of: the places of a model where activations can be read, and those where edits are offered."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.models.load import describe_model
from saekit.models.site import Site
from saekit.models.sites import check_edit_site, site_width
from saekit.models.state import alone, evaluation
from saekit.plots import html_table, text_table

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, repr=False)
class Sites(Sequence[Site]):
    """The sites of a model that fire, in the order of a pass.

    rows: site, layer (None outside the blocks), width of what a dictionary reads there (heads · d_head where heads come
    one by one; None where that is no vector a token), heads (0 where there are none), edits: whether they are offered.
    definition: how many there are.
    """

    rows: list[dict[str, Any]]
    definition: str

    def __getitem__(self, index: Any) -> Any:
        sites = [Site(row["site"]) for row in self.rows]
        return sites[index]

    def __len__(self) -> int:
        return len(self.rows)

    def frame(self) -> pandas.DataFrame:
        """A row a site, as a pandas frame."""
        import pandas

        return pandas.DataFrame(self.rows).astype({"layer": "Int64", "width": "Int64"})

    def __repr__(self) -> str:
        """A line for the same site of several layers, by the name in the first; where edits are offered come first."""
        alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in self.rows:
            name = row["site"] if row["layer"] is None else row["site"].replace(str(row["layer"]), "", 1)
            alike.setdefault((not row["edits"], name, row["width"], row["heads"]), []).append(row)
        rows = []
        for own in sorted(alike.values(), key=lambda own: not own[0]["edits"]):
            layers = "" if own[0]["layer"] is None else str(own[0]["layer"])
            layers += f" … {own[-1]['layer']}" if len(own) > 1 else ""
            first = {"site": own[0]["site"], "layers": layers, "width": own[0]["width"]}
            rows.append(first | {"heads": own[0]["heads"] or None, "edits": "yes" if own[0]["edits"] else "no"})
        return f"{self.definition}\n{text_table(rows, more='.frame(), every site by its name')}"

    def _repr_html_(self) -> str:
        shown = [row | {"edits": "yes" if row["edits"] else "no", "heads": row["heads"] or None} for row in self.rows]
        return html_table(shown, caption="sites", header=self.definition)


def sites_of(model: TransformerBridge) -> Sites:
    """The hooks of a model that fire, each once by its TransformerLens name: ``sk.models.sites_of(model)``.

    A few passes of a few tokens, without the hooks that stand on the model.
    """
    names: dict[int, list[Site]] = {}
    for name, point in model.hook_dict.items():
        names.setdefault(id(point), []).append(Site(name))
    shapes, longer = _shapes(model, 1), _shapes(model, 2)
    rows: list[dict[str, Any]] = []
    for number, shape in shapes.items():
        site = _usual(names[number])
        # Attention patterns, say, are as wide as the text is long, and rotary angles are no row's.
        a_token = longer[number] == (2, 2, *shape[2:]) and (len(shape) == 3 or site.heads)
        width = shape[-1] if a_token else None
        heads = shape[-1] // site_width(model, site) if site.heads else 0
        edits = _edits(model, site)
        rows.append({"site": str(site), "layer": site.layer, "width": width, "heads": heads, "edits": edits})
    offered = sum(row["edits"] for row in rows)
    return Sites(rows, f"{describe_model(model)['model']}: {len(rows)} sites to read, {offered} to edit")


def _shapes(model: TransformerBridge, length: int) -> dict[int, tuple[int, ...]]:
    """The shape of what passes each hook point, by the point's id, in the order of a pass; heads side by side."""
    seen: dict[int, tuple[int, ...]] = {}

    def keep(point: Any, given: Any, h: Any) -> None:
        if isinstance(h, Tensor) and h.ndim >= 2:
            seen.setdefault(id(point), tuple(h.shape))

    with ExitStack() as stack:
        for context in (alone(model), evaluation(model), torch.no_grad()):
            stack.enter_context(context)
        for point in {id(point): point for point in model.hook_dict.values()}.values():
            stack.callback(point.register_forward_hook(keep).remove)
        model(torch.zeros(2, length, dtype=torch.long, device=model.cfg.device), return_type=None)
    return seen


def _usual(names: Sequence[Site]) -> Site:
    """Of the names of one hook, the one that edits know, else the last, which is the shortest."""
    return next((name for name in names if name.editable), names[-1])


def _edits(model: TransformerBridge, site: Site) -> bool:
    try:
        return check_edit_site(model, site) == site
    except ValueError:
        return False
