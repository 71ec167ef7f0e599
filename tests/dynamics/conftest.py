"""Random oscillators in float64 and explicit coupling matrices, against which the dynamics are checked."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sslkuramoto.dynamics.sphere import normalise
from sslkuramoto.randomness import generator


@pytest.fixture
def normal() -> Callable[..., Tensor]:
    """Draw standard normal float64 tensors; successive calls in a test continue the stream."""
    draw = generator("cpu", "tests of the dynamics")
    return lambda *shape: torch.randn(shape, generator=draw, dtype=torch.float64)


@pytest.fixture
def oscillators(normal) -> Callable[..., Tensor]:
    """Draw unit oscillators of dimension n, "b c h w"."""
    return lambda n, b=2, m=3, h=4, w=5: normalise(normal(b, m * n, h, w), n)


@pytest.fixture
def matrix_of() -> Callable[[nn.Module, tuple[int, int, int]], Tensor]:
    """Return the matrix of a linear map on states "1 c h w" (without its bias), column by column."""

    def build(coupling: nn.Module, shape: tuple[int, int, int]) -> Tensor:
        size = shape[0] * shape[1] * shape[2]
        basis = torch.eye(size, dtype=torch.float64).view(size, *shape)
        with torch.no_grad():
            return (coupling(basis) - coupling(torch.zeros_like(basis[:1]))).view(size, size).T

    return build
