"""Small encoders in float64, built from a fixed seed."""

from collections.abc import Callable

import pytest
import torch

from sslkuramoto.encoders import AKOrN
from sslkuramoto.randomness import borrowed_global, generator


@pytest.fixture
def akorn() -> Callable[..., AKOrN]:
    """Build a small AKOrN from a fixed seed; keyword arguments replace its options."""

    def build(**options) -> AKOrN:
        small = {"channels": 8, "oscillator_dim": 2, "kernel_sizes": (5, 3, 3), "num_steps": 2}
        with borrowed_global(generator("cpu", "a small AKOrN")):
            return AKOrN(**{**small, **options})

    return build


@pytest.fixture
def images() -> torch.Tensor:
    """Three images of 12 x 12 pixels."""
    return torch.rand(3, 3, 12, 12, generator=generator("cpu", "images"))


@pytest.fixture
def draw() -> Callable[..., torch.Generator]:
    """Return a fresh generator; the same number gives the same draw."""
    return lambda number=0: generator("cpu", "draw", number)
