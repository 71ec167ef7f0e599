"""Sudoku puzzles with exactly one solution, generated without a download, and the splits that share no solution.

Boards of 6 and 9 cells a side are split by what all symmetric solutions have in common: solutions that a symmetry maps
to each other are in one split. Boards of 4 x 4 have two such classes only and are split by the solution itself.
Sources: 17 to 34 givens out of distribution are the rule of RRN (Palm et al. 2018, arXiv 1711.08028); 31 to 42 givens
are the range of SATNet (Wang et al. 2019, arXiv 1905.12149), on which Miyato et al. 2025 (arXiv 2410.13821) train.
Shapes: n boards, y x cells.
"""

import random
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from sslkuramoto.data.boards.board_set import BoardSet
from sslkuramoto.data.boards.solver import Digging, Grid, Solver
from sslkuramoto.data.images.subset import SPLITS
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.examples import Boards
from sslkuramoto.randomness import generator, seed_of
from sslkuramoto.sudoku_rules import BOXES, Side, random_symmetries
from sslkuramoto.values import Count, Mark, Seed, checked, small

Number = Annotated[int, Field(ge=1, le=1_000_000)]
"""How many puzzles; each is searched for when the data are made."""
Givens = tuple[int, int]
"""Fewest and most given cells of a puzzle."""

GIVENS: dict[int, Givens] = {4: (6, 6), 6: (14, 19), 9: (31, 42)}
"""Side -> given cells of family "dug" unless an option states them; for 9 the range of SATNet."""
SEEDS = (
    "000000010400000000020000000000050407008000300001090000300400200050100000000806000",
    "000000010400000000020000000000050604008000300001090000300400200050100000000807000",
    "000000012000035000000600070700000300000400800100000000000120000080000040050000600",
    "000000012003600000000007000410020000000500300700000600280000040000300500000000000",
    "000000012008030000000000040120500000000004700060000000507000300000620000000100000",
    "000000012040050000000009000070600400000100000000000050000087500601000300200000000",
)
"""Puzzles of 17 givens, the fewest that a 9 x 9 puzzle with one solution can have, no two of them symmetric."""
SEED_GIVENS: Givens = (17, 34)

_SHARES = {"test": 2, "val": 1}  # of ten solutions; the others are for training
_TRIES = 200  # attempts per puzzle before giving up


@small(puzzles=24, puzzles_test=20)
@checked
class Sudoku(BoardSet):
    """Random puzzles of one split, each with a single solution.

    Args:
        split: "train", "val" or "test".
        side: side of the board in cells. Boxes have 2 x 2, 2 x 3 or 3 x 3 cells.
        puzzles: number of training puzzles.
        puzzles_test: number of puzzles in the val split and in the test split.
        givens: number of given cells per puzzle, or [fewest, most], each number equally likely (null: 6 for side 4, 14
            to 19 for side 6, 31 to 42 for side 9; 17 to 34 for family=seeds). Below 24 of 81 cells generation is slow.
        puzzle_seed: seed of the puzzles and of the assignment of solutions to splits.
        family: ``"dug"`` blanks cells of a random solution in random order as long as it stays the only one;
            ``"seeds"`` takes one of six 9 x 9 puzzles of 17 givens, a random symmetry of it, and adds true cells. Its
            puzzles are all of the test split, and no other split holds solutions of these six classes.

    Raises:
        UserError: an option is out of range, or fewer puzzles were found than requested.
    """

    def __init__(
        self,
        split: str,
        *,
        side: Side = 4,
        puzzles: Number = 4000,
        puzzles_test: Number = 500,
        givens: Count | tuple[Count, Count] | None = None,
        puzzle_seed: Annotated[Seed, Mark.UNSEEN] = 0,
        family: Literal["dug", "seeds"] = "dug",
    ) -> None:
        spec = self.expected({"side": side, "family": family, "givens": givens})
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        wanted = puzzles if split == "train" else puzzles_test
        numbers = _range(givens, family, side)
        if family == "seeds":
            found = _from_seeds(split, side, wanted, numbers, puzzle_seed)
        else:
            found = _dug_puzzles(side, split, wanted, numbers, puzzle_seed)
        super().__init__("sudoku", split, spec, found[:, 0], found[:, 1])
        if family == "seeds":
            self.notes = ("the puzzles are symmetric to six of 17 givens: six classes of solutions, not thousands",)

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Boards:
        side = options["side"]
        if side not in BOXES:
            raise UserError(f"side={side}: must be one of {', '.join(map(str, BOXES))}")
        _range(options["givens"], options["family"], side)
        return Boards(side, symbols=side)


def _range(givens: int | Sequence[int] | None, family: str, side: int) -> Givens:
    """Return fewest and most given cells, checked."""
    if family == "seeds" and side != 9:
        raise UserError(f"side={side}: family=seeds has 9 x 9 puzzles")
    usual = SEED_GIVENS if family == "seeds" else GIVENS[side]
    low, high = usual if givens is None else (givens, givens) if isinstance(givens, int) else givens
    if not side <= low <= high < side**2:
        raise UserError(f"givens={givens}: must be from {side} to {side**2 - 1} of {side**2} cells, fewest first")
    if family == "seeds" and low < SEED_GIVENS[0]:
        raise UserError(f"givens={low}: must be at least {SEED_GIVENS[0]} with family=seeds")
    return low, high


def split_of(solution: Grid, side: Side, seed: int) -> str:
    """Return the split to which a solution is assigned: of 6 x 6 and 9 x 9 boards the same for all symmetric ones."""
    if side == 4:
        place = seed_of("sudoku split", seed, *solution) % 10
    else:
        known = class_of(solution, side)
        if side == 9 and known in _seed_classes():
            return "test"
        place = seed_of("sudoku class", seed, known) % 10
    for split, share in _SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


def class_of(solution: Grid, side: Side) -> str:
    """Return what all solutions have in common that a symmetry maps to this one; few others share it.

    Two rows map the symbol of the one to that of the other in the same column. The cycle lengths of this permutation
    are the same under any symmetry; they are collected by bands of rows, and likewise by stacks of columns.
    """
    height, width = BOXES[side]
    rows = [solution[side * y : side * (y + 1)] for y in range(side)]
    lines = [_cycles_by_band(rows, height), _cycles_by_band(list(zip(*rows, strict=True)), width)]
    return repr(sorted(lines) if height == width else lines)


def _cycles_by_band(lines: Sequence[Sequence[int]], together: int) -> list[list[tuple[str, ...]]]:
    found: dict[tuple[int, int], list[str]] = {}
    for second in range(len(lines)):
        for first in range(second):
            pair = (first // together, second // together)
            found.setdefault(pair, []).append(_cycles(lines[first], lines[second]))
    within = sorted(tuple(sorted(each)) for (one, other), each in found.items() if one == other)
    across = sorted(tuple(sorted(each)) for (one, other), each in found.items() if one != other)
    return [within, across]


def _cycles(first: Sequence[int], second: Sequence[int]) -> str:
    """Return the sorted cycle lengths of the permutation that maps the symbols of one line to those of another."""
    after = [0] * (len(first) + 1)  # symbols begin at 1
    for symbol, other in zip(first, second, strict=True):
        after[symbol] = other
    lengths = []
    for symbol in range(1, len(after)):
        length = 0
        while after[symbol]:
            after[symbol], symbol = 0, after[symbol]
            length += 1
        if length:
            lengths.append(length)
    return "".join(map(str, sorted(lengths)))


@cache
def _solved_seeds() -> tuple[tuple[Grid, Grid], ...]:
    solver, found = Solver(9), []
    for text in SEEDS:
        puzzle = tuple(map(int, text))
        (solution,) = solver.solutions(puzzle)
        found.append((puzzle, solution))
    return tuple(found)


@cache
def _seed_classes() -> frozenset[str]:
    return frozenset(class_of(solution, 9) for _, solution in _solved_seeds())


@lru_cache(maxsize=8)
def _dug_puzzles(side: Side, split: str, wanted: int, givens: Givens, seed: int) -> Int64[Tensor, "n 2 y x"]:
    """Return distinct puzzles with their solutions."""
    low, high = givens
    shown = str(low) if low == high else f"[{low}, {high}]"
    solver = Solver(side)
    draw = random.Random(seed_of("sudoku", seed, split, side, *sorted({low, high})))
    number = low if low == high else draw.randint(low, high)
    found: dict[Grid, Grid] = {}
    for _ in range(_TRIES * wanted):
        solution = solver.random_solution(draw)
        if split_of(solution, side, seed) != split or (puzzle := _dug(solver, solution, number, draw)) is None:
            continue
        if puzzle not in found and low != high:
            number = draw.randint(low, high)
        found[puzzle] = solution
        if len(found) == wanted:
            return torch.tensor(list(found.items())).view(wanted, 2, side, side)
    raise UserError(f"givens={shown}: only {len(found)} different {split} puzzles were found of the {wanted} wanted")


def _dug(solver: Solver, solution: Grid, givens: int, draw: random.Random) -> Grid | None:
    """Blank cells in random order as long as the solution stays unique; None if too many givens remain."""
    digging, left = Digging(solver, solution), len(solution)
    for cell in draw.sample(range(left), left):
        if left == givens:
            break
        left -= digging.blank(cell)
    return tuple(digging.cells) if left == givens else None


def _from_seeds(split: str, side: Side, wanted: int, givens: Givens, seed: int) -> Int64[Tensor, "n 2 y x"]:
    """Return puzzles of the seeds' classes: every number of givens, and every seed with it, equally often."""
    low, high = givens
    if split != "test":
        raise UserError(f"family=seeds: has test puzzles only, no {split} split; its six classes are never trained on")
    draw = generator("cpu", seed, "sudoku seeds")
    place = torch.arange(wanted)
    number = low + place % (high - low + 1)
    boards = torch.tensor(_solved_seeds()).view(len(SEEDS), 2, side, side)[place // (high - low + 1) % len(SEEDS)]
    symmetry = random_symmetries(wanted, side, draw)
    puzzles, solutions = symmetry(boards[:, 0]), symmetry(boards[:, 1])
    order = torch.rand(wanted, side**2, generator=draw, dtype=torch.float64)
    rank = order.masked_fill(puzzles.flatten(1) > 0, -1.0).argsort(dim=1, stable=True).argsort(dim=1)  # givens first
    kept = (rank < number[:, None]).view_as(puzzles)
    return torch.stack([solutions * kept, solutions], dim=1)
