"""Train the embedded model `micro` from scratch: `python -m saekit.models.pretrain [OUT] --minutes 20 --seed 0`.

Text: the train splits of the microworld and of the Python library, and repeats of random tokens (without them a model
this small finds induction late). Model: `transformers.LlamaForCausalLM`, 4 layers of width 128. Optimiser: Muon for the
matrices inside the blocks (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), AdamW for the rest; learning
rate constant, then falling to zero.

OUT (default runs/micro) keeps run.json (the settings), log.jsonl, checkpoint.pt (replaced atomically; the same command
goes on from it) and, at the end, model/, a plain Hugging Face folder in float16. Every batch is a function of the seed
and the step, so a resumed run sees the same data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm.std import tqdm

from saekit.corpora.microworld import KINDS, agreement, stream, words
from saekit.corpora.python_library.library import cut, library, modules

SPECIAL = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]  # the first begins every row, ends text and pads
BOS = 0
CHECKPOINT_EVERY = 300  # steps
LOG_EVERY = 100


@dataclass
class Settings:
    """Everything that decides the result."""

    tokens: int
    seed: int = 0
    vocabulary: int = 4096
    width: int = 128
    layers: int = 4
    heads: int = 4
    context: int = 256
    batch_tokens: int = 3072
    learning_rate: float = 3.5e-3
    constant: float = 0.5  # share of the run before the learning rate falls
    long_rows: float = 0.2  # share of the run, its last, in rows of the whole context; before, of half of it
    repeats: tuple[float, float] = (0.28, 0.12)  # share of the rows, at first and in the last third
    python: float = 0.3  # share of the other rows


# --- tokenizer ---


def one_token_words() -> list[str]:
    """Words that a task needs as single tokens, each as it stands after a space."""
    nouns = [form for noun in words.NOUNS for form in (noun, agreement.plural_of(noun))]
    verbs = [form for predicate in _predicates() for form in predicate.split(" ")[0].split("/")]
    lists = (
        words.NAMES,
        words.PLACES,
        words.OBJECTS,
        words.COUNTRIES,
        words.CITIES,
        words.PROFESSIONS,
        words.ADJECTIVES,
        nouns,
        verbs,
    )
    return sorted({word for each in lists for word in each})


def _predicates() -> list[str]:
    return [phrase for part in ("train", "unseen_dev", "unseen") for phrase in getattr(agreement.PREDICATE, part)]


def train_tokenizer(size: int, seed: int) -> Tokenizer:
    """Byte-level BPE over the training text. Digits stand alone in pairs; names, places and the like are single
    tokens (checked)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}{1,2}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    needed = one_token_words()

    def text():
        for document in islice(stream(tuple(KINDS), seed), 20_000):
            yield document.text
        for _ in range(300):
            yield " " + " ".join(needed)
            yield "\n".join([*words.NAMES, *words.COUNTRIES])  # these also begin texts
        for pair in range(100):
            yield f" {pair:02d}{pair:02d}" * 40
        for module in modules("train"):
            yield library()[module][:20_000]

    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text(), trainer)
    split = [word for word in needed if len(tokenizer.encode(" " + word).ids) != 1]
    split += [f"{pair:02d}" for pair in range(100) if tokenizer.token_to_id(f"{pair:02d}") is None]
    if split:
        raise ValueError(
            f"the tokenizer splits words that tasks need whole, {split[:5]}: raise vocabulary (now {size})."
        )
    return tokenizer


# --- data ---


class Text:
    """Encoded training text, and the rows drawn from it."""

    def __init__(self, tokenizer: Tokenizer, tokens: int, seed: int):
        self.names = np.array([tokenizer.encode(" " + name).ids[0] for name in words.NAMES])
        self.vocabulary = tokenizer.get_vocab_size()
        self.micro, self.micro_starts = self._encode(tokenizer, (d.text for d in stream(tuple(KINDS), seed)), tokens)
        pieces = (library()[m][start:stop] for m in modules("train") for start, stop in cut(library()[m]))
        self.python, self.python_starts = self._encode(tokenizer, pieces, None)

    @staticmethod
    def _encode(tokenizer: Tokenizer, texts: Any, tokens: int | None) -> tuple[np.ndarray, np.ndarray]:
        """All documents in one array, each after a BOS, and where each begins."""
        flat: list[np.ndarray] = []
        starts, total, texts = [], 0, iter(texts)
        while (tokens is None or total < tokens) and (chunk := list(islice(texts, 2000))):
            for encoding in tokenizer.encode_batch(chunk):
                starts.append(total)
                flat.append(np.array([BOS, *encoding.ids], dtype=np.uint16))
                total += len(flat[-1])
        return np.concatenate(flat), np.array(starts)

    def micro_row(self, random: np.random.Generator, length: int) -> np.ndarray:
        """Microworld documents one after the other, each from its BOS."""
        parts: list[np.ndarray] = []
        filled = 0
        while filled < length:
            which = int(random.integers(len(self.micro_starts) - 1))
            part = self.micro[self.micro_starts[which] : self.micro_starts[which + 1]]
            parts.append(part)
            filled += len(part)
        return np.concatenate(parts)[:length].astype(np.int64)

    def python_row(self, random: np.random.Generator, length: int) -> np.ndarray:
        """Code from the start of a document, or from within one (as long documents are read on in a further row)."""
        start = (
            int(random.choice(self.python_starts)) if random.random() < 0.5 else int(random.integers(len(self.python)))
        )
        start = min(start, len(self.python) - length)
        return np.concatenate([[BOS], self.python[start : start + length]]).astype(np.int64)[:length]

    def repeat_row(self, random: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Random tokens again and again (no loss on their first pass, which nothing explains), or a passage again and
        again."""
        row, counted = np.full(length, BOS, dtype=np.int64), np.ones(length, dtype=bool)
        if random.random() < 0.6:
            period = int(random.integers(5, length // 2 - 2))
            pool = self.names if random.random() < 0.3 else np.arange(len(SPECIAL) + 256, self.vocabulary)
            unit = random.choice(pool, period)
            counted[: 1 + period] = False
        else:
            period = int(random.integers(12, length // 2 - 2))
            source = self.python_row if random.random() < 0.4 else self.micro_row
            unit = source(random, period + 1)[1:]
        row[1:] = np.tile(unit, length // period + 1)[: length - 1]
        return row, counted

    def batch(self, settings: Settings, step: int, progress: float, rows: int, length: int) -> tuple[torch.Tensor, ...]:
        """Tokens [rows, length + 1], which targets count [rows, length], and each row's source [rows]: 0 microworld,
        1 python, 2 repeats."""
        random = np.random.default_rng([settings.seed, step])
        first, last = settings.repeats
        repeats = first + (last - first) * min(1.0, max(0.0, (progress - 0.35) / 0.3))
        tokens = np.zeros((rows, length + 1), dtype=np.int64)
        counted = np.ones((rows, length + 1), dtype=bool)
        source = np.zeros(rows, dtype=np.int64)
        for row in range(rows):
            if random.random() < repeats:
                source[row] = 2
                tokens[row], counted[row] = self.repeat_row(random, length + 1)
            elif random.random() < settings.python:
                source[row] = 1
                tokens[row] = self.python_row(random, length + 1)
            else:
                tokens[row] = self.micro_row(random, length + 1)
        counted[:, 1:] &= tokens[:, 1:] != BOS
        return torch.from_numpy(tokens), torch.from_numpy(counted[:, 1:].copy()), torch.from_numpy(source)


# --- model and optimiser ---


class HeadLoss(torch.autograd.Function):
    """Unembedding and cross-entropy in chunks, the gradient formed on the way: [tokens, vocabulary] never stands in
    memory at once.

    (hidden [n, d], weight [v, d], targets [n]) → mean loss, losses [n] (without gradient)."""

    @staticmethod
    def forward(ctx, hidden, weight, targets):
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        losses = torch.empty(len(hidden))
        for start in range(0, len(hidden), 1024):
            part, target = hidden[start : start + 1024], targets[start : start + 1024, None]
            logits = part @ weight.t()
            chosen, total = logits.gather(1, target), torch.logsumexp(logits, 1, keepdim=True)
            losses[start : start + 1024] = (total - chosen).squeeze(1)
            error = logits.sub_(total).exp_().scatter_add_(1, target, torch.full_like(chosen, -1.0))
            torch.mm(error, weight, out=grad_hidden[start : start + 1024])
            grad_weight.addmm_(error.t(), part)
        ctx.save_for_backward(grad_hidden / len(hidden), grad_weight / len(hidden))
        ctx.mark_non_differentiable(losses)
        return losses.mean(), losses

    @staticmethod
    def backward(ctx, grad, _):
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad, grad_weight * grad, None


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made nearly orthogonal by five Newton-Schulz steps, in float32 and for all matrices of
    one shape at once.

    (torch.optim.Muon works in bfloat16, which took 1 s a step on a processor without it; this takes 0.03 s.)"""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.05):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor, bool]]] = {}
            for parameter in group["params"]:
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"])
                tall = update.shape[0] > update.shape[1]
                update = update.t() if tall else update
                shapes.setdefault(tuple(update.shape), []).append((parameter, update, tall))
            for shape, entries in shapes.items():
                x = torch.stack([update for _, update, _ in entries])
                x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
                for _ in range(5):
                    gram = x @ x.mT
                    x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
                scale = 0.2 * max(shape) ** 0.5  # the size of an AdamW update
                for (parameter, _, tall), update in zip(entries, x, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.t() if tall else update, alpha=-group["lr"] * scale)


def make_model(settings: Settings):
    """A LlamaForCausalLM with random weights. Eager attention: on a CPU the backward of the fused one was slower,
    compiled or not."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.width,
        intermediate_size=round(settings.width * 2.75),
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=BOS,
        pad_token_id=BOS,
    )
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config)


def write_atomically(path: Path, write) -> None:
    """write(file) to a neighbour, flush it to the disk, then rename: the old file stays until the new one is whole."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def export(model, tokenizer: Tokenizer, folder: Path) -> None:
    """A plain Hugging Face folder in float16. BOS is prepended by saekit, not by the tokenizer."""
    import copy

    from transformers import PreTrainedTokenizerFast

    half = copy.deepcopy(model).half()
    half.config._attn_implementation = "sdpa"
    half.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[0],
        pad_token=SPECIAL[0],
        additional_special_tokens=SPECIAL[1:],
        model_max_length=model.config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


# --- the run ---


def train(out: Path, settings: Settings, compile_model: bool = True) -> None:
    """Train, or go on from OUT's checkpoint. Ctrl-C writes a checkpoint and stops."""
    tokenizer_path, checkpoint_path = out / "tokenizer.json", out / "checkpoint.pt"
    if not tokenizer_path.exists():
        print("training the tokenizer …", flush=True)
        trained = train_tokenizer(settings.vocabulary, settings.seed)
        write_atomically(tokenizer_path, lambda file: file.write(trained.to_str().encode()))
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    print("writing and encoding the text …", flush=True)
    text = Text(tokenizer, int(settings.tokens * 0.6), settings.seed)
    model = make_model(settings)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters; "
        f"{len(text.micro):,} microworld tokens, {len(text.python):,} python tokens"
    )

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "layers" in name)]
    optimizers = [
        Muon(matrices, settings.learning_rate),
        torch.optim.AdamW(others, settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    steps, step, seconds = settings.tokens // settings.batch_tokens, 0, 0.0
    if checkpoint_path.exists():
        saved = torch.load(checkpoint_path, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, seconds = saved["step"], saved["seconds"]
        forget_log_after(out / "log.jsonl", step)
        print(f"going on from step {step} of {steps}")

    def checkpoint() -> None:
        state = {
            "model": model.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
            "step": step,
            "seconds": seconds,
        }
        write_atomically(checkpoint_path, lambda file: torch.save(state, file))

    forward = torch.compile(model.model, dynamic=False) if compile_model else model.model
    sums, counts = torch.zeros(3), torch.zeros(3)
    bar = tqdm(total=steps, initial=step, unit="step", file=sys.stdout, mininterval=10)
    logged, logged_seconds = step, seconds
    try:
        while step < steps:
            began = time.perf_counter()
            progress = step / steps
            length = settings.context if progress >= 1 - settings.long_rows else settings.context // 2
            tokens, counted, source = text.batch(settings, step, progress, settings.batch_tokens // length, length)
            falling = min(1.0, (1 - progress) / (1 - settings.constant))
            rate = settings.learning_rate * min(1.0, (step + 1) / 100) * max(0.01, falling)
            mask = torch.full((length, length), -1e9).triu(1)[None, None]
            hidden = forward(
                input_ids=tokens[:, :-1], attention_mask=mask, position_ids=torch.arange(length)[None], use_cache=False
            ).last_hidden_state
            loss, losses = HeadLoss.apply(hidden[counted], model.lm_head.weight, tokens[:, 1:][counted])
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss of step {step} is {loss.item()}: lower the learning rate.")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            which = source[:, None].expand_as(counted)[counted]
            sums.index_add_(0, which, losses)
            counts.index_add_(0, which, torch.ones_like(losses))
            step += 1
            seconds += time.perf_counter() - began
            bar.update()
            if step % LOG_EVERY == 0 or step == steps:
                by_source = (sums / counts.clamp_min(1)).tolist()
                row = {
                    "step": step,
                    "tokens": step * settings.batch_tokens,
                    "minutes": round(seconds / 60, 2),
                    "tokens_per_second": round((step - logged) * settings.batch_tokens / (seconds - logged_seconds)),
                    "learning_rate": round(rate, 6),
                    **{
                        name: round(value, 3)
                        for name, value in zip(("microworld", "python", "repeats"), by_source, strict=True)
                    },
                }
                with open(out / "log.jsonl", "a") as log:
                    log.write(json.dumps(row) + "\n")
                bar.write(json.dumps(row), file=sys.stdout)
                sys.stdout.flush()
                sums.zero_(), counts.zero_()
                logged, logged_seconds = step, seconds
            if step % CHECKPOINT_EVERY == 0:
                checkpoint()
    except KeyboardInterrupt:
        checkpoint()
        print(f"stopped at step {step} of {steps}; the same command goes on from here.")
        return
    finally:
        bar.close()
    checkpoint()
    export(model, tokenizer, out / "model")
    print(f"{seconds / 60:.1f} minutes; the model is in {out / 'model'}")


def forget_log_after(path: Path, step: int) -> None:
    """Drop the rows that a killed run wrote after its last checkpoint: they are written again."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
        write_atomically(path, lambda file: file.write("".join(line + "\n" for line in kept).encode()))


def open_run(out: Path, settings: Settings) -> None:
    """Make OUT, or check that it holds this very run."""
    out.mkdir(parents=True, exist_ok=True)
    described = json.loads(json.dumps(asdict(settings)))
    run = out / "run.json"
    if run.exists():
        before = json.loads(run.read_text())
        different = [
            f"{key} {before.get(key)} there, {described[key]} here"
            for key in described
            if before.get(key) != described[key]
        ]
        if different:
            raise ValueError(
                f"{out} holds another run ({'; '.join(different)}): choose another folder, or give the same settings."
            )
    else:
        write_atomically(run, lambda file: file.write(json.dumps(described, indent=1).encode()))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m saekit.models.pretrain", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/micro"), help="the run's folder")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long to train, at --rate")
    parser.add_argument(
        "--rate", type=float, default=6500.0, help="tokens a second that this machine trains (2 cores, AVX2: 6,500)"
    )
    parser.add_argument("--tokens", type=int, help="how many tokens to train on, in place of --minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument(
        "--no-compile", action="store_true", help="where torch.compile has no C++ compiler; slower by a third"
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    # --minutes becomes a number of tokens, so that a run depends on no clock and resumes to the same numbers.
    settings = Settings(
        given.tokens or int(given.minutes * 60 * given.rate), given.seed, width=given.width, layers=given.layers
    )
    open_run(given.out, settings)
    train(given.out, settings, compile_model=not given.no_compile)


if __name__ == "__main__":
    main()
