"""The rules of Sudoku on boards of 4, 6 or 9 cells a side, and the symmetries that map solutions to solutions.

Each row, column and box holds every symbol once. A symmetry relabels the symbols, permutes bands and the rows within
each, stacks and the columns within each, and, where boxes are square, may transpose the board.
Shapes: b boards, y x cells, u units, s side.
"""

from functools import cache
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sslkuramoto.errors import UserError

Side = Literal[4, 6, 9]
BOXES: dict[int, tuple[int, int]] = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
"""Side -> rows and columns of a box."""


def sudoku_side(side: int, where: str) -> Side:
    """Return a side for which there are boxes.

    Args:
        side: in cells.
        where: what has this side, for the error.

    Raises:
        UserError: no boards of this side are known.
    """
    if side not in BOXES:
        raise UserError(f"{where} of side {side}: Sudoku here has boards of side {', '.join(map(str, BOXES))}")
    return cast(Side, side)


@cache
def units_of(side: Side) -> tuple[tuple[int, ...], ...]:
    """Return the cells of every row, column and box; cells are numbered row by row."""
    height, width = BOXES[side]
    units: dict[tuple[str, int, int], list[int]] = {}
    for y in range(side):
        for x in range(side):
            for unit in (("row", y, 0), ("column", x, 0), ("box", y // height, x // width)):
                units.setdefault(unit, []).append(y * side + x)
    return tuple(map(tuple, units.values()))


@cache
def peers_of(side: Side) -> tuple[tuple[int, ...], ...]:
    """Return for each cell the others in its row, column and box, in increasing order."""
    units = units_of(side)
    return tuple(
        tuple(sorted({other for unit in units if cell in unit for other in unit} - {cell})) for cell in range(side**2)
    )


def obeys(boards: Int64[Tensor, "b y x"], side: Side) -> Bool[Tensor, " b"]:
    """Return whether each row, column and box of a board holds every symbol once."""
    symbols = torch.arange(1, side + 1, device=boards.device)
    return (_in_units(boards, side).sort(dim=2).values == symbols).flatten(1).all(dim=1)


def contradicts(puzzles: Int64[Tensor, "b y x"], side: Side) -> Bool[Tensor, " b"]:
    """Return whether two equal givens of a puzzle share a row, a column or a box; 0 is a blank cell."""
    units = _in_units(puzzles, side).sort(dim=2).values
    return ((units[:, :, 1:] == units[:, :, :-1]) & (units[:, :, 1:] > 0)).flatten(1).any(dim=1)


def _in_units(boards: Int64[Tensor, "b y x"], side: Side) -> Int64[Tensor, "b u s"]:
    return boards.flatten(1)[:, torch.tensor(units_of(side), device=boards.device)]


class Symmetry(NamedTuple):
    """One symmetry per board.

    Attributes:
        symbols: the symbol that takes the place of each; 0 stays 0.
        rows: the row that comes to each place.
        columns: the column that comes to each place.
        transposed: whether the board is transposed afterwards.
    """

    symbols: Int64[Tensor, "b s+1"]
    rows: Int64[Tensor, "b s"]
    columns: Int64[Tensor, "b s"]
    transposed: Bool[Tensor, " b"]

    def __call__(self, boards: Int64[Tensor, "b y x"]) -> Int64[Tensor, "b y x"]:
        """Return the boards, puzzles or solutions, as their symmetries map them, on the device of the boards."""
        symbols, rows, columns, transposed = (part.to(boards.device) for part in self)
        moved = boards.gather(1, rows[:, :, None].expand_as(boards))
        moved = moved.gather(2, columns[:, None, :].expand_as(boards))
        moved = symbols.gather(1, moved.flatten(1)).view_as(boards)
        return torch.where(transposed[:, None, None], moved.transpose(1, 2), moved)


def random_symmetries(count: int, side: Side, draw: torch.Generator) -> Symmetry:
    """Draw symmetries, each equally likely.

    Args:
        count: how many.
        side: of the boards.
        draw: generator on the CPU.
    """
    height, width = BOXES[side]
    symbols = torch.cat([torch.zeros(count, 1, dtype=torch.int64), 1 + _orders((count, side), draw)], dim=1)
    rows, columns = _lines(count, side, height, draw), _lines(count, side, width, draw)
    flips = torch.rand(count, generator=draw) < 0.5
    return Symmetry(symbols, rows, columns, flips & (height == width))


def _orders(shape: tuple[int, ...], draw: torch.Generator) -> Int64[Tensor, "..."]:
    """Draw random orders of the last dimension."""
    return torch.rand(shape, generator=draw, dtype=torch.float64).argsort(dim=-1, stable=True)


def _lines(count: int, side: int, together: int, draw: torch.Generator) -> Int64[Tensor, "b s"]:
    """Draw orders of the rows, or columns, in which bands of ``together`` lines stay together."""
    bands = _orders((count, side // together), draw)
    within = _orders((count, side // together, together), draw)
    return (bands[:, :, None] * together + within).flatten(1)
