"""LoadedModel: TransformerLens' bridge, which says what it is in four lines where it would draw its tree of modules."""

from __future__ import annotations

from transformer_lens.model_bridge import TransformerBridge

from saekit.models.bos import bos_of
from saekit.plots.tokens import shown


class LoadedModel(TransformerBridge):
    """What ``load_model`` gives: the same object in everything but its text."""

    def __repr__(self) -> str:
        """What it is, where it is, and where the rest is said."""
        c, own = self.cfg, type(self.original_model).__name__
        try:
            bos = None if self.tokenizer is None else bos_of(self)
            token = None if bos is None else self.tokenizer.convert_ids_to_tokens(bos)
            begins = "rows begin with their text" if token is None else f"rows begin with BOS {shown(str(token))!r}"
        except ValueError as error:  # a tokenizer that begins a text with several tokens
            begins = str(error)
        return (
            f"{shown(str(self.model_name))}: {own}, {self.origin}\n"
            f"{c.n_layers} layers of width {c.d_model}, {c.n_heads} heads, context {c.n_ctx}, vocabulary {c.d_vocab}\n"
            f"{c.device}, {str(c.dtype).removeprefix('torch.')}; {begins}; weights as stored, "
            f"hash {self.model_hash[:12]}\n"
            "places to read and edit: sk.models.sites_of(model); its modules: print(model.original_model)"
        )

    __str__ = __repr__
