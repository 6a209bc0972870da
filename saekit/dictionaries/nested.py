"""A dictionary inside another method: the same dictionary, trained otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from saekit_kernels import SparseCodes
from torch import Tensor, nn

from saekit.dictionaries.dictionary import Activation, Dictionary
from saekit.dictionaries.method import Held, Method
from saekit.dictionaries.provenance import Provenance, on_model
from saekit.objectives import Batch, Loss, State


@dataclass(frozen=True)
class NestedMethod(Method):
    """A method around another, whose d_sae and skip are its own; what the other needs of a batch it needs too.

    base: the method that builds the dictionary
    """

    layerwise: ClassVar[bool] = True

    d_sae: int = field(init=False)
    skip: bool = field(init=False, default=False)
    base: Method

    def __post_init__(self) -> None:
        if not isinstance(self.base, Method):
            raise ValueError(
                f"{type(self).__name__} goes around a method such as sk.TopK(d_sae=…), found {self.base!r}."
            )
        object.__setattr__(self, "d_sae", self.base.d_sae)
        object.__setattr__(self, "skip", self.base.skip)
        object.__setattr__(self, "needs", type(self).needs | self.base.needs)
        object.__setattr__(self, "sample", max(type(self).sample, self.base.sample))
        object.__setattr__(self, "recent", max(type(self).recent, self.base.recent))
        super().__post_init__()

    @property
    def wanted_density(self) -> float | None:
        """The base's."""
        return self.base.wanted_density

    @property
    def held(self) -> Held:
        """The base's."""
        return self.base.held


class NestedDictionary(Dictionary):
    """``base`` codes, decodes and scales; a subclass says what differs, mostly ``loss``. Methods that nest another have
    a field ``base``."""

    def __init__(self, method: Any, base: Dictionary) -> None:
        nn.Module.__init__(self)  # the parts and latent_max are base's
        self.method, self.base = method, base
        self.wiring, self.read_widths, self.write_widths = base.wiring, base.read_widths, base.write_widths
        self.provenance = Provenance()

    @property
    def encoder(self) -> Any:  # type: ignore[override]
        """The base's."""
        return self.base.encoder

    @property
    def decoder(self) -> Any:  # type: ignore[override]
        """The base's."""
        return self.base.decoder

    @property
    def latent_max(self) -> Tensor:  # type: ignore[override]
        """The base's, [d_sae]."""
        return self.base.latent_max

    @property
    def signed(self) -> bool:
        """As the base's codes are."""
        return self.base.signed

    @property
    def standardised(self) -> bool:
        """As the base codes."""
        return self.base.standardised

    @property
    def layerwise(self) -> bool:
        """As the base codes."""
        return self.base.layerwise

    def encode(self, x: Activation) -> SparseCodes:
        """The base's codes."""
        return self.base.encode(x)

    def decode(self, codes: SparseCodes, x: Activation | None = None) -> Activation:
        """The base's x̂."""
        return self.base.decode(codes, x)

    def encode_at(self, x: Tensor, site: str) -> SparseCodes:
        """The base's codes of one site."""
        return self.base.encode_at(x, site)

    def decode_at(self, codes: SparseCodes, site: str, x: Tensor | None = None) -> Tensor:
        """The base's x̂ at one site."""
        return self.base.decode_at(codes, site, x)

    def pre_activations(self, x: Activation, latents: Tensor | None = None) -> Tensor | None:
        """The base's u."""
        return self.base.pre_activations(x, latents)

    def at(self, site: str | None = None, **changes: Any) -> Dictionary:
        """A view of the base, with the provenance of this dictionary."""
        view = self.base.at(site, **changes)
        view.provenance = self.provenance
        return view

    def on(self, model: Any, site: Any = None) -> Dictionary:
        """A view of the base, with the provenance of this dictionary."""
        view = self.base.on(model, site)
        view.provenance = on_model(self.provenance, model)
        return view

    def initialise(self, sample: Batch, state: State) -> None:
        """As the base begins."""
        self.base.initialise(sample, state)

    def loss(self, batch: Batch, state: State) -> Loss:
        """The base's."""
        return self.base.loss(batch, state)

    def before_step(self, state: State) -> None:
        """The base's."""
        self.base.before_step(state)

    def after_step(self, batch: Batch, loss: Loss, state: State) -> None:
        """The base's."""
        self.base.after_step(batch, loss, state)

    def finalise(self, recent: Batch, state: State) -> None:
        """As the base ends."""
        self.base.finalise(recent, state)

    def groups(self) -> list[dict[str, Any]]:
        """The base's parameters."""
        return self.base.groups()

    def rescale(self, scales: Mapping[str, float]) -> None:
        """The base's."""
        self.base.rescale(scales)

    def codes_scale(self, scales: Mapping[str, float]) -> float:
        """The base's."""
        return self.base.codes_scale(scales)

    def resize(self, d_sae: int) -> None:
        """The base's."""
        self.base.resize(d_sae)
