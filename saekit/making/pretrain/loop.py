"""Train the embedded model `micro` from scratch: `python -m saekit.making.pretrain [OUT] --minutes 20 --seed 0`.

Text: the train splits of the microworld and of the Python library, and repeats of random tokens (without them a model
this small finds induction late). Model: `transformers.LlamaForCausalLM`, 4 layers of width 128. Optimiser: Muon for the
matrices inside the blocks (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), AdamW for the rest; learning
rate constant, then falling to zero.

OUT (default runs/micro) keeps run.json (the settings), log.jsonl, checkpoint.safetensors (replaced atomically; the same
command goes on from it) and, at the end, model/, a plain Hugging Face folder in float16. Every batch is a function of
the seed and the step, so a resumed run sees the same data.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer

from saekit.files import whole_step, write_atomically
from saekit.files.checkpoints import below, optimizer_tensors, read_tensors, restore_optimizer, write_tensors
from saekit.files.progress import Bar
from saekit.making.pretrain.optimiser import HeadLoss, Muon
from saekit.making.pretrain.rows import Text
from saekit.making.pretrain.settings import BOS, SPECIAL, Settings, forget_log_after
from saekit.making.pretrain.tokenizer import train_tokenizer

CHECKPOINT_EVERY = 300  # steps
LOG_EVERY = 100
SOURCES = ("microworld", "python", "repeats")


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


def export(model, tokenizer: Tokenizer, folder: Path) -> None:
    """A plain Hugging Face folder in float16. BOS is prepended by saekit, not by the tokenizer."""
    import copy

    from transformers import PreTrainedTokenizerFast

    half = copy.deepcopy(model).cpu().half()
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


def train(
    out: Path, settings: Settings, compile_model: bool = True, device: str | None = None, snapshots: bool = False
) -> None:
    """Train, or go on from OUT's checkpoint, on a GPU where there is one. Ctrl-C writes a checkpoint and stops.

    snapshots: also write OUT/snapshots/STEP, a folder like model/, after 1, 2, 4, 8 … steps."""
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    tokenizer_path, checkpoint_path = out / "tokenizer.json", out / "checkpoint.safetensors"
    if not tokenizer_path.exists():
        print("training the tokenizer …", flush=True)
        trained = train_tokenizer(settings.vocabulary, settings.seed)
        write_atomically(tokenizer_path, lambda path: path.write_text(trained.to_str(), encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    print("writing and encoding the text …", flush=True)
    text = Text(tokenizer, int(settings.tokens * 0.45), settings.seed)
    model = make_model(settings).to(where)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters; "
        f"{len(text.micro):,} microworld tokens, {len(text.python):,} python tokens"
    )
    run = Pretraining(settings, model, where, compile_model)
    if checkpoint_path.exists():
        run.restore(checkpoint_path)
        forget_log_after(out / "log.jsonl", run.step)
        print(f"going on from step {run.step} of {run.steps}")
    bar = Bar(total=run.steps, initial=run.step, unit=" step", delay=0, mininterval=10)
    try:
        while run.step < run.steps:
            with whole_step():
                run.take_step(text)
            bar.update()
            if run.step % LOG_EVERY == 0 or run.step == run.steps:
                row = json.dumps(run.record())
                with open(out / "log.jsonl", "a") as log:
                    log.write(row + "\n")
                bar.write(row, file=sys.stdout)
                sys.stdout.flush()
            if run.step % CHECKPOINT_EVERY == 0:
                run.write(checkpoint_path)
            if snapshots and run.step & (run.step - 1) == 0:
                export(model, tokenizer, out / "snapshots" / f"{run.step}")
    except KeyboardInterrupt:
        run.write(checkpoint_path)
        print(f"stopped at step {run.step} of {run.steps}; the same command goes on from here.")
        return
    finally:
        bar.close()
    run.write(checkpoint_path)
    export(model, tokenizer, out / "model")
    print(f"{run.seconds / 60:.1f} minutes; the model is in {out / 'model'}")


class Pretraining:
    """Model, optimisers and how far they are."""

    def __init__(self, settings: Settings, model, where: torch.device, compile_model: bool):
        self.settings, self.model, self.where = settings, model, where
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
        others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "layers" in name)]
        self.optimizers = [
            Muon(matrices, settings.learning_rate),
            torch.optim.AdamW(others, settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        ]
        self.forward = torch.compile(model.model, dynamic=False) if compile_model else model.model
        self.steps, self.step, self.seconds = settings.tokens // settings.batch_tokens, 0, 0.0
        self.rate = 0.0
        self.begin_record()

    def take_step(self, text: Text) -> None:
        """One batch. Raises ValueError for a loss that is not finite, before any weight moves."""
        began = time.perf_counter()
        settings, progress = self.settings, self.step / self.steps
        length = settings.context if progress >= 1 - settings.long_rows else settings.context // 2
        batch = text.batch(settings, self.step, progress, settings.batch_tokens // length, length)
        tokens, counted, source = (part.to(self.where) for part in batch)
        falling = min(1.0, (1 - progress) / (1 - settings.constant))
        self.rate = settings.learning_rate * min(1.0, (self.step + 1) / 100) * max(0.01, falling)
        mask = torch.full((length, length), -1e9, device=self.where).triu(1)[None, None]
        positions = torch.arange(length, device=self.where)[None]
        hidden = self.forward(
            input_ids=tokens[:, :-1], attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        loss, losses = HeadLoss.apply(hidden[counted], self.model.lm_head.weight, tokens[:, 1:][counted])
        if not torch.isfinite(loss):
            raise ValueError(f"the loss of step {self.step} is {loss.item()}: lower the learning rate.")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.sums.index_add_(0, source[:, None].expand_as(counted)[counted], losses)
        self.counts += torch.bincount(source[:, None].expand_as(counted)[counted], minlength=len(SOURCES))
        self.step += 1
        self.seconds += time.perf_counter() - began

    def begin_record(self) -> None:
        """Forget what the last record told."""
        self.sums, self.counts = (torch.zeros(len(SOURCES), device=self.where) for _ in range(2))
        self.recorded, self.recorded_seconds = self.step, self.seconds

    def record(self) -> dict[str, float]:
        """The steps since the last record: mean loss by source, and how fast they were."""
        passed = max(1e-9, self.seconds - self.recorded_seconds)
        means = (self.sums / self.counts.clamp_min(1)).tolist()
        row = {
            "step": self.step,
            "tokens": self.step * self.settings.batch_tokens,
            "minutes": round(self.seconds / 60, 2),
            "tokens_per_second": round((self.step - self.recorded) * self.settings.batch_tokens / passed),
            "learning_rate": round(self.rate, 6),
            **{name: round(value, 3) for name, value in zip(SOURCES, means, strict=True)},
        }
        self.begin_record()
        return row

    def write(self, path: Path) -> None:
        """A checkpoint of the model, the optimisers and the step."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= optimizer_tensors(optimizer, f"optimizer/{number}/")
        write_tensors(path, tensors, {"step": self.step, "seconds": self.seconds})

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint."""
        tensors, numbers = read_tensors(path)
        self.model.load_state_dict(below(tensors, "model/"))
        for number, optimizer in enumerate(self.optimizers):
            restore_optimizer(optimizer, tensors, f"optimizer/{number}/")
        self.step, self.seconds = int(numbers["step"]), float(numbers["seconds"])
        self.begin_record()
