"""The rules of square mazes: symbols, distances, shortest paths, what a valid answer is, and the eight symmetries.

A move leads from a cell to the one above, to the left, to the right or below. The length of a path is its number of
moves, so that a path of length n has n - 1 cells between start and goal. Symbols as in the published mazes (HRM, Wang
et al. 2025, arXiv 2506.21734). Shapes: b mazes, y x cells.
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn import functional as F

CHARACTERS = "# SGo"
"""The character of each symbol in the order of the symbols."""
WALL, FREE, START, GOAL, PATH = range(1, 1 + len(CHARACTERS))
"""Symbols of a cell. Mazes hold the first four; in an answer the free cells of the path hold the fifth."""
INPUT_SYMBOLS, SYMBOLS = GOAL, PATH
"""How many symbols a maze and its answer hold."""
MOVES = ((-1, 0), (0, -1), (0, 1), (1, 0))
"""Rows and columns of each move: up, left, right, down."""
SYMMETRIES = 8
"""Rotations and reflections of the square."""
UNREACHED = -1


def _neighbours(cells: Tensor, outside: int) -> list[Tensor]:
    """Return for each move what the cells hold to which it leads; ``outside`` beyond the border."""
    height, width = cells.shape[1:]
    framed = F.pad(cells, (1, 1, 1, 1), value=outside)
    return [framed[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in MOVES]


def distances(mazes: Int64[Tensor, "b y x"], to: int = GOAL) -> Int64[Tensor, "b y x"]:
    """Return the moves on a shortest path from each cell to one symbol; -1 for walls and where no path leads.

    Args:
        mazes: symbols; every one but a wall can be walked on.
        to: ``GOAL`` or ``START``.
    """
    return distances_to(mazes != WALL, mazes == to)


def distances_to(open_cells: Bool[Tensor, "b y x"], to: Bool[Tensor, "b y x"]) -> Int64[Tensor, "b y x"]:
    """Return the moves on a shortest path through open cells to the nearest of ``to``; -1 where no path leads."""
    height, width = (side + 2 for side in open_cells.shape[1:])
    # closed frames: a move is then a shift of all mazes at once, in one row
    front, left = (
        F.pad(cells, (1, 1, 1, 1)).to(torch.int16).flatten() for cells in (to & open_cells, open_cells & ~to)
    )
    found, inside = torch.zeros_like(left), slice(width, -width)
    while front.any():
        found += left
        grown = front[: -2 * width] | front[2 * width :] | front[width - 1 : -width - 1]
        grown |= front[width + 1 : len(front) - width + 1]
        front[inside] = grown & left[inside]
        left ^= front
    found[left > 0] = UNREACHED
    within = found.view(-1, height, width)[:, 1:-1, 1:-1].long()
    return within.masked_fill(~open_cells, UNREACHED)


def path_lengths(mazes: Int64[Tensor, "b y x"]) -> Int64[Tensor, " b"]:
    """Return the moves on a shortest path from start to goal; -1 where there is none.

    Args:
        mazes: with one start each.
    """
    return torch.where(mazes == START, distances(mazes), UNREACHED).flatten(1).amax(dim=1)


def shortest_path(mazes: Int64[Tensor, "b y x"]) -> Int64[Tensor, "b y x"]:
    """Return the answers of mazes: a shortest path from start to goal, its free cells marked as path.

    Of several shortest paths it is the one that from the start on takes at each cell the first move in the order up,
    left, right, down that leads nearer to the goal.

    Args:
        mazes: with one start and one goal each, and a path between them.
    """
    to_goal, answers = distances(mazes), mazes.flatten(1).clone()
    around = torch.stack(_neighbours(to_goal, UNREACHED), dim=3).flatten(1, 2)
    to_goal = to_goal.flatten(1)
    steps = torch.tensor([y * mazes.shape[2] + x for y, x in MOVES], device=mazes.device)
    each, cell = torch.arange(len(mazes), device=mazes.device), (answers == START).int().argmax(dim=1)
    for _ in range(int(to_goal[each, cell].amax()) - 1):
        left = to_goal[each, cell]
        nearer = around[each, cell] == (left - 1)[:, None]
        cell = torch.where(left > 1, cell + steps[nearer.int().argmax(dim=1)], cell)
        answers[each, cell] = torch.where(left > 1, PATH, answers[each, cell])
    return answers.view_as(mazes)


def single(mazes: Int64[Tensor, "b y x"]) -> Bool[Tensor, " b"]:
    """Return whether exactly one path from start to goal is shortest.

    This is so if for each distance one cell only is that far from the start on a way of the shortest length.
    """
    from_start, to_goal = distances(mazes, START), distances(mazes)
    lengths = path_lengths(mazes)
    on_one = (from_start >= 0) & (from_start + to_goal == lengths[:, None, None])
    return (lengths >= 0) & (on_one.flatten(1).sum(dim=1) == lengths + 1)


def is_valid(mazes: Int64[Tensor, "b y x"], answers: Int64[Tensor, "b y x"]) -> Bool[Tensor, " b"]:
    """Return whether the path cells of an answer, with start and goal of the maze, are one simple path between them.

    Path cells must be free in the maze. Each of them touches exactly two cells of the path, start and goal touch one,
    and there are no others: a path with branches, or one that runs along itself, is not valid (no shortest one does).
    What else the answer says of walls, start and goal does not count.

    Args:
        mazes: with one start and one goal each.
        answers: symbols; 5 is the path.
    """
    marked, ends = answers == PATH, (mazes == START) | (mazes == GOAL)
    path = marked | ends
    touching = torch.stack(_neighbours(path, 0)).sum(dim=0)
    simple = (~path | (touching == torch.where(ends, 1, 2))).flatten(1).all(dim=1)
    joined = distances_to(path, mazes == GOAL) >= 0
    whole = (joined | ~path).flatten(1).all(dim=1)
    return simple & whole & (~marked | (mazes == FREE)).flatten(1).all(dim=1)


def is_optimal(mazes: Int64[Tensor, "b y x"], answers: Int64[Tensor, "b y x"]) -> Bool[Tensor, " b"]:
    """Return whether an answer is valid and no path is shorter."""
    moves = (answers == PATH).flatten(1).sum(dim=1) + 1
    return is_valid(mazes, answers) & (moves == path_lengths(mazes))


def turned(boards: Int64[Tensor, "b y x"], symmetry: int) -> Int64[Tensor, "b y x"]:
    """Return boards under one of the eight symmetries of the square: 0 is none, from 4 on they are reflected too."""
    return torch.rot90(boards.transpose(1, 2) if symmetry >= 4 else boards, symmetry % 4, dims=(1, 2))


def characters(board: Int64[Tensor, "y x"]) -> str:
    """Return a maze or an answer as text, a line for each row."""
    return "\n".join("".join(CHARACTERS[symbol - 1] for symbol in row) for row in board.tolist())
