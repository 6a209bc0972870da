"""fine_tune: a copy of a model that has read something more, with a hash and a card of its own.

For comparing a model with what it became (crosscoders over two models, what a latent of one lacks in the other), and a
model at several stages. All weights learn to predict the next token (AdamW: Loshchilov and Hutter 2019, arXiv
1711.05101; no weight decay, no dropout), a document a row, from the weights as stored; the rate rises over a twentieth
of the tokens and falls to zero over the rest.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saekit.corpora import Corpus, load_corpus
from saekit.files.arguments import number, whole
from saekit.files.manifests import check_same, write_json
from saekit.files.paths import resolved
from saekit.files.progress import Bar
from saekit.files.roles import CORPUS, MODEL, check_roles
from saekit.files.stopping import stopped_with
from saekit.files.writing import make_folder
from saekit.models.bos import bos_of
from saekit.models.hashing import hash_checkpoint
from saekit.models.load import find_folder, load_model, stored_dtype

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MANIFEST = "fine_tune.json"
ROWS = 16  # in a step
CLIPPED = 1.0  # the norm of a step's gradient, at most
WARM_UP = 0.05
OF_THE_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model")
LAST = 0.1  # of the steps, over which the last loss is a mean


def fine_tune(
    model: TransformerBridge,
    corpus: Corpus | Sequence[str],
    out: str | Path,
    *,
    tokens: int = 200_000,
    lr: float = 3e-4,
    context: int | None = None,
    checkpoints: int = 0,
    seed: int = 0,
) -> TransformerBridge:
    """Train a copy of a model on a corpus for some minutes, and load it.

    model:   what ``load_model`` gives; it stays as it is. corpus: what ``load_corpus`` gives, or a list of strings.
    out:     a folder that will hold the copy: a Hugging Face folder with a card (README.md) and ``fine_tune.json``. The
             same call on it gives the copy that is there; it is written whole or not at all.
    tokens:  that it learns to predict; a finite corpus is read again in a new order.
    lr:      the highest rate. context: tokens in a row at most, BOS included; default what the model can. seed: of the
             order.
    checkpoints: so many stages on the way, equally far apart, as folders ``out/checkpoints/TOKENS``.
    Returns the copy, as ``load_model(out)`` does. For example
    ``copy = sk.models.fine_tune(model, ["The zib sat on the wug."] * 100, "models/zib", tokens=50_000)``.
    Raises ValueError for a folder that holds another one (naming what differs), an empty corpus, a model whose stored
    weights are not those it was loaded from, and a loss that is not finite.
    """
    check_roles("sk.models.fine_tune(model, corpus, out)", model=(model, MODEL), corpus=(corpus, CORPUS))
    tokens, lr, seed = whole("tokens", tokens), number("lr", lr), whole("seed", seed, 0)
    checkpoints, out = whole("checkpoints", checkpoints, 0), resolved(out, "out")
    longest = min(model.cfg.n_ctx, whole("context", context, 2) if context is not None else model.cfg.n_ctx)
    corpus = corpus if isinstance(corpus, Corpus) else load_corpus(list(corpus))
    settings = {
        "base_hash": model.model_hash,
        "corpus": corpus.provenance,
        "tokens": tokens,
        "lr": lr,
        "context": longest,
    }
    settings |= {"checkpoints": checkpoints, "seed": seed}
    if (out / MANIFEST).is_file():
        check_same(out, "fine-tuned model", json.loads((out / MANIFEST).read_text(encoding="utf-8")), settings)
        return load_model(out, model.cfg.device)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty, and holds no {MANIFEST}: choose another folder.")
    folder = find_folder(model.model_name)
    if (stored := hash_checkpoint(folder)) != model.model_hash:
        raise ValueError(f"{folder} holds weights {stored[:12]}, the model was loaded from {model.model_hash[:12]}.")
    room = out.with_name(f".{out.name}.part")
    shutil.rmtree(room, ignore_errors=True)
    try:
        with stopped_with("stopped; no copy was made."):
            losses = _train(model, corpus, folder, room, settings)
        _describe(room, model, settings, losses)
        shutil.rmtree(out, ignore_errors=True)
        room.rename(out)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return load_model(out, model.cfg.device)


def _train(model: TransformerBridge, corpus: Any, folder: Path, room: Path, settings: dict[str, Any]) -> list[float]:
    """Write the copy into a folder; the loss of each step, in nats a token."""
    from transformers import AutoModelForCausalLM

    device, tokens = next(model.parameters()).device, settings["tokens"]
    copy: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    copy.to(device).eval()
    optimizer = torch.optim.AdamW(copy.parameters(), lr=settings["lr"], betas=(0.9, 0.95), weight_decay=0.0)
    stages = [tokens * stage // (settings["checkpoints"] + 1) for stage in range(1, settings["checkpoints"] + 1)]
    done, losses = 0, list[float]()
    rows = _rows(model, corpus, settings["context"], settings["seed"])
    with Bar(total=tokens, desc="fine-tune", unit=" token", unit_scale=True) as bar:
        while done < tokens:
            batch = [next(rows) for _ in range(ROWS)]
            longest = max(map(len, batch))
            ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch], device=device)
            inside = torch.tensor([[at < len(row) for at in range(1, longest)] for row in batch], device=device)
            loss = _loss(copy(ids).logits, ids, inside)
            if not bool(torch.isfinite(loss)):
                lr = settings["lr"]
                raise ValueError(
                    f"the loss became {float(loss.detach())} after {done:,} tokens: try a smaller lr (now {lr:g})."
                )
            for group in optimizer.param_groups:
                rise, fall = (done + 1) / (WARM_UP * tokens), (tokens - done) / ((1 - WARM_UP) * tokens)
                group["lr"] = settings["lr"] * min(1.0, rise, fall)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(copy.parameters(), CLIPPED)
            optimizer.step()
            losses.append(float(loss.detach()))
            before, done = done, done + int(inside.sum())
            bar.update(min(done, tokens) - before)
            while stages and done >= stages[0]:
                _save(copy, folder, room / "checkpoints" / str(stages.pop(0)))
    _save(copy, folder, room)
    return losses


def _loss(logits: Tensor, ids: Tensor, inside: Tensor) -> Tensor:
    """Cross-entropy of the next token, mean over tokens."""
    return F.cross_entropy(logits[:, :-1][inside].float(), ids[:, 1:][inside])


def _rows(model: TransformerBridge, corpus: Corpus, context: int, seed: int) -> Iterator[list[int]]:
    """Documents as token ids, BOS first where the model has one, in parts of a context; for ever, each reading of a
    finite corpus in an order of its own. Raises ValueError where there is nothing to predict."""
    bos, tokenizer = bos_of(model), model.tokenizer
    begin = [] if bos is None else [bos]
    documents: Any = corpus if corpus.endless else list(corpus)
    reading = 0
    while True:
        if not corpus.endless:
            random.Random(seed * 1_000_003 + reading).shuffle(documents)
        any_row = False
        for document in documents:
            ids = tokenizer(document.text, add_special_tokens=False)["input_ids"]
            step = context - len(begin)
            for start in range(0, len(ids), step):
                row = begin + ids[start : start + step]
                if len(row) > 1:
                    any_row = True
                    yield row
        if not any_row:
            raise ValueError("there is no token to predict: the corpus is empty.")
        reading += 1


def _save(copy: Any, folder: Path, place: Path) -> None:
    """A Hugging Face folder in the precision of the original, with its tokenizer's files."""
    make_folder(place)
    deepcopy(copy).to("cpu", stored_dtype(folder)).save_pretrained(place)
    for pattern in OF_THE_TOKENIZER:
        for file in folder.glob(pattern):
            shutil.copy2(file, place / file.name)


def _describe(room: Path, model: TransformerBridge, settings: dict[str, Any], losses: list[float]) -> None:
    """fine_tune.json and the card."""
    last = losses[-max(1, int(LAST * len(losses))) :]
    loss = {"loss_first": losses[0], "loss_last": sum(last) / len(last), "steps": len(losses)}
    write_json(room / MANIFEST, {"base": str(model.model_name)} | settings | loss)
    read = settings["corpus"]["name"]
    read = f"{settings['corpus']['n']:,} texts of one's own" if read == "list" else read
    card = f"""# A copy of {Path(str(model.model_name)).name} that has read more

Made by `saekit.models.fine_tune` from {model.model_name} (hash {model.model_hash[:12]}); its own hash is
{hash_checkpoint(room)[:12]}.

- read: {read}, {settings["tokens"]:,} tokens, a document a row of at most {settings["context"]} tokens
- AdamW, rate {settings["lr"]:g}, seed {settings["seed"]}, all weights, {len(losses):,} steps of {ROWS} rows
- cross-entropy of the text it read: {losses[0]:.3f} nats a token at first, {loss["loss_last"]:.3f} in the last tenth

What it has unlearned of the rest was not measured here. All settings: {MANIFEST}.
"""
    (room / "README.md").write_text(card, encoding="utf-8")
