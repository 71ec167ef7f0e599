"""Which boards a network reads, its table of symbols, and the entry of the table for each cell.

Shapes: b batch, y x cells.
"""

from typing import NamedTuple

from jaxtyping import Bool, Int64
from torch import Tensor, nn

from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards, given
from sslkuramoto.randomness import without_memory


class SymbolTable(nn.Embedding):
    """A trained vector for each symbol, standard normal before training.

    On the device meta, where recipes are checked, nothing is drawn.

    Args:
        symbols: how many there are.
        channels: length of a vector.
    """

    def __init__(self, symbols: int, channels: int) -> None:
        super().__init__(symbols, channels)

    def reset_parameters(self) -> None:
        """Draw the vectors from torch's global generator."""
        if not without_memory():
            super().reset_parameters()


class BoardInputs(NamedTuple):
    """The boards that a network reads.

    Attributes:
        side: in cells; None: boards of any side.
        symbols: number of symbols that a cell of the solution can hold, numbered from 1.
        input_symbols: number of symbols of inputs without blank cells, as mazes are; None: cells hold 0 (blank) or one
            of ``symbols``.
    """

    side: int | None
    symbols: int
    input_symbols: int | None = None

    @property
    def spec(self) -> Boards | None:
        """The only boards that the weights fit; None for a network that reads boards of any side."""
        return None if self.side is None else self.at(self.side)

    def at(self, side: int) -> Boards:
        """Return the boards that the weights fit, of this side where any will do."""
        return Boards(self.side or side, self.symbols, self.input_symbols)

    @property
    def entries(self) -> int:
        """Number of entries of a table of what a cell can hold."""
        return self.symbols + 1 if self.input_symbols is None else self.input_symbols

    def check(self) -> "BoardInputs":
        """Check that the numbers fit together, and return them.

        Raises:
            UserError: inputs hold more symbols than solutions.
        """
        if self.input_symbols is not None and self.input_symbols > self.symbols:
            raise UserError(f"input_symbols={self.input_symbols}: must be at most symbols={self.symbols}")
        return self

    def grid(self, option: str) -> tuple[int, int]:
        """Return rows and columns for what is made for one side.

        Args:
            option: what asks for it, for the error: ``"positions=ape"``.

        Raises:
            UserError: the network reads boards of any side.
        """
        if self.side is None:
            raise UserError(f"{option}: needs side, the side of the board in cells")
        return self.side, self.side

    def check_places(self, *, blind: bool) -> None:
        """Check that a network for mazes can tell which cells are neighbours.

        Args:
            blind: whether the network commutes with every permutation of the cells: it has attention without positions
                and no convolution beyond 1 x 1.

        Raises:
            UserError: it cannot.
        """
        if blind and self.input_symbols is not None:
            raise UserError(
                "positions=none: attention alone cannot tell which cells of a maze are neighbours; set positions=gta, "
                "rope or ape (with side), or couple by convolution"
            )

    def entry(self, boards: Int64[Tensor, "b y x"]) -> Int64[Tensor, "b y x"]:
        """Return the entry of the table for each cell.

        Raises:
            UserError: no boards, or boards of another side, other symbols or no whole numbers.
        """
        if self.side is not None and boards.shape[1:] != (self.side, self.side):
            raise UserError(f"boards of shape {tuple(boards.shape[1:])}: this encoder is built for {self.spec}")
        if boards.is_floating_point() or not len(boards):
            raise UserError(
                f"boards: {boards.dtype} {list(boards.shape)}: must be whole numbers, of at least one board"
            )
        least = 0 if self.input_symbols is None else 1
        found = int(boards.min()), int(boards.max())
        if found[0] < least or found[1] >= least + self.entries:
            most = least + self.entries - 1
            raise UserError(f"boards with symbols {found[0]} to {found[1]}: this encoder reads {least} to {most}")
        return boards - least

    def given(self, boards: Int64[Tensor, "b y x"]) -> Bool[Tensor, "b y x"]:
        """Return which cells are given: not blank; in mazes walls, start and goal."""
        return given(boards, self.input_symbols)
