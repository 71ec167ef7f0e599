"""Sudoku puzzles with exactly one solution, made here and with no download.

A row, a column and a box each hold every symbol once. A solution belongs to one split by a hash of its symbols, so no
solution of the test split is ever trained on, however many puzzles are made of it.
Shapes: n boards, y x cells.
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
"""The symbols of a board, row by row; 0 is blank."""

_SHARES = {"test": 2, "val": 1}  # of ten solutions; the rest is for training
_TRIES = 200  # puzzles begun for each one wanted


@small(puzzles=24, puzzles_test=20)
@checked
class Sudoku(BoardSet):
    """Puzzles of one split, seeded; every one has a single solution.

    Args:
        split: "train", "val" or "test".
        side: cells of a side, a square number: 4 or 9.
        puzzles: number of training puzzles.
        puzzles_test: number of puzzles of each of the two other splits.
        givens: cells that are given. Fewer than a third make the search for a single solution long.
        puzzle_seed: names every choice made here, and which solutions belong to which split.

    Raises:
        UserError: an option out of range, or more puzzles than are found.
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
    """What may stand together on a board, and a search for what can.

    Args:
        side: cells of a side, a square number.
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
            grid: the puzzle, whose givens agree.
            draw: order in which symbols are tried; None for that of their numbers.
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
        cell = min(blank, key=lambda each: len(options[each]))  # the most constrained one
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
    """Return the split that a solution belongs to."""
    place = seed_of("sudoku split", seed, *solution) % 10
    for split, share in _SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


def _puzzles(rules: Rules, split: str, wanted: int, givens: int, seed: int) -> dict[Grid, Grid]:
    """Return different puzzles with their solutions."""
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
    """Return a puzzle: cells are blanked in random order while one solution is left; None where too many remain."""
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
