"""SAEDashboard on the model, dictionary and tokens of features.py, in an environment of its own.

    python features_peers.py FOLDER FEATURES        (started by features.py with that environment's own Python)

FOLDER holds the model, the dictionary's weights, the tokens, and activations and codes of the first row, which must
come out equal before anything is timed. Answers with seconds, peak memory and the sizes of its files as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from peers import FOLDER

REQUIREMENTS = ["torch==2.13.0", "sae-dashboard==0.8.0", "pyarrow<20"]  # numpy 1.26 is all that it works with
UNUSED = ["torchvision", "torchaudio"]  # they would bring another torch


def environment() -> str:
    """The Python of its environment, made with uv where it is not there yet. A CPU build of torch is found where uv's
    own settings name one (UV_FIND_LINKS, UV_INDEX)."""
    folder = FOLDER / "sae-dashboard"
    python = folder / "bin" / "python"
    if not (folder / "done").is_file():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        (folder / "unused.txt").write_text("".join(f'{name} ; sys_platform == "none"\n' for name in UNUSED))
        install = [uv, "pip", "install", "--quiet", "--python", str(python), "--override", str(folder / "unused.txt")]
        subprocess.run([*install, *REQUIREMENTS], check=True)
        (folder / "done").touch()
    return str(python)


def dashboard(folder: Path, features: int) -> dict[str, Any]:
    """Runs it in a process of its own and returns what that answers."""
    command = [environment(), __file__, str(folder), str(features)]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    if out.returncode:
        raise RuntimeError(f"SAEDashboard failed:\n{out.stderr[-3000:]}")
    return json.loads(out.stdout.splitlines()[-1])


def load_model(folder: Path) -> Any:
    """The Llama of a folder as TransformerLens 2 has it."""
    from sae_lens import HookedSAETransformer
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    plain = AutoModelForCausalLM.from_pretrained(folder)
    c = plain.config
    config = HookedTransformerConfig(
        d_model=c.hidden_size,
        d_head=c.hidden_size // c.num_attention_heads,
        n_heads=c.num_attention_heads,
        n_key_value_heads=c.num_key_value_heads,
        d_mlp=c.intermediate_size,
        n_layers=c.num_hidden_layers,
        n_ctx=c.max_position_embeddings,
        d_vocab=c.vocab_size,
        eps=c.rms_norm_eps,
        act_fn=c.hidden_act,
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        rotary_dim=c.hidden_size // c.num_attention_heads,
        gated_mlp=True,
        final_rms=True,
        device="cpu",
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **special)
    tokenizer.save_pretrained(folder.parent / "tokenizer")  # its transformers does not know the folder's own class
    model = HookedSAETransformer(config, tokenizer=AutoTokenizer.from_pretrained(folder.parent / "tokenizer"))
    model.load_state_dict(convert_llama_weights(plain, config), strict=False)
    return model.eval()


def main(folder: Path, features: int) -> None:
    import torch
    from sae_dashboard.data_writing_fns import save_feature_centric_vis
    from sae_dashboard.sae_vis_data import SaeVisConfig
    from sae_dashboard.sae_vis_runner import SaeVisRunner
    from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
    from safetensors.torch import load_file

    torch.set_num_threads(2)
    given = load_file(folder / "given.safetensors")
    described = json.loads((folder / "given.json").read_text())
    model = load_model(folder / "model")
    d_in, d_sae = given["W_enc"].shape
    sae = TopKSAE(TopKSAEConfig(k=described["k"], d_in=d_in, d_sae=d_sae, rescale_acts_by_decoder_norm=True))
    sae.load_state_dict({name: given[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")})
    with torch.no_grad():
        _, cache = model.run_with_cache(given["tokens"][:1], names_filter=described["site"])
        x = cache[described["site"]][0]
        assert (x - given["x"]).abs().max() < 1e-4 * x.abs().max(), "the model is another one"
        codes = sae.encode(given["x"])
        assert (codes - given["codes"]).abs().max() < 1e-3 * codes.max(), "the dictionary is another one"
    config = SaeVisConfig(hook_point=described["site"], features=list(range(features)))
    began = time.perf_counter()
    data = SaeVisRunner(config).run(encoder=sae, model=model, tokens=given["tokens"])
    ran = time.perf_counter()
    data.save_json(folder / "dashboard.json")
    json_saved = time.perf_counter()
    save_feature_centric_vis(data, folder / "dashboard.html")
    html_saved = time.perf_counter()
    status = Path("/proc/self/status").read_text().splitlines()
    examples = sum(
        len(group.seq_data) for each in data.feature_data_dict.values() for group in each.sequence_data.seq_group_data
    )
    found = {
        "features": features,
        "tokens": given["tokens"].numel(),
        "run": ran - began,
        "json": json_saved - ran,
        "html": html_saved - json_saved,
        "peak_mib": int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 2**10,
        "json_bytes": (folder / "dashboard.json").stat().st_size,
        "html_bytes": (folder / "dashboard.html").stat().st_size,
        "examples": examples,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
