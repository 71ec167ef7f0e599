"""What an encoder is: images in [0,1] in, one named thing out.

Shapes: b batch, c channels, h w grid of the map, t Kuramoto steps, d features, y x pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.layer import LayerTrace


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
        stochastic: whether two calls on the same images may differ. Then every call needs ``initial`` or ``draw``.
    """

    num_features: int
    stochastic: bool = False

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        """Encode images with pixels in [0,1].

        Args:
            images: pixels in [0,1]; normalisation happens inside.
            initial: initial oscillators (any length; normalised inside), one field an image or one for all
                (i = b or 1). Only for encoders with dynamics.
            draw: generator from which a stochastic encoder draws its initial oscillators when ``initial`` is None.
            trace: also return the states and energies of every step.
        """
        raise NotImplementedError

    def sample_initial(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
        """Draw initial oscillators for ``images`` (standard normal, before normalisation)."""
        raise NotImplementedError


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
