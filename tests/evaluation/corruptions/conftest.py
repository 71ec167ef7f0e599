"""Pictures with the spectrum of natural ones, and draws for them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.corruptions.weather import fractal


@pytest.fixture(scope="session")
def pictures() -> Callable[[int, int], Tensor]:
    """Return coloured fractals with a dark and a coloured disk, 8-bit levels in [0,1]."""

    def build(n: int, size: int) -> Tensor:
        draw = ImageDraws(torch.arange(n), "cpu", "pictures")
        grey = fractal(size, 1.4, draw)
        images = torch.stack([0.75 * grey + 0.25 * fractal(size, 1.6, draw) for _ in range(3)], dim=1)
        place = torch.arange(size) / size
        for colour in ((0.1, 0.15, 0.1), (0.9, 0.5, 0.3)):
            x, y, radius = draw.uniform(3, 1, 1, low=0.1, high=0.9).unbind(1)
            inside = (place[:, None] - y) ** 2 + (place - x) ** 2 < (0.3 * radius) ** 2
            images = torch.where(inside[:, None], torch.tensor(colour)[:, None, None], images)
        return (images * 255).round() / 255

    return build


@pytest.fixture(scope="session")
def draws() -> Callable[..., ImageDraws]:
    """Return the draws of the first n images, or of images by index."""

    def build(index: int | list[int], *key: str) -> ImageDraws:
        places = torch.arange(index) if isinstance(index, int) else torch.tensor(index)
        return ImageDraws(places, "cpu", *key)

    return build
