"""Gaussian noise on the pixels, as in training that is to withstand noise (Cohen et al. 2019, arXiv:1902.02918).

Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GaussianNoise(nn.Module):
    """Independent normal noise on every channel of every pixel, cut to [0, 1].

    The noise is drawn on the CPU, like every parameter of a view, so it is the same whatever device holds the images.
    Cutting makes it weaker where pixels are near 0 or 1: its measured deviation is below ``sigma`` there.

    Args:
        sigma: standard deviation before the cut, pixels in [0, 1].
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        noise = torch.randn(images.shape).to(images.device, non_blocking=True)
        return (images.clamp(0.0, 1.0) + self.sigma * noise).clamp(0.0, 1.0)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"
