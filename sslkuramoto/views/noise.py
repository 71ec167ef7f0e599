"""Gaussian noise on the pixels, as in training with noise augmentation (Cohen et al. 2019, arXiv:1902.02918).

Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GaussianNoise(nn.Module):
    """Add independent normal noise to every channel of every pixel, then clamp to [0, 1].

    The noise is drawn on the CPU, like every parameter of a view, and so does not depend on the device of the images.
    Clamping reduces its standard deviation below ``sigma`` where pixels are near 0 or 1.

    Args:
        sigma: standard deviation before clamping, for pixels in [0, 1], >= 0.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        noise = torch.randn(images.shape).to(images.device, non_blocking=True)
        return (images.clamp(0.0, 1.0) + self.sigma * noise).clamp(0.0, 1.0)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"
