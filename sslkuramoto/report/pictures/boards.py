"""Drawings of Sudoku boards with their answers, and of the energies of right and wrong draws of boards.

Shapes: s side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from sslkuramoto.report.pictures.drawing import FAINT, INK, axes_grid, colour, plain_axes, styled, svg_of
from sslkuramoto.report.pictures.tiles import CORRECT as CORRECT_CELL
from sslkuramoto.report.pictures.tiles import GIVEN, WHITE, Tile, mixed, tiles_picture
from sslkuramoto.report.pictures.tiles import WRONG as WRONG_CELL
from sslkuramoto.sudoku_rules import BOXES

RIGHT, WRONG = 0, 1
"""Numbers of the colours of right and of wrong draws."""


@dataclass(frozen=True)
class Board:
    """A puzzle (0 is blank), its solution and the answer of a network, as lists of rows."""

    puzzle: Sequence[Sequence[int]]
    solution: Sequence[Sequence[int]]
    answer: Sequence[Sequence[int]]

    @property
    def wrong(self) -> list[tuple[int, int]]:
        """Cells whose answer is not that of the solution."""
        side = range(len(self.solution))
        return [(y, x) for y in side for x in side if self.answer[y][x] != self.solution[y][x]]

    def wrong_words(self, of: str = "") -> str:
        """Return how many blank cells are wrong and, if any, given ones changed; ``of`` follows the first number."""
        givens = sum(self.puzzle[y][x] > 0 for y, x in self.wrong)
        also = f", {givens} given {'cell' if givens == 1 else 'cells'} changed" if givens else ""
        return f"{len(self.wrong) - givens}{of} wrong{also}"

    @property
    def blanks(self) -> int:
        """Number of blank cells."""
        return sum(symbol == 0 for row in self.puzzle for symbol in row)


@dataclass(frozen=True)
class Energies:
    """Counts of right and of wrong draws between edges."""

    title: str
    edges: tuple[float, ...]
    right: tuple[float, ...]
    wrong: tuple[float, ...]


@styled
def board_picture(board: Board, *, name: str) -> Markup:
    """Return an inline SVG: givens bold, the answer in the blank cells, wrong cells shaded with the solution small."""
    side = len(board.solution)
    height, width = BOXES[side]
    figure, ((axes,),) = axes_grid(1, 1, 0.28 * side, 0.28 * side, margins=(0.02, 0.98, 0.02, 0.98))
    wrong = set(board.wrong)
    for y in range(side):
        for x in range(side):
            given, answer = board.puzzle[y][x] > 0, board.answer[y][x]
            if (y, x) in wrong:
                axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour(WRONG), alpha=0.35, linewidth=0))
                axes.text(x + 0.93, y + 0.9, str(board.solution[y][x]), ha="right", va="bottom", fontsize=5)
            weight = "bold" if given else "normal"
            axes.text(x + 0.5, y + 0.5, str(answer or "?"), ha="center", va="center", fontweight=weight)
    for line in range(side + 1):
        axes.axvline(line, color=INK if line % width == 0 else FAINT, linewidth=1.2 if line % width == 0 else 0.5)
        axes.axhline(line, color=INK if line % height == 0 else FAINT, linewidth=1.2 if line % height == 0 else 0.5)
    axes.set(xlim=(0, side), ylim=(side, 0))
    axes.set_axis_off()
    alt = f"Sudoku board: {board.blanks} blank cells, {board.wrong_words()}. Answer by rows: "
    return svg_of(figure, alt=alt + "; ".join("".join(map(str, row)) for row in board.answer), name=name)


def forming_board(
    board: Board,
    steps: Sequence[int],
    answers: Sequence[Sequence[Sequence[int]]],
    shades: Sequence[Sequence[Sequence[int]]],
    *,
    name: str,
) -> Markup:
    """Return an inline SVG: the answer after each of some steps of a network.

    Blank cells are blue where they are correct and orange where they are wrong, the paler the less probable the network
    finds its answer.

    Args:
        board: its answer is not used.
        steps: of the network, from 1.
        answers: after each of them.
        shades: probability of the answer in each cell, percent.
        name: unique on the page.
    """
    after = [Board(board.puzzle, board.solution, answer) for answer in answers]
    tiles = [_tile(each, np.asarray(shade, dtype=float)) for each, shade in zip(after, shades, strict=True)]
    told = [f"step {step}: {each.wrong_words()}" for step, each in zip(steps, after, strict=True)]
    alt = f"Answers to a board of {board.blanks} blank cells over the steps of the network. {'; '.join(told)}."
    return tiles_picture([("", tiles)], [f"step {step}" for step in steps], inches=0.95, alt=alt, name=name)


def _tile(board: Board, percent: np.ndarray) -> Tile:
    given, answer = np.asarray(board.puzzle) > 0, np.asarray(board.answer)
    cells = np.full((*given.shape, 3), WHITE, np.uint8)
    right = (answer == np.asarray(board.solution))[..., None]
    cells = mixed(cells, np.where(right, CORRECT_CELL, WRONG_CELL), 0.75 * percent / 100)
    kept = given & right[..., 0]
    cells[kept] = GIVEN  # without symbols, which are most of a picture's size
    texts = tuple((y, x, str(symbol or "?"), "#111111") for (y, x), symbol in np.ndenumerate(answer) if not kept[y, x])
    return Tile(cells, texts)


@styled
def energies_picture(panels: Sequence[Energies], *, x_label: str, name: str) -> Markup:
    """Return an inline SVG: one histogram of right and wrong draws a panel, each kind as a share of its own draws."""
    figure, grid = axes_grid(1, len(panels), 2.9 * len(panels), 2.3)
    told = []
    for axes, panel in zip(grid.flat, panels, strict=True):
        plain_axes(axes)
        for series, word, count in ((RIGHT, "right", panel.right), (WRONG, "wrong", panel.wrong)):
            _steps(axes, series, panel.edges, count)
            told.append(f"{panel.title}, {word}: {_middle(panel.edges, count)}")
        axes.set_title(panel.title)
        axes.set_xlabel(x_label)
        axes.set_ylabel("draws (%)")
    return svg_of(figure, alt=f"Distributions of right and wrong draws. {'; '.join(told)}.", name=name)


def _steps(axes: Axes, series: int, edges: Sequence[float], count: Sequence[float]) -> None:
    share = 100 * np.asarray(count) / max(sum(count), 1)
    axes.stairs(share, np.asarray(edges), color=colour(series), fill=True, alpha=0.3)
    axes.stairs(share, np.asarray(edges), color=colour(series), linestyle="solid" if series == RIGHT else "dashed")


def _middle(edges: Sequence[float], count: Sequence[float]) -> str:
    if not sum(count):
        return "no draws"
    mean = np.average((np.asarray(edges)[1:] + np.asarray(edges)[:-1]) / 2, weights=count)
    return f"{sum(count):.0f} draws, mean {mean:.4g}"
