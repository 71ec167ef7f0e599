"""A view policy: images in [0,1] -> named views, still in [0,1], on the images' device.

Shapes: b batch, y x pixels.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.examples import Images, Reads
from sslkuramoto.randomness import borrowed_global


class ViewPolicy(nn.Module):
    """One chain of steps for each named view.

    Each image of a batch gets parameters of its own, and each view draws anew. Parameters are drawn on the CPU and
    pixels are computed where the images are, so a generator on the CPU gives the same views on every device.

    The chains are held in a plain dict: with ``.to(...)`` kornia would otherwise move its sampling to the device or
    change its precision, and it would keep constants in the ``state_dict``. A policy has no parameters and no state.

    Attributes:
        reads: kinds of spec whose inputs it takes.

    Args:
        image_size: side of the images, pixels; views have the same.
        chains: the steps of each view, keyed by its name; the order is that of ``names``.
    """

    reads: ClassVar[Reads] = (Images,)

    def __init__(self, image_size: int, **chains: nn.Module) -> None:
        super().__init__()
        self.image_size = image_size
        self.names = tuple(chains)
        self._chains = dict(chains)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> dict[str, Float[Tensor, "b 3 y x"]]:
        """Return every view of ``images``.

        Args:
            images: pixels in [0, 1], ``image_size`` on each side.
            draw: the only source of randomness; the same state gives the same views.

        Returns:
            float32 pixels in [0, 1], one tensor a name.
        """
        assert images.shape[-2:] == (self.image_size, self.image_size), f"{tuple(images.shape)} != {self.image_size}"
        assert images.is_floating_point(), f"pixels in [0, 1] are wanted, not {images.dtype}"
        images = images.float()
        with borrowed_global(draw), torch.autocast(images.device.type, enabled=False):
            return {name: chain(images).clamp(0.0, 1.0) for name, chain in self._chains.items()}

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {chain}" for name, chain in self._chains.items())
