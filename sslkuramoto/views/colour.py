"""Colour jitter with a random order of adjustments per image; the arithmetic is kornia's and equals torchvision's.

Differs: kornia.augmentation.ColorJitter draws one order for the whole batch, and computes all images before it discards
those not chosen. Here each image has its own order, as in torchvision, and only the chosen images are computed.

Shapes: b batch, y x pixels, k adjustments.
"""

from math import tau

import torch
from jaxtyping import Float, Int
from kornia import enhance
from torch import Tensor, nn

Pixels = Float[Tensor, "b 3 y x"]


def _hue(images: Tensor, turns: Tensor) -> Tensor:
    return enhance.adjust_hue(images, turns * tau)


# brightness, contrast, saturation: factors, 1 changes nothing; hue: turns of the colour circle, 0 changes nothing
ADJUSTMENTS = (
    enhance.adjust_brightness_accumulative,
    enhance.adjust_contrast_with_mean_subtraction,
    enhance.adjust_saturation_with_gray_subtraction,
    _hue,
)


def adjust_colours(images: Pixels, factors: Float[Tensor, "b 4"], order: Int[Tensor, "b k"]) -> Pixels:
    """Apply to each image its own adjustments in its own order.

    Args:
        images: pixels in [0, 1].
        factors: factors of brightness, contrast and saturation (1: no change) and the shift of the hue in turns
            [-0.5, 0.5], on the CPU.
        order: indices into (brightness, contrast, saturation, hue), first to last, on the CPU.

    Returns:
        Pixels in [0, 1], in the order of ``images``.
    """
    device = images.device
    place = torch.arange(len(images))
    for step in range(order.shape[1]):
        # Images are sorted by their adjustment at this position, so that each adjustment is one call on a slice.
        grouped = order[place, step].argsort(stable=True)
        place = place[grouped]
        counts = torch.bincount(order[place, step], minlength=len(ADJUSTMENTS)).tolist()
        parts = images.index_select(0, grouped.to(device, non_blocking=True)).split(counts)
        values = factors[place].to(device, non_blocking=True).split(counts)
        images = torch.cat(
            [
                adjust(part, value[:, index])
                for index, (adjust, part, value) in enumerate(zip(ADJUSTMENTS, parts, values, strict=True))
                if len(part)
            ]
        )
    return images.index_select(0, place.argsort().to(device, non_blocking=True))


class ColorJitter(nn.Module):
    """Jitter brightness, contrast, saturation and hue of a share of the images, as torchvision's ``ColorJitter``.

    Args:
        brightness, contrast, saturation: v >= 0; the factor is uniform in [max(0, 1 - v), 1 + v].
        hue: v in [0, 0.5]; the shift is uniform in [-v, v] turns of the colour circle.
        p: probability that an image is changed.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float, *, p: float) -> None:
        super().__init__()
        strengths = torch.tensor([brightness, contrast, saturation])
        self.low = torch.cat([(1.0 - strengths).clamp(min=0.0), torch.tensor([-hue])])
        self.high = torch.cat([1.0 + strengths, torch.tensor([hue])])
        self.active = (self.high > self.low).nonzero().flatten()
        self.p = p

    def parameters_for(self, count: int) -> tuple[Float[Tensor, "b 4"], Int[Tensor, "b k"]]:
        """Draw factors and orders for ``count`` images, on the CPU, as :func:`adjust_colours` takes them."""
        factors = self.low + torch.rand(count, len(self.low)) * (self.high - self.low)
        return factors, self.active[torch.rand(count, len(self.active)).argsort(dim=1)]

    def forward(self, images: Pixels) -> Pixels:
        chosen = (torch.rand(len(images)) < self.p).nonzero().flatten()
        if len(chosen) == 0 or len(self.active) == 0:
            return images
        there = chosen.to(images.device, non_blocking=True)
        jittered = adjust_colours(images.index_select(0, there), *self.parameters_for(len(chosen)))
        return images.index_copy(0, there, jittered)

    def extra_repr(self) -> str:
        names = ("brightness", "contrast", "saturation", "hue")
        ranges = zip(names, self.low.tolist(), self.high.tolist(), strict=True)
        return ", ".join(f"{name}=({low:.3g}, {high:.3g})" for name, low, high in ranges) + f", p={self.p}"
