"""Sudoku puzzles with exactly one solution, generated without a download.

Each row, column and box holds every symbol once. A hash of its symbols assigns each solution to one split, so that no
puzzle of the training split has a solution of the test split. Shapes: n boards, y x cells.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import Annotated, Any

import torch
from pydantic import Field

from sslkuramoto.data.boards.board_set import BoardSet
from sslkuramoto.data.images.subset import SPLITS
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.examples import Boards
from sslkuramoto.randomness import seed_of
from sslkuramoto.values import Count, Whole, checked, small

Number = Annotated[int, Field(ge=1, le=1_000_000)]
"""How many puzzles; each is searched for when the data are made."""
Grid = tuple[int, ...]
"""The symbols of a board, row by row; 0 is a blank cell."""

_SHARES = {"test": 2, "val": 1}  # of ten solutions; the others are for training
_TRIES = 200  # attempts per puzzle before giving up


@small(puzzles=24, puzzles_test=20)
@checked
class Sudoku(BoardSet):
    """Random puzzles of one split, each with a single solution.

    Args:
        split: "train", "val" or "test".
        side: side of the board in cells, a square number such as 4 or 9.
        puzzles: number of training puzzles.
        puzzles_test: number of puzzles in the val split and in the test split.
        givens: number of given cells per puzzle (generation is slow below a third of the cells).
        puzzle_seed: seed of the puzzles and of the assignment of solutions to splits.

    Raises:
        UserError: an option is out of range, or fewer puzzles were found than requested.
    """

    def __init__(
        self,
        split: str,
        *,
        side: Annotated[int, Field(ge=4)] = 4,
        puzzles: Number = 4000,
        puzzles_test: Number = 500,
        givens: Count = 6,
        puzzle_seed: Whole = 0,
    ) -> None:
        spec = self.expected({"side": side})
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        if not side <= givens < side**2:
            raise UserError(f"givens={givens}: must be from {side} to {side**2 - 1} of {side**2} cells")
        wanted = puzzles if split == "train" else puzzles_test
        found = _puzzles(Rules(side), split, wanted, givens, puzzle_seed)
        boards = torch.tensor(list(found.items())).view(wanted, 2, side, side)
        super().__init__("sudoku", split, spec, boards[:, 0], boards[:, 1])

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Boards:
        side = options["side"]
        if side < 4 or isqrt(side) ** 2 != side:
            raise UserError(f"side={side}: must be a square number from 4, for the boxes")
        return Boards(side, symbols=side)


class Rules:
    """The rules of Sudoku and a search for solutions by backtracking.

    Args:
        side: side of the board in cells, a square number.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        box = isqrt(side)
        cells = [(y, x, y // box, x // box) for y in range(side) for x in range(side)]
        self.peers = [
            [j for j, b in enumerate(cells) if j != i and (a[0] == b[0] or a[1] == b[1] or a[2:] == b[2:])]
            for i, a in enumerate(cells)
        ]

    def solutions(self, grid: Sequence[int], draw: random.Random | None = None) -> Iterator[Grid]:
        """Yield every solution of a puzzle.

        Args:
            grid: the puzzle; its givens obey the rules.
            draw: generator of the order in which symbols are tried; None tries them in increasing order.
        """
        cells = list(grid)
        options = [self._free(cells, cell) if not symbol else set() for cell, symbol in enumerate(cells)]
        yield from self._search(cells, options, draw)

    def single(self, grid: Sequence[int]) -> bool:
        """Return whether a puzzle has exactly one solution."""
        found = self.solutions(grid)
        return next(found, None) is not None and next(found, None) is None

    def _free(self, cells: list[int], cell: int) -> set[int]:
        return set(range(1, self.side + 1)) - {cells[peer] for peer in self.peers[cell]}

    def _search(self, cells: list[int], options: list[set[int]], draw: random.Random | None) -> Iterator[Grid]:
        blank = [cell for cell, symbol in enumerate(cells) if not symbol]
        if not blank:
            yield tuple(cells)
            return
        cell = min(blank, key=lambda each: len(options[each]))  # the most constrained cell
        symbols = sorted(options[cell])
        if draw is not None:
            draw.shuffle(symbols)
        for symbol in symbols:
            cells[cell] = symbol
            touched = [peer for peer in self.peers[cell] if symbol in options[peer]]
            for peer in touched:
                options[peer].discard(symbol)
            yield from self._search(cells, options, draw)
            for peer in touched:
                options[peer].add(symbol)
            cells[cell] = 0


def split_of(solution: Grid, seed: int) -> str:
    """Return the split to which a solution is assigned."""
    place = seed_of("sudoku split", seed, *solution) % 10
    for split, share in _SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


def _puzzles(rules: Rules, split: str, wanted: int, givens: int, seed: int) -> dict[Grid, Grid]:
    """Return distinct puzzles with their solutions."""
    draw = random.Random(seed_of("sudoku", seed, split, rules.side, givens))
    found: dict[Grid, Grid] = {}
    for _ in range(_TRIES * wanted):
        solution = next(rules.solutions([0] * rules.side**2, draw))
        if split_of(solution, seed) == split and (puzzle := _dug(rules, solution, givens, draw)) is not None:
            found[puzzle] = solution
            if len(found) == wanted:
                return found
    raise UserError(f"givens={givens}: only {len(found)} different {split} puzzles were found of the {wanted} wanted")


def _dug(rules: Rules, solution: Grid, givens: int, draw: random.Random) -> Grid | None:
    """Blank cells in random order as long as the solution stays unique; None if too many givens remain."""
    cells = list(solution)
    left = len(cells)
    for cell in draw.sample(range(len(cells)), len(cells)):
        if left == givens:
            break
        cells[cell] = 0
        if rules.single(cells):
            left -= 1
        else:
            cells[cell] = solution[cell]
    return tuple(cells) if left == givens else None
