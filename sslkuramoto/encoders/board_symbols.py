"""What the encoders of boards share: a trained vector for each symbol, and which boards a network reads.

Shapes: b batch, y x cells, c channels.
"""

from jaxtyping import Int64
from torch import Tensor, nn

from sslkuramoto.errors import UserError
from sslkuramoto.examples import Spec
from sslkuramoto.randomness import without_memory


class SymbolTable(nn.Embedding):
    """A trained vector for each symbol, standard normal before training.

    On the device meta, where recipes are checked, nothing is drawn.

    Args:
        symbols: how many there are.
        channels: c.
    """

    def __init__(self, symbols: int, channels: int) -> None:
        super().__init__(symbols, channels)

    def reset_parameters(self) -> None:
        """Draw the vectors from torch's global generator."""
        if not without_memory():
            super().reset_parameters()


def check_boards(boards: Int64[Tensor, "b y x"], built_for: Spec | None, symbols: tuple[int, int]) -> None:
    """Check that boards have the side and the symbols that a network reads.

    Args:
        boards: as the network is given them.
        built_for: spec of the boards that the weights fit; None for boards of any side.
        symbols: the first and the last symbol that a cell may hold.

    Raises:
        UserError: they have others.
    """
    if built_for is not None and boards.shape[1:] != (built_for.side, built_for.side):
        raise UserError(f"boards of shape {tuple(boards.shape[1:])}: this encoder is built for {built_for}")
    found = int(boards.min()), int(boards.max())
    if found[0] < symbols[0] or found[1] > symbols[1]:
        raise UserError(
            f"boards with symbols {found[0]} to {found[1]}: this encoder reads {symbols[0]} to {symbols[1]}"
        )
