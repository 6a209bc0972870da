"""Edits by hand: a plain Hugging Face model, torch's own hooks, dense matrices; nothing of saekit.interventions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from saekit_kernels import SparseCodes
from torch import Tensor

import saekit as sk
from saekit.dictionaries import Dictionary, LinearDecoder, LinearEncoder, Part, Provenance, TopK, Wiring

SITES = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
Changes = Mapping[str, Callable[[Tensor], Tensor]]


class ByHand:
    """The model without a bridge. ``run(tokens, {site: h → h'})`` gives the logits and h' at every site."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
        ).eval()
        self.model.requires_grad_(False)
        gpt2 = hasattr(self.model, "transformer")
        self.blocks = self.model.transformer.h if gpt2 else self.model.model.layers
        self.attention = "attn" if gpt2 else "self_attn"

    @property
    def sites(self) -> list[str]:
        return [f"blocks.{layer}.{name}" for layer in range(len(self.blocks)) for name in SITES]

    def run(self, tokens: Tensor, changes: Changes | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        seen: dict[str, Tensor] = {}
        changes = dict(changes or {})
        sites = dict.fromkeys([*self.sites, *changes])  # of the heads only those that are changed
        handles = [self._watch(site, changes.get(site), seen) for site in sites]
        try:
            with torch.no_grad():
                return self.model(tokens, use_cache=False).logits, seen
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, site: str, change: Callable[[Tensor], Tensor] | None, seen: dict[str, Tensor]) -> Any:
        match = re.fullmatch(r"blocks\.(\d+)\.([\w.]+)", site)
        assert match is not None
        block, name = self.blocks[int(match[1])], match[2]
        attention = getattr(block, self.attention)

        def changed(h: Tensor) -> Tensor:
            seen[site] = h if change is None else change(h)
            return seen[site]

        def before(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            if arguments:
                return (changed(arguments[0]), *arguments[1:]), keywords
            return arguments, keywords | {"hidden_states": changed(keywords["hidden_states"])}

        def after(module: Any, arguments: Any, output: Any) -> Any:
            return (changed(output[0]), *output[1:]) if isinstance(output, tuple) else changed(output)

        def slice_of_three(module: Any, arguments: Any, output: Tensor) -> Tensor:
            parts = list(output.chunk(3, dim=-1))  # GPT-2 makes q, k and v by one matrix
            number = "qkv".index(name[-1])
            parts[number] = changed(parts[number])
            return torch.cat(parts, dim=-1)

        if name == "attn.hook_z":  # heads side by side, as the output projection gets them
            projection = attention.c_proj if hasattr(attention, "c_proj") else attention.o_proj
            return projection.register_forward_pre_hook(before, with_kwargs=True)
        if name.startswith("attn.hook_"):
            if hasattr(attention, "c_attn"):
                return attention.c_attn.register_forward_hook(slice_of_three)
            return getattr(attention, f"{name[-1]}_proj").register_forward_hook(after)
        if name == "hook_resid_pre":
            return block.register_forward_pre_hook(before, with_kwargs=True)
        part = {"hook_attn_out": self.attention, "hook_mlp_out": "mlp"}.get(name)
        return (getattr(block, part) if part else block).register_forward_hook(after)


def dense_codes(sae: Any, h: Tensor) -> Tensor:
    """z of TopK from its equation, dense: u = W_enc (h − b_dec) + b_enc, the k largest, ReLU."""
    u = (h - sae.decoder_bias) @ sae.encoder_directions.T + sae.encoder_bias
    kth = u.sort(dim=-1, descending=True).values[..., sae.method.k - 1 : sae.method.k]
    return torch.where(u >= kth, u, 0).clamp_min(0)


def random_sae(site: str, h: Tensor, seed: int, provenance: Provenance) -> Dictionary:
    """A TopK dictionary of random directions and biases on h [..., d], with its latent_max there, half at least: a
    latent that is silent has a unit of strength too."""
    generator = torch.Generator().manual_seed(seed)
    d = h.shape[-1]
    sae: Any = TopK(d_sae=3 * d, k=5).build(Wiring(site), {site: d}).requires_grad_(False)
    for parameter in (sae.encoder_directions, sae.decoder_directions):
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / d**0.5)
    sae.encoder_bias.copy_(0.1 * torch.randn(3 * d, generator=generator))
    sae.decoder_bias.copy_(h.reshape(-1, d).mean(0))
    sae.latent_max.copy_(dense_codes(sae, h).reshape(-1, 3 * d).amax(0).clamp_min(0.5))
    sae.provenance = provenance
    return sae


@dataclass
class Case:
    """A model as saekit loads it, the same by hand, tokens, and what it does with them unedited."""

    model: Any
    hand: ByHand
    tokens: Tensor
    logits: Tensor
    seen: dict[str, Tensor]
    folder: Path

    def sae(self, site: str, seed: int = 0) -> Dictionary:
        provenance = Provenance(model=self.model.model_name, model_hash=self.model.model_hash)
        return random_sae(site, self.seen[site], seed, provenance)

    def watched(self, sites: list[str]) -> tuple[list[tuple[str, Any]], dict[str, Tensor]]:
        """Hooks that keep h as it leaves a site; give them to ``model.hooks`` inside the edited context."""
        seen: dict[str, Tensor] = {}
        return [(site, lambda h, hook, site=site: seen.__setitem__(site, h.clone())) for site in sites], seen


@pytest.fixture(scope="module", autouse=True)
def quick(one_thread: None) -> None:
    """All tests here."""


@pytest.fixture(scope="session")
def cases(request: pytest.FixtureRequest) -> Callable[[str], Case]:
    """cases(name) for "gpt2", "llama" (tiny, random) and "stories" (real), made once."""
    made: dict[str, Case] = {}

    def case(name: str) -> Case:
        if name not in made:
            if name == "stories":
                folder = request.getfixturevalue("real_folder") / "stories260K"
                from saekit.models import load_model

                model = load_model(folder, device="cpu")
            else:
                folder = request.getfixturevalue(f"tiny_{name}_folder")
                model = request.getfixturevalue(f"tiny_{name}")
            hand = ByHand(folder)
            generator = torch.Generator().manual_seed(1)
            tokens = torch.randint(5, 290, (2, 9), generator=generator)
            made[name] = Case(model, hand, tokens, *hand.run(tokens), folder)
        return made[name]

    return case


@pytest.fixture(params=["gpt2", "llama", "stories"])
def case(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    return cases(request.param)


@pytest.fixture
def gpt2(cases: Callable[[str], Case]) -> Case:
    return cases("gpt2")


@pytest.fixture(scope="session")
def codes_by_hand() -> Callable[[Dictionary, Tensor], Tensor]:
    return dense_codes


# -- dictionaries of several sites, written here from their equations --------------------------------------------------


class NoPart(Part):
    def rescale(self, *given: Any) -> None: ...


class CrossLayer(Dictionary):
    """Latents in groups of m, a group a site read: z^l = ReLU(W_l x_l + c); ŷ_w = Σ_{l ≤ w} z^l D_{l→w} + b_w."""

    def __init__(self, reads: list[str], writes: list[str], d: int, m: int, seed: int = 0) -> None:
        wiring = Wiring(reads, writes)
        super().__init__(TopK(d_sae=m * len(reads), k=1), wiring, dict.fromkeys(wiring.sites, d), NoPart(), NoPart())
        generator = torch.Generator().manual_seed(seed)
        self.m, n = m, len(reads)
        self.weights = torch.randn(n, m, d, generator=generator) / d**0.5
        self.decoders = torch.randn(n, n, m, d, generator=generator) / d**0.5  # [read, write, latent, d]
        self.biases = torch.randn(n, d, generator=generator)
        self.latent_max.copy_(1 + torch.rand(m * n, generator=generator))

    def encode_at(self, x: Tensor, site: str) -> SparseCodes:
        number = self.reads.index(site)
        z = (x @ self.weights[number].T + 0.1).relu()
        whole = torch.zeros(*z.shape[:-1], self.d_sae)
        whole[..., number * self.m : (number + 1) * self.m] = z
        return SparseCodes.from_dense(whole)

    def decode_at(self, codes: SparseCodes, site: str, x: Tensor | None = None) -> Tensor:
        number, z = self.writes.index(site), codes.to_dense()
        parts = [z[..., i * self.m : (i + 1) * self.m] @ self.decoders[i, number] for i in range(number + 1)]
        return sum(parts) + self.biases[number]

    def encode(self, x: Any) -> SparseCodes:
        return SparseCodes.from_dense(sum(self.encode_at(x[site], site).to_dense() for site in self.reads))

    def decode(self, codes: SparseCodes, x: Any = None) -> Any:
        return {site: self.decode_at(codes, site) for site in self.writes}


class EachSite(Dictionary):
    """One single-site dictionary for any of its sites (wiring.each); z = ReLU(W x)."""

    def __init__(self, sites: list[str], d: int) -> None:
        encoder, decoder = LinearEncoder.random(2 * d, [d]), LinearDecoder.random(2 * d, [d])
        super().__init__(TopK(d_sae=2 * d, k=1), Wiring(sites, each=True), dict.fromkeys(sites, d), encoder, decoder)

    def encode(self, x: Any) -> SparseCodes:
        return SparseCodes.from_dense((x @ self.encoder_directions.T).relu())


@pytest.fixture(scope="session")
def several() -> Any:
    """What builds dictionaries of several sites."""
    return SimpleNamespace(cross_layer=CrossLayer, each=EachSite, crosscoder=crosscoder)


def crosscoder(case: Case, sites: list[str], seed: int = 0) -> Any:
    """One code for all sites: TopK on them side by side, so that dense_codes gives its code too."""
    sae: Any = random_sae("+", torch.cat([case.seen[site] for site in sites], dim=-1), seed, Provenance())
    d = sae.d_in // len(sites)
    built: Any = TopK(d_sae=sae.d_sae, k=5).build(Wiring(sites), dict.fromkeys(sites, d))
    built.load_state_dict(sae.state_dict())
    built.provenance = Provenance(model=case.model.model_name, model_hash=case.model.model_hash)
    return built.requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> Any:
    """micro."""
    return sk.load_model("micro", device="cpu")


@pytest.fixture(scope="module")
def sae() -> Dictionary:
    """micro's own dictionary after its third block."""
    return sk.load_dictionary("micro/blocks.2.hook_resid_post")
