"""No views: what the data set gives, whatever that is, as view ``a``. For boards, and wherever nothing is augmented.

Shapes: b batch.
"""

from typing import ClassVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from sslkuramoto.examples import Boards, Images, Pairs, Reads
from sslkuramoto.views.policy import ViewPolicy


class Unchanged(ViewPolicy):
    """The example itself as view ``a``; nothing is drawn.

    Args:
        side: of the grid, pixels or cells.
    """

    reads: ClassVar[Reads] = (Images, Boards, Pairs)

    def __init__(self, side: int) -> None:
        super().__init__(side, a=torch.nn.Identity())

    def forward(self, images: Shaped[Tensor, "b ..."], draw: torch.Generator) -> dict[str, Shaped[Tensor, "b ..."]]:
        """Return the examples."""
        return {"a": images}
