"""A view policy without augmentation for every kind of example: view ``a`` is the example itself.

Shapes: b batch.
"""

from typing import ClassVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from sslkuramoto.examples import Boards, Images, Pairs, Reads
from sslkuramoto.views.policy import ViewPolicy


class Unchanged(ViewPolicy):
    """Return the example itself as view ``a``; nothing is drawn at random.

    Args:
        side: side of the image in pixels, or of the board in cells.
    """

    reads: ClassVar[Reads] = (Images, Boards, Pairs)

    def __init__(self, side: int) -> None:
        super().__init__(side, a=torch.nn.Identity())

    def forward(self, images: Shaped[Tensor, "b ..."], draw: torch.Generator) -> dict[str, Shaped[Tensor, "b ..."]]:
        """Return the examples as view ``a``."""
        return {"a": images}
