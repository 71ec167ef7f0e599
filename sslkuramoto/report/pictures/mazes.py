"""Drawings of mazes: an answer beside the path of the data, and a path that forms over the steps of a network.

WONN (arXiv 2605.20922), figures 5 and 10 to 12. Shapes: y x cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from sslkuramoto.maze_rules import FREE, GOAL, PATH, START, SYMBOLS, WALL, is_optimal, is_valid
from sslkuramoto.report.pictures.tiles import CORRECT, WHITE, WRONG, Tile, mixed, tiles_picture

WALLS, ENDS, THROUGH_WALL, MISSING = (82, 82, 82), (150, 40, 40), (150, 60, 160), (176, 206, 236)
KEY = (
    "Dark: walls; S and G: start and goal; blue: path cells as in the data; orange: other free cells that the answer "
    "marks; purple: walls that it marks; pale blue: path cells of the data that it leaves out."
)


@dataclass(frozen=True)
class MazeAnswer:
    """A maze, the path of the data and the answer of a network, as lists of rows.

    Raises:
        ValueError: they are not square boards of the symbols of mazes, of one side.
    """

    maze: Sequence[Sequence[int]]
    solution: Sequence[Sequence[int]]
    answer: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        cells = [torch.tensor(board) for board in (self.maze, self.solution, self.answer)]
        side = len(self.maze)
        if any(each.shape != (side, side) or each.min() < 0 or each.max() > SYMBOLS for each in cells):
            raise ValueError(side)

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.maze)[None], torch.tensor(self.answer)[None]

    @property
    def verdict(self) -> str:
        """What the answer is: exact, shortest but not that of the data, valid but longer, or no path."""
        if np.array_equal(self.answer, self.solution):
            return "exact"
        if is_optimal(*self._tensors):
            return "valid and shortest, another path than in the data"
        return "valid, not shortest" if is_valid(*self._tensors) else "no valid path"

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Path cells of the data, those of them that the answer marks, free cells and walls that it marks besides."""
        maze, theirs, ours = np.asarray(self.maze), np.asarray(self.solution) == PATH, np.asarray(self.answer) == PATH
        beside = ours & ~theirs
        return (
            int(theirs.sum()),
            int((ours & theirs).sum()),
            int((beside & (maze != WALL)).sum()),
            int((beside & (maze == WALL)).sum()),
        )


def ground(maze: np.ndarray) -> np.ndarray:
    """Return the colours of walls and free cells."""
    cells = np.empty((*maze.shape, 3), np.uint8)
    cells[:] = WHITE
    cells[maze == WALL] = WALLS
    return cells


def _ends(maze: np.ndarray) -> tuple[tuple[int, int, str, str], ...]:
    found = ((START, "S"), (GOAL, "G"))
    return tuple(
        (int(y), int(x), letter, "#ffffff") for symbol, letter in found for y, x in np.argwhere(maze == symbol)
    )


def answer_tile(maze: np.ndarray, solution: np.ndarray, answer: np.ndarray) -> Tile:
    """Return a maze with an answer, in the colours that :data:`KEY` explains."""
    cells, ours, theirs = ground(maze), answer == PATH, solution == PATH
    for where, colour in (
        (theirs & ~ours, MISSING),
        (ours & theirs, CORRECT),
        (ours & ~theirs & (maze != WALL), WRONG),
        (ours & (maze == WALL), THROUGH_WALL),
        ((maze == START) | (maze == GOAL), ENDS),
    ):
        cells[where] = colour
    return Tile(cells, _ends(maze))


def shade_tile(maze: np.ndarray, percent: np.ndarray) -> Tile:
    """Return a maze whose cells are the more blue the more probable the network finds them on the path."""
    cells = mixed(ground(maze), CORRECT, percent / 100)
    cells[(maze == START) | (maze == GOAL)] = ENDS
    return Tile(cells, _ends(maze))


def maze_picture(found: MazeAnswer, *, who: str, name: str) -> Markup:
    """Return an inline SVG: the answer of a network, and the path of the data."""
    maze, solution, answer = map(np.asarray, (found.maze, found.solution, found.answer))
    tiles = [answer_tile(maze, solution, answer), answer_tile(maze, solution, solution)]
    total, marked, free, walls = found.counts
    alt = (
        f"Maze of side {len(maze)} with {(maze == FREE).sum()} free cells. {who}: {found.verdict}; {marked} of {total} "
        f"path cells of the data marked, besides {free} free cells and {walls} walls. Beside it the path of the data."
    )
    return tiles_picture([("", tiles)], ["answer", "data"], inches=1.5, alt=alt, name=name)


def forming_maze(
    found: MazeAnswer,
    steps: Sequence[int],
    answers: Sequence[Sequence[Sequence[int]]],
    shades: Sequence[Sequence[Sequence[int]]],
    *,
    name: str,
) -> Markup:
    """Return an inline SVG: the answer after each of some steps, and below it the probability of the path.

    Args:
        found: the maze.
        steps: of the network, from 1.
        answers: after each of them.
        shades: probability of the path in each cell, percent.
        name: unique on the page.
    """
    maze, solution = np.asarray(found.maze), np.asarray(found.solution)
    after = [MazeAnswer(found.maze, found.solution, answer) for answer in answers]
    rows = [
        ("answer", [answer_tile(maze, solution, np.asarray(each.answer)) for each in after]),
        ("p(path)", [shade_tile(maze, np.asarray(shade, dtype=float)) for _, shade in zip(steps, shades, strict=True)]),
    ]
    total = found.counts[0]
    told = [
        f"step {step}: {each.verdict}, {each.counts[1]} of {total} path cells, {sum(each.counts[2:])} others"
        for step, each in zip(steps, after, strict=True)
    ]
    alt = f"The path in a maze of side {len(maze)} over the steps of the network. {'; '.join(told)}."
    return tiles_picture(rows, [f"step {step}" for step in steps], inches=0.95, alt=alt, name=name)
