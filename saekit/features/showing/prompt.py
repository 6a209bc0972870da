"""features_on: which latents fire on which token of a prompt of one's own."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from saekit_kernels import SparseCodes

from saekit.activations import harvest
from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.coded import coded
from saekit.dictionaries.provenance import check_named
from saekit.dictionaries.wanted import dictionary_of
from saekit.features.pieces import Piece, pieces, token_bytes
from saekit.features.showing.score_sheet import score_sheet
from saekit.files.roles import DICTIONARY, MODEL, MODELS, RUN, check_roles
from saekit.models import joined_width, together
from saekit.plots import text_table

if TYPE_CHECKING:
    import pandas
    from saekit_widgets.protocols import PromptView
    from transformer_lens.model_bridge import TransformerBridge

SHOWN = 5  # latents of a token that are printed
DEFINITION = (
    "Codes z of the prompt's tokens, BOS first where the model has one; BOS is not counted, and neither coded nor "
    "shown with a value. A latent fires where z ≠ 0. Latents are in the order of their largest |z| here, as a share of "
    "latent_max where that was measured."
)


@dataclass(frozen=True, eq=False, repr=False)
class PromptFeatures:
    """What fires on a prompt of t tokens; a notebook draws it as a score sheet.

    tokens:    [t] token ids, BOS first where the model has one.
    positions: [t] index of each token in the prompt, −1 at BOS.
    counted:   [t] False at BOS.
    latents:   [m] those that fire on a counted token, the strongest first (see `definition`).
    values:    [m, t] float32, z; 0 where a latent is silent and where a token is not counted.
    maxima:    [m] latent_max of each, NaN where it was not measured.
    pieces:    the text: runs of tokens that are whole characters.
    cut:       tokens that did not fit the model's context and were dropped.
    seconds:   time that tokenizing, the model and the dictionary took.
    """

    tokens: np.ndarray
    positions: np.ndarray
    counted: np.ndarray
    latents: np.ndarray
    values: np.ndarray
    maxima: np.ndarray
    pieces: list[Piece]
    cut: int
    seconds: float
    definition: str = DEFINITION

    def frame(self) -> pandas.DataFrame:
        """A row a firing, in the order of the text, the largest |z| of a token first: token (the text of its piece),
        position, latent, value."""
        import pandas

        texts = [piece.text for piece in self.pieces for _ in range(piece.start, piece.stop)]
        rows = [
            (texts[at], int(self.positions[at]), int(self.latents[m]), float(self.values[m, at]))
            for at in range(len(self.tokens))
            for m in np.argsort(-np.abs(self.values[:, at]), kind="stable")
            if self.values[m, at] != 0
        ]
        return pandas.DataFrame(rows, columns=["token", "position", "latent", "value"])

    def view(self, maxima: Sequence[float] | np.ndarray | None = None) -> PromptView:
        """As the feature browser wants it: pieces in place of tokens, each with the value of the largest size among its
        tokens.

        maxima: the largest strength of every latent of the dictionary in a store, which then decides the order; by
        default latent_max, or where that was not measured the largest strength here.
        """
        strengths = np.abs(self.values).max(1, initial=0)
        most = self.maxima if maxima is None else np.asarray(maxima, dtype=np.float32)[self.latents]
        most = np.where(np.isfinite(most), most, strengths)
        order = _strongest_first(strengths, most, self.latents)
        return {
            "pieces": [piece.text for piece in self.pieces],
            "counted": [bool(self.counted[piece.start : piece.stop].any()) for piece in self.pieces],
            "latents": self.latents[order].tolist(),
            "values": merged(self.values[order], self.pieces),
            "maxima": most[order].tolist(),
            "cut": self.cut,
            "seconds": self.seconds,
        }

    def _repr_html_(self) -> str:
        shown = self.view()
        return score_sheet(
            shown["pieces"],
            shown["counted"],
            self.latents.tolist(),
            merged(self.values, self.pieces),
            self.maxima,
            cut=self.cut,
        )

    def __repr__(self) -> str:
        """A line a piece of the text, with the latents that are strongest there."""
        counted = int(self.counted.sum())
        rows = []
        for piece, values in zip(self.pieces, merged(self.values, self.pieces).T, strict=True):
            if self.counted[piece.start : piece.stop].any():
                strongest = [m for m in np.argsort(-np.abs(values), kind="stable")[:SHOWN] if values[m]]
                said = "  ".join(f"{self.latents[m]}: {values[m]:.2f}".replace("-", "−") for m in strongest)
                rows.append({"token": piece.text, "latent: z, the strongest first": said})
        head = f"{len(self.latents)} latents fire on {counted} counted tokens; .frame() has a row a firing"
        return f"{head}\n{text_table(rows, more='.frame()')}"


def features_on(
    model: TransformerBridge | Any, sae: Dictionary, prompt: str, *, exclude: Sequence[str] | str = ()
) -> PromptFeatures:
    """Which latents of a dictionary fire on which token of a prompt.

    model:   what it was made on; of a dictionary over several models all of them by their names.
    sae:     a dictionary of this model, or the run that trained it. prompt: a text of at least one token.
    exclude: special tokens that are not counted, by their text; "special": all that the tokenizer has.

    Returns PromptFeatures, drawn as a score sheet; ``.frame()`` has a row a firing. For example
    ``sk.features_on(model, sae, "Anna gave the book to")``.

    A prompt beyond the model's context is cut, with a warning. Raises ValueError for an empty prompt, and for a
    dictionary that was made on another model.
    """
    roles = (DICTIONARY, RUN)
    call, models = "sk.features_on(model, sae, prompt)", (MODEL, MODELS)
    check_roles(call, model=(model, models), sae=(sae, roles), prompt=(prompt, "a text"))
    sae, model = dictionary_of(sae), together(model)
    check_model(sae, model)
    check_named(sae)
    for site in sae.reads:
        joined_width(model, site)  # raises where it is no vector a token
    if not isinstance(prompt, str) or not prompt:
        raise ValueError(f"features_on needs a prompt, a text of at least one token, found {prompt!r}.")
    began = time.perf_counter()
    acts = harvest(model, [prompt], sae.reads, long="cut", exclude=exclude, bos=sae.provenance.prepend_bos)
    rows, cut = acts.rows, acts.rows.excluded["cut"]
    tokens, counted = rows.tokens[0].cpu().numpy(), rows.mask[0].cpu().numpy()
    if not counted.any():
        raise ValueError(f"features_on needs a prompt of at least one token; the tokenizer makes none of {prompt!r}.")
    if cut:
        warnings.warn(
            f"{cut} tokens of the prompt lie beyond the model's context of {model.cfg.n_ctx} and were cut off.",
            stacklevel=2,
        )
    batches = coded(sae, [{site: acts.flat(site) for site in sae.reads}])
    latents, values = _dense(SparseCodes.cat([batch.codes.to("cpu") for batch in batches]), counted)
    maxima = sae.latent_max.detach().float().cpu().numpy()[latents]
    order = _strongest_first(np.abs(values).max(1, initial=0), maxima, latents)
    return PromptFeatures(
        tokens=tokens,
        positions=rows.positions[0].cpu().numpy(),
        counted=counted,
        latents=latents[order],
        values=values[order],
        maxima=maxima[order],
        pieces=pieces(token_bytes(model.tokenizer, tokens.tolist())),
        cut=cut,
        seconds=time.perf_counter() - began,
    )


def merged(values: np.ndarray, parts: Sequence[Piece]) -> np.ndarray:
    """[m, token] → [m, piece]: of each piece's tokens the value of the largest size, with its sign."""
    found = np.zeros((len(values), len(parts)), dtype=np.float32)
    for i, piece in enumerate(parts):
        inside = values[:, piece.start : piece.stop]
        largest = np.abs(inside).argmax(1)
        found[:, i] = np.take_along_axis(inside, largest[:, None], axis=1)[:, 0]
    return found


def _dense(codes: SparseCodes, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The latents that fire, ascending, and their values [m, t] at all tokens."""
    latents = codes.indices[codes.values != 0].long().unique()
    values = np.zeros((len(latents), len(counted)), dtype=np.float32)
    values[:, counted] = codes.latent(latents).detach().float().numpy().T
    return latents.numpy(), values


def _strongest_first(strengths: np.ndarray, maxima: np.ndarray, latents: np.ndarray) -> np.ndarray:
    """The order by strength relative to the maximum, or by strength where no maximum is known; ties by number.

    A latent whose maximum is 0 never fired where it was measured, and comes first here."""
    if np.isfinite(maxima).all():
        with np.errstate(divide="ignore"):
            strengths = strengths / np.abs(maxima)  # of −0 too
    return np.lexsort((latents, -strengths))
