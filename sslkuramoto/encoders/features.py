"""What an encoder is: images in [0,1], or another kind of example, in; one named thing out.

Shapes: b batch, c channels, h w grid of the map, t Kuramoto steps, d features, y x pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.examples import Images, Reads, Spec


class Features(NamedTuple):
    """What an encoder returns.

    Attributes:
        pooled: one vector an image.
        map: the grid it was pooled from.
        trace: one entry a layer, or None when it was not asked for or the encoder has no dynamics.
    """

    pooled: Float[Tensor, "b d"]
    map: Float[Tensor, "b d h w"]
    trace: tuple[LayerTrace, ...] | None = None


class Encoder(nn.Module):
    """The contract of an encoder.

    Attributes:
        num_features: d, the length of ``Features.pooled``.
        reads: kinds of spec that ``forward`` takes.
        built_for: the one spec that it takes, where its weights fit no other; None otherwise.
        stochastic: whether two calls on the same images may differ. Then every call needs ``initial`` or ``draw``.
        initial: word for how the oscillators start, as results state it.
        oscillator_dim: n, length of an oscillator; None without oscillators.
        gives: what ``Features.pooled`` is; "logits" of a classifier that somebody gave whole.
        notes: what a reader of its results must know, in sentences.
    """

    num_features: int
    reads: ClassVar[Reads] = (Images,)
    built_for: Spec | None = None
    stochastic: bool = False
    initial: str = "deterministic"
    oscillator_dim: int | None = None
    gives: Literal["features", "logits"] = "features"
    notes: Sequence[str] = ()

    @classmethod
    def rebuilt(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options by which an encoder is built around weights that are at hand: nothing else is loaded.

        The options may come from a file of a stranger. Published weights, an option ``pretrained``, are not fetched.
        """
        return {key: value if key != "pretrained" else False for key, value in options.items()}

    def forward(
        self,
        images: Shaped[Tensor, "b ..."],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        """Encode images with pixels in [0,1], or what else the encoder reads.

        Args:
            images: "b 3 y x", pixels in [0,1]; normalisation happens inside. Or the inputs of another spec.
            initial: initial oscillators (any length; normalised inside), one field an image or one for all
                (i = b or 1). Only for encoders with dynamics.
            draw: generator from which a stochastic encoder draws its initial oscillators when ``initial`` is None.
            trace: also return the states and energies of every step.
        """
        raise NotImplementedError

    def sample_initial(self, images: Shaped[Tensor, "b ..."], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
        """Draw initial oscillators for ``images`` (standard normal, before normalisation)."""
        raise NotImplementedError

    def fixed_initial(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "1 c h w"] | None:
        """Return the drawn field that every call on images of this shape starts from; None where there is no such."""
        return None


def one_field(
    encoder: Encoder, images: Shaped[Tensor, "b ..."], draw: torch.Generator
) -> Float[Tensor, "1 c h w"] | None:
    """Draw one field of initial oscillators for all of ``images``; None for an encoder that draws nothing.

    Features under one field differ between images only because the images differ.
    """
    return encoder.sample_initial(images[:1], draw) if encoder.stochastic else None


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """Let every part be in train or eval mode inside, and give each its own mode back afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Give every buffer its value back afterwards: passes in train mode move the statistics of BatchNorm."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Let no gradient reach the parameters inside, and give their flags back afterwards."""
    trained = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
