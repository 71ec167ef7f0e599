"""Plain torch networks, as somebody else brings them."""

from collections.abc import Callable

import pytest
import torch
from small_networks import _one_thread, _trained, cnn, digits
from torch import Tensor, nn

__all__ = ["_one_thread", "_trained", "cnn", "digits"]


class Plain(nn.Module):
    """Logits of images; ``change`` acts on the pixels first."""

    def __init__(self, encoder: nn.Module, head: nn.Module, change: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.encoder, self.head, self.change = encoder, head, change or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(self.change(images)).pooled)


@pytest.fixture
def plain(cnn) -> Callable[..., Plain]:
    """Build the trained network as a plain module, in eval mode."""
    return lambda change=None: Plain(*cnn, change).eval()


@pytest.fixture
def dropping(plain) -> Plain:
    """The trained network with dropout on its pixels that somebody left on."""
    network = plain(nn.Dropout(0.2))
    network.change.train()
    return network


@pytest.fixture
def some(digits) -> tuple[Tensor, Tensor]:
    """Forty test images, float32 in [0,1], and their labels."""
    images = digits["test"]
    assert isinstance(images.images, torch.Tensor)
    return images.images[:40].float() / 255, images.labels[:40]
