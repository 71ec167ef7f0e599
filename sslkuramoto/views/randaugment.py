"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719) of a whole batch, as ``torchvision.transforms.RandAugment``.

Each image passes ``operations`` operations in turn, each chosen uniformly from fourteen (one of which changes nothing),
all at the same magnitude and, where it has a sign, with either sign.

Differs: geometric operations resample bilinearly; torchvision's default is the nearest pixel.

Shapes: b batch, t operations in turn, y x pixels.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sslkuramoto.views.eight_bit import WHITE, apply_operations

MAGNITUDES = 31


def magnitudes(size: int, level: int) -> dict[str, tuple[float, bool]]:
    """Return for each operation its magnitude at a level, and whether its sign is random.

    Units as in :func:`sslkuramoto.views.augmix.magnitudes`; Identity, AutoContrast and Equalize have no magnitude.

    Args:
        size: side of the images in pixels.
        level: 0 (weakest) to 30 (strongest).
    """
    share = level / (MAGNITUDES - 1)
    return {
        "Identity": (0.0, False),
        "ShearX": (0.3 * share, True),
        "ShearY": (0.3 * share, True),
        "TranslateX": (150.0 / 331.0 * size * share, True),
        "TranslateY": (150.0 / 331.0 * size * share, True),
        "Rotate": (30.0 * share, True),
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), (0.9 * share, True)),
        "Posterize": (8.0 - round(4 * share), False),
        "Solarize": (255.0 * (1.0 - share), False),
        "AutoContrast": (0.0, False),
        "Equalize": (0.0, False),
    }


class Chosen(NamedTuple):
    """The random parameters of a batch, on the CPU.

    Attributes:
        operation: index of each operation in :attr:`RandAugment.names`.
        magnitude: its magnitude with sign, float64.
    """

    operation: Int[Tensor, "t b"]
    magnitude: Float[Tensor, "t b"]


class RandAugment(nn.Module):
    """Apply random operations of one magnitude to each image, in turn.

    Args:
        size: side of the images in pixels.
        operations: N of the paper, operations in turn, >= 1.
        magnitude: M of the paper, level of all operations, 0 to 30.

    Source: Cubuk et al. 2020 (arXiv 1909.13719), section 3.
    """

    def __init__(self, size: int, *, operations: int = 2, magnitude: int = 9) -> None:
        super().__init__()
        table = magnitudes(size, magnitude)
        self.names = tuple(table)
        self.operations, self.magnitude = operations, magnitude
        self._values = torch.tensor([value for value, _ in table.values()], dtype=torch.float64)
        self._signed = torch.tensor([signed for _, signed in table.values()])

    def chosen_for(self, count: int) -> Chosen:
        """Draw the parameters of ``count`` images from torch's global generator (see :class:`ViewPolicy`)."""
        shape = (self.operations, count)
        operation = torch.randint(len(self.names), shape)
        negative = self._signed[operation] & (torch.rand(shape) < 0.5)
        magnitude = self._values[operation]
        return Chosen(operation, torch.where(negative, -magnitude, magnitude))

    def changed(self, images: Float[Tensor, "b 3 y x"], chosen: Chosen) -> Float[Tensor, "b 3 y x"]:
        """Return the images after the operations ``chosen``; pixels in [0, 1], rounded to 8 bits."""
        levels = (images * WHITE).round().to(torch.uint8)
        always = torch.ones(len(images), dtype=torch.bool)
        for operation, magnitude in zip(*chosen, strict=True):
            apply_operations(levels, self.names, operation, magnitude, always)
        return levels.float() / WHITE

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        return self.changed(images, self.chosen_for(len(images)))

    def extra_repr(self) -> str:
        return f"operations={self.operations}, magnitude={self.magnitude}"
