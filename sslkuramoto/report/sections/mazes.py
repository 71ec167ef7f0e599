"""Mazes: exact, valid and optimal answers against oscillator steps and draws, energies, and paths that form."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.markup import figure
from sslkuramoto.report.pictures.mazes import KEY, MazeAnswer, forming_maze, maze_picture
from sslkuramoto.report.sections.boards import Forming, Kind, board_results, voter_of
from sslkuramoto.report.sections.section import Half, Section


def _maze(found: Mapping[str, Any], name: str) -> Markup:
    who = voter_of(found["answers"])
    maze = MazeAnswer(found["puzzle"], found["solution"], found["answers"][who])
    return figure(maze_picture(maze, who=who, name=name), f"{who}: {maze.verdict}")


def _forming_maze(found: Mapping[str, Any], steps: Sequence[int], forming: Forming, name: str) -> Markup:
    maze = MazeAnswer(found["puzzle"], found["solution"], found["solution"])
    return forming_maze(maze, steps, forming["answers"], forming["shades"], name=name)


MAZES = Kind(
    part="maze",
    called="mazes",
    titles={"exact": "Exact answers", "valid": "Valid paths", "optimal": "Shortest paths"},
    board=_maze,
    below=KEY,
    forming=_forming_maze,
    below_forming=f"Below it, the bluer a cell, the more probable is the path there. {KEY}",
)


def mazes(items: Sequence[Evidence]) -> Markup:
    """Curves, energies and mazes of each result of the protocol ``maze``; empty without any."""
    return board_results(items, MAZES)


def section() -> Section:
    """Mazes: answers against steps and draws, energies of right and wrong draws, paths over the steps, a few mazes."""
    return Section(
        runs=Half(56, "Mazes", lambda shown: mazes(shown.evidence)),
        study=Half(56, "Mazes", lambda shown: mazes(shown.evidence)),
    )
