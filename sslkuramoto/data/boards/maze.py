"""Random mazes with their shortest paths, generated without a download, and the splits that share no maze.

Two families. ``walls``: each cell is a wall with one probability, as in the published mazes (after Lehnert et al. 2024,
arXiv 2402.14083); nearly all of them have many shortest paths, of which one fixed rule takes one. ``corridor``: a
spanning tree of rooms, perhaps with loops, with exactly one shortest path.
Shapes: n m mazes, y x cells.
"""

import random
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Int64
from pydantic import Field
from torch import Tensor

from sslkuramoto.data.boards.board_set import BoardSet
from sslkuramoto.data.images.subset import SPLITS
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.examples import Boards
from sslkuramoto.maze_rules import (
    FREE,
    GOAL,
    INPUT_SYMBOLS,
    START,
    SYMBOLS,
    SYMMETRIES,
    WALL,
    distances_to,
    shortest_path,
    single,
    turned,
)
from sslkuramoto.randomness import generator, seed_of
from sslkuramoto.values import Count, Mark, Seed, ShareBelowOne, Whole, checked, small

Family = Literal["walls", "corridor"]
Side = Annotated[int, Field(ge=9, le=30)]
Number = Annotated[int, Field(ge=1, le=1_000_000)]
"""How many mazes; each is searched for when the data are made."""

DENSITY = 0.35
_SHARES = {"test": 2, "val": 1}  # of ten mazes; the others are for training
_BATCH = 256  # candidates that are measured at once; part of what determines every set
_PATIENCE = 20_000  # candidates without a new maze before giving up


class Making(NamedTuple):
    """How mazes are made; see :class:`Maze`."""

    side: int
    family: Family
    density: float
    loops: int
    min_path: int
    seed: int


@small(mazes=24, mazes_test=20)
@checked
class Maze(BoardSet):
    """Random mazes of one split: walls, free cells, one start and one goal; the target marks a shortest path.

    Start and goal are far apart: from a random free cell to the farthest one, and from there to the farthest again.
    Mazes whose walls a rotation or a reflection maps to each other are in one split.

    Args:
        split: "train", "val" or "test".
        side: side of the maze in cells. A corridor maze of an even side has one more row and column of wall.
        mazes: number of training mazes.
        mazes_test: number of mazes in the val split and in the test split.
        family: ``"walls"``: each cell is a wall with probability ``density``. ``"corridor"``: rooms in every other row
            and column, joined by a random spanning tree that is drawn depth first, so that corridors wind.
        density: share of walls of family=walls.
        loops: number of walls between rooms that are opened beyond the tree, of family=corridor. Mazes with more than
            one shortest path are rejected.
        min_path: fewest moves from start to goal. The published mazes have more than 110 at side 30.
        maze_seed: seed of the mazes and of their assignment to splits.

    Raises:
        UserError: an option is out of range, or fewer mazes were found than requested.
    """

    def __init__(
        self,
        split: str,
        *,
        side: Side = 10,
        mazes: Number = 1000,
        mazes_test: Number = 1000,
        family: Family = "walls",
        density: ShareBelowOne = DENSITY,
        loops: Whole = 0,
        min_path: Count = 2,
        maze_seed: Annotated[Seed, Mark.UNSEEN] = 0,
    ) -> None:
        stated = {"side": side, "family": family, "density": density, "loops": loops, "min_path": min_path}
        spec = self.expected(stated)
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        making = Making(side, family, density if family == "walls" else 0.0, loops, min_path, maze_seed)
        found = _found(making, split, mazes if split == "train" else mazes_test)
        super().__init__("maze", split, spec, found, shortest_path(found))

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Boards:
        side, family, loops, min_path = (options[key] for key in ("side", "family", "loops", "min_path"))
        density = options["density"]
        if not 2 <= min_path < side**2:
            raise UserError(f"min_path={min_path}: must be from 2 to {side**2 - 1}, the moves in {side} x {side} cells")
        if density != DENSITY and family == "corridor":
            raise UserError(
                f"density={density}: is for family=walls; the walls of family=corridor follow from its rooms"
            )
        if loops and family == "walls":
            raise UserError(f"loops={loops}: is for family=corridor; mazes of family=walls have loops")
        rooms = (side + 1) // 2
        if loops > (most := (rooms - 1) ** 2):
            raise UserError(
                f"loops={loops}: must be at most {most}, the walls between {rooms} x {rooms} rooms of a tree"
            )
        return Boards(side, SYMBOLS, INPUT_SYMBOLS)


def split_of(maze: Int64[Tensor, "y x"], seed: int) -> str:
    """Return the split to which a maze is assigned by its walls, the same for all symmetric ones."""
    walls = (maze == WALL)[None].byte()
    shapes = [bytes(turned(walls, symmetry).flatten().tolist()) for symmetry in range(SYMMETRIES)]
    place = seed_of("maze split", seed, min(shapes).hex()) % 10
    for split, share in _SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


@lru_cache(maxsize=8)
def _found(making: Making, split: str, wanted: int) -> Int64[Tensor, "n y x"]:
    """Return distinct mazes of a split."""
    found: dict[bytes, Int64[Tensor, "y x"]] = {}
    idle = 0
    for mazes in _candidates(making, split):
        idle += _BATCH
        for maze in mazes:
            key = bytes(maze.flatten().tolist())
            if key in found or split_of(maze, making.seed) != split:
                continue
            found[key], idle = maze, 0
            if len(found) == wanted:
                return torch.stack(list(found.values()))
        if idle > _PATIENCE:
            break
    other = f"density={making.density}" if making.family == "walls" else f"loops={making.loops}"
    raise UserError(
        f"min_path={making.min_path}, {other}: only {len(found)} different {split} mazes of side {making.side} were"
        f" found of the {wanted} wanted; the last {idle} mazes held none"
    )


def _candidates(making: Making, split: str) -> Iterator[Int64[Tensor, "n y x"]]:
    """Yield the mazes of one batch after another that are long enough; of corridors those with one shortest path."""
    draw = generator("cpu", making.seed, "mazes", split, *making[:-1])
    while True:
        if making.family == "walls":
            open_cells = torch.rand(_BATCH, making.side, making.side, generator=draw) >= making.density
        else:
            open_cells = _corridors(making, random.Random(int(torch.randint(2**62, (), generator=draw))))
        mazes = _with_ends(open_cells, making.min_path, draw)
        yield mazes[single(mazes)] if making.loops else mazes


def _with_ends(open_cells: Bool[Tensor, "n y x"], min_path: int, draw: torch.Generator) -> Int64[Tensor, "m y x"]:
    """Return mazes with start and goal far apart; those with fewer than ``min_path`` moves between are left out."""
    n, side, _ = open_cells.shape
    order = torch.rand(n, side**2, generator=draw).masked_fill(~open_cells.flatten(1), -1.0)
    swapped = torch.rand(n, generator=draw) < 0.5
    first, away = _farthest(open_cells, order.argmax(dim=1))
    kept = 2 * away >= min_path  # no two cells are farther apart than twice that
    open_cells, swapped, first = open_cells[kept], swapped[kept], first[kept]
    second, away = _farthest(open_cells, first)
    kept = away >= min_path
    mazes = torch.where(open_cells[kept], FREE, WALL).flatten(1)
    for symbol, cell in (
        (START, torch.where(swapped, second, first)),
        (GOAL, torch.where(swapped, first, second)),
    ):
        mazes.scatter_(1, cell[kept, None], symbol)
    return mazes.view(-1, side, side)


def _farthest(
    open_cells: Bool[Tensor, "n y x"], cell: Int64[Tensor, " n"]
) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]:
    """Return of each maze the cell that is the most moves away from one, the first of several, and how many."""
    here = torch.zeros_like(open_cells).flatten(1).scatter_(1, cell[:, None], True)
    away, farthest = distances_to(open_cells, here.view_as(open_cells)).flatten(1).max(dim=1)
    return farthest, away


def _corridors(making: Making, draw: random.Random) -> Bool[Tensor, "n y x"]:
    """Return the open cells of a batch of corridor mazes."""
    return torch.tensor([_corridor(making, draw) for _ in range(_BATCH)], dtype=torch.bool)


def _corridor(making: Making, draw: random.Random) -> list[list[bool]]:
    """Return the open cells of one corridor maze: a spanning tree of its rooms, drawn depth first, and loops."""
    rooms = (making.side + 1) // 2
    cells = [[False] * making.side for _ in range(making.side)]
    y, x = draw.randrange(rooms), draw.randrange(rooms)
    cells[2 * y][2 * x] = True
    way = [(y, x)]
    while way:
        y, x = way[-1]
        ahead = [
            (y + down, x + right)
            for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0))
            if 0 <= y + down < rooms and 0 <= x + right < rooms and not cells[2 * (y + down)][2 * (x + right)]
        ]
        if not ahead:
            way.pop()
            continue
        to_y, to_x = draw.choice(ahead)
        cells[y + to_y][x + to_x] = cells[2 * to_y][2 * to_x] = True
        way.append((to_y, to_x))
    between = [(y, x) for y in range(2 * rooms - 1) for x in range(2 * rooms - 1) if (y + x) % 2 and not cells[y][x]]
    for y, x in draw.sample(between, making.loops):
        cells[y][x] = True
    return cells
