"""A tiny encoder that keeps the Encoder contract, with and without random oscillators, and objectives on it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.examples import Images
from sslkuramoto.objectives import OBJECTIVES, Objective

PIXELS = 4
FEATURES = 6
CLASSES = 3


class TinyEncoder(Encoder):
    """tanh of a linear map of the pixels; when stochastic, of the pixels and of random oscillators."""

    num_features = FEATURES

    def __init__(self, stochastic: bool = False, batch_norm: bool = False) -> None:
        super().__init__()
        self.stochastic = stochastic
        self.linear = nn.Linear(3 * PIXELS**2, FEATURES)
        self.norm = nn.BatchNorm1d(FEATURES) if batch_norm else nn.Identity()

    def sample_initial(self, images: Tensor, draw: torch.Generator) -> Tensor:
        return torch.randn(len(images), FEATURES, 1, 1, generator=draw, dtype=images.dtype)

    def forward(
        self,
        images: Tensor,
        *,
        initial: Tensor | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        x = self.linear(images.flatten(1))
        if self.stochastic:
            if initial is None:
                assert draw is not None, "a stochastic encoder needs draw= or initial="
                initial = self.sample_initial(images, draw)
            x = x + initial.flatten(1)
        pooled = torch.tanh(self.norm(x))
        return Features(pooled, pooled[:, :, None, None])


def norm_free(name: str) -> dict[str, Any]:
    """Return the options that leave every BatchNorm out of the heads of ``name``."""
    whole = OBJECTIVES.resolved(name, OBJECTIVES.small(name))
    return {
        key: {field: "none" if field.endswith("norm") else item for field, item in value.items()}
        for key, value in whole.items()
        if isinstance(value, dict)
    }


def build_pair(
    name: str,
    *,
    stochastic: bool = False,
    batch_norm: bool = False,
    norms: bool = True,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **options: Any,
) -> tuple[TinyEncoder, Objective]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = TinyEncoder(stochastic, batch_norm).to(dtype)
        chosen = {**OBJECTIVES.small(name), **({} if norms else norm_free(name)), **options}
        return encoder, OBJECTIVES.build(name, chosen, encoder, CLASSES).to(dtype)


def random_views(count: int = 8, dtype: torch.dtype = torch.float32, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(count, 3, PIXELS, PIXELS, generator=draw, dtype=torch.float64).to(dtype)
        for name in ("a", "b", "clean")
    }


def random_labels(count: int = 8) -> Tensor:
    return torch.arange(count) % CLASSES


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small lose time on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=[name for name in OBJECTIVES if Images in OBJECTIVES[name].reads])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build() -> Callable[..., tuple[TinyEncoder, Objective]]:
    return build_pair


@pytest.fixture
def views_of() -> Callable[..., dict[str, Tensor]]:
    return random_views


@pytest.fixture
def labels_of() -> Callable[..., Tensor]:
    return random_labels


@pytest.fixture
def draw() -> Callable[[], torch.Generator]:
    return lambda: torch.Generator().manual_seed(7)
