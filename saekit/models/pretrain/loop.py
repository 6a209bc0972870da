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

import json
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm.std import tqdm

from saekit.models.pretrain.optimiser import HeadLoss, Muon
from saekit.models.pretrain.rows import Text
from saekit.models.pretrain.settings import BOS, SPECIAL, Settings, forget_log_after, write_atomically
from saekit.models.pretrain.tokenizer import train_tokenizer

CHECKPOINT_EVERY = 300  # steps
LOG_EVERY = 100


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
    tokenizer_path, checkpoint_path = out / "tokenizer.json", out / "checkpoint.pt"
    if not tokenizer_path.exists():
        print("training the tokenizer …", flush=True)
        trained = train_tokenizer(settings.vocabulary, settings.seed)
        write_atomically(tokenizer_path, lambda file: file.write(trained.to_str().encode()))
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    print("writing and encoding the text …", flush=True)
    text = Text(tokenizer, int(settings.tokens * 0.45), settings.seed)
    model = make_model(settings).to(where)
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
        saved = torch.load(checkpoint_path, map_location=where, weights_only=True)
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
    sums, counts = torch.zeros(3, device=where), torch.zeros(3, device=where)
    bar = tqdm(total=steps, initial=step, unit="step", file=sys.stdout, mininterval=10)
    logged, logged_seconds = step, seconds
    try:
        while step < steps:
            began = time.perf_counter()
            progress = step / steps
            length = settings.context if progress >= 1 - settings.long_rows else settings.context // 2
            batch = text.batch(settings, step, progress, settings.batch_tokens // length, length)
            tokens, counted, source = (part.to(where) for part in batch)
            falling = min(1.0, (1 - progress) / (1 - settings.constant))
            rate = settings.learning_rate * min(1.0, (step + 1) / 100) * max(0.01, falling)
            mask = torch.full((length, length), -1e9, device=where).triu(1)[None, None]
            positions = torch.arange(length, device=where)[None]
            hidden = forward(
                input_ids=tokens[:, :-1], attention_mask=mask, position_ids=positions, use_cache=False
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
            if snapshots and step & (step - 1) == 0:
                export(model, tokenizer, out / "snapshots" / f"{step}")
    except KeyboardInterrupt:
        checkpoint()
        print(f"stopped at step {step} of {steps}; the same command goes on from here.")
        return
    finally:
        bar.close()
    checkpoint()
    export(model, tokenizer, out / "model")
    print(f"{seconds / 60:.1f} minutes; the model is in {out / 'model'}")
