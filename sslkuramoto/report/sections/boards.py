"""Sudoku: solved boards against oscillator steps and draws, energies of right and wrong draws, and a few boards."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from sslkuramoto.errors import UserError
from sslkuramoto.report.evidence import Curve, Evidence
from sslkuramoto.report.markup import NOTHING, element, figure, fine, folded
from sslkuramoto.report.pictures.boards import Board, Energies, board_picture, energies_picture
from sslkuramoto.report.pictures.drawing import legend
from sslkuramoto.report.pictures.evidence import curve_picture
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.sudoku_rules import BOXES

ONE_DRAW = "one draw"
NAMES = {"energy_sum": "energy, summed", "energy_last": "energy, last", "confidence": "minus confidence"}
ABOUT_ENERGIES = (
    "Each board's mean over its draws is subtracted. "
    "A vote for the lowest value helps where right draws lie to the left."
)


def boards(items: Sequence[Evidence]) -> Markup:
    """Curves, energies and boards of each result of the protocol; empty without any."""
    parts = [_one(item, f"boards-{k}") for k, item in enumerate(items) if "sudoku" in item.result.details]
    return NOTHING.join(parts)


def _one(item: Evidence, name: str) -> Markup:
    result = item.result
    try:
        details: Mapping[str, Any] = result.details["sudoku"]
        data = result.data
        about = f"{data.get('n')} boards of {data.get('name')} {data.get('split')}, hash {data.get('fingerprint')}."
        content = element("h3", f"{item.label}: {result.path.stem}") + fine(about)
        curves = [*_over_steps(details), *_over_draws(details)]
        drawn = NOTHING.join(figure(curve_picture(each, name=f"{name}-{k}")) for k, each in enumerate(curves))
        content += element("div", drawn, class_="panels") if curves else NOTHING
        content += _energies(details, name)
        shown = NOTHING.join(_board(each, f"{name}-board-{k}") for k, each in enumerate(details["boards"]))
        below = "Givens are bold. Wrong cells are shaded; the small figure is the solution. ?: no answer."
        return content + folded("The first boards", fine(below) + element("div", shown, class_="panels small"))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise UserError(f"{result.path}: details.sudoku: not as the protocol leaves it") from None


def _over_steps(details: Mapping[str, Any]) -> list[Curve]:
    """Return the share of solved boards against T, as in figure 6 (c) of Miyato et al. 2025."""
    steps = {int(key): each for key, each in details["steps"].items()}
    if not steps:
        return []
    kept = sorted(steps)
    series = {name: tuple(float(steps[t][name]["value"]) for t in kept) for name in steps[kept[0]]}
    return [
        Curve("Boards solved against oscillator steps", "T at test time", "fraction", tuple(map(float, kept)), series)
    ]


def _over_draws(details: Mapping[str, Any]) -> list[Curve]:
    """Return the share of solved boards against the draws of a vote, as in figure 7; a vote of one draw is the draw."""
    by_vote: Mapping[str, Any] = details["draws"]
    one = float(by_vote[ONE_DRAW]["1"]["value"])
    votes = {
        name: {1: one} | {int(k): float(each["value"]) for k, each in points.items()}
        for name, points in by_vote.items()
        if name != ONE_DRAW
    }
    if not votes or max(max(points) for points in votes.values()) == 1:
        return []
    draws = sorted(next(iter(votes.values())))
    series = {name: tuple(points[k] for k in draws) for name, points in votes.items()}
    return [Curve("Boards solved against draws", "K, draws of a vote", "fraction", tuple(map(float, draws)), series)]


def _energies(details: Mapping[str, Any], name: str) -> Markup:
    scores: Mapping[str, Any] = details["scores"]
    if not scores:
        return NOTHING
    key = {0: "right", 1: "wrong"}
    whole = [
        Energies(NAMES.get(kind, kind), tuple(each["edges"]), tuple(each["right"]), tuple(each["wrong"]))
        for kind, each in scores.items()
    ]
    picture = energies_picture(whole, x_label="difference from the board's mean", name=f"{name}-scores")
    text = legend(key) + figure(picture, ABOUT_ENERGIES)
    kind = "energy_sum" if "energy_sum" in scores else next(iter(scores))
    single = [_single(each) for each in scores[kind]["boards"]]
    drawn = NOTHING.join(
        figure(energies_picture([each], x_label=NAMES.get(kind, kind), name=f"{name}-single-{k}"))
        for k, each in enumerate(single)
    )
    return text + folded("Single boards", element("div", drawn, class_="panels small"))


def _single(board: Mapping[str, Any]) -> Energies:
    """Return the distribution over the draws of one board, as in figure 28 of Miyato et al. 2025."""
    values, right = np.asarray(board["values"], dtype=float), np.asarray(board["right"], dtype=bool)
    edges = np.histogram_bin_edges(values, 12)
    kinds = (tuple(np.histogram(values[chosen], edges)[0].tolist()) for chosen in (right, ~right))
    return Energies(f"board {int(board['index'])}", tuple(edges.tolist()), *kinds)


def _board(found: Mapping[str, Any], name: str) -> Markup:
    """Return a board with the answer of the first vote, or of one draw where there is no vote."""
    answers: Mapping[str, Any] = found["answers"]
    who = next((each for each in answers if each != ONE_DRAW), ONE_DRAW)
    board = Board(found["puzzle"], found["solution"], answers[who])
    if len(board.solution) not in BOXES:
        raise ValueError(len(board.solution))
    return figure(board_picture(board, name=name), f"{who}: {len(board.wrong)} of {board.blanks} wrong")


def section() -> Section:
    """Sudoku: solved boards against steps and draws, energies of right and wrong draws, a few boards."""
    return Section(
        runs=Half(55, "Sudoku", lambda shown: boards(shown.evidence)),
        study=Half(55, "Sudoku", lambda shown: boards(shown.evidence)),
    )
