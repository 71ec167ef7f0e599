"""Sudoku: solved boards against oscillator steps and draws, energies of right and wrong draws, and a few boards.

What other kinds of boards share with it is here too: :func:`board_results`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from sslkuramoto.errors import UserError
from sslkuramoto.report.evidence import Curve, Evidence
from sslkuramoto.report.markup import NOTHING, element, figure, fine, folded, joined
from sslkuramoto.report.pictures.boards import Board, Energies, board_picture, energies_picture, forming_board
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
Forming = Mapping[str, Any]  # of one board: answers and shades after each step


@dataclass(frozen=True)
class Kind:
    """How the results on one kind of boards are shown.

    Attributes:
        part: of the details of a result.
        called: what the boards are called.
        titles: of curves, by score; that of the first score of a result is under ``""``.
        board: shows one of the first boards, under a name that is unique on the page.
        below: what their colours mean.
        forming: shows the answers to one of them over the steps.
        below_forming: what a reader of these must know.
    """

    part: str
    called: str
    titles: Mapping[str, str]
    board: Callable[[Mapping[str, Any], str], Markup]
    below: str
    forming: Callable[[Mapping[str, Any], Sequence[int], Forming, str], Markup]
    below_forming: str


def board_results(items: Sequence[Evidence], kind: Kind) -> Markup:
    """Curves, energies and boards of each result on boards of a kind; empty without any."""
    parts = [_one(item, kind, f"{kind.called}-{k}") for k, item in enumerate(items) if kind.part in item.result.details]
    return NOTHING.join(parts)


def _one(item: Evidence, kind: Kind, name: str) -> Markup:
    result = item.result
    try:
        details: Mapping[str, Any] = result.details[kind.part]
        data = result.data
        about = (
            f"{data.get('n')} {kind.called} of {data.get('name')} {data.get('split')}, hash {data.get('fingerprint')}."
        )
        content = element("h3", f"{item.label}: {result.path.stem}") + fine(about)
        by_score = {str(details.get("of", "")): details, **details.get("others", {})}
        curves = [
            curve
            for score, each in by_score.items()
            for curve in (*_over_steps(each, kind.titles[score]), *_over_draws(each, kind.titles[score]))
        ]
        drawn = joined(figure(curve_picture(each, name=f"{name}-{k}")) for k, each in enumerate(curves))
        content += element("div", drawn, class_="panels") if curves else NOTHING
        for place, (score, each) in enumerate(by_score.items()):
            energies = _energies(each, f"{name}-of-{place}" if place else name)
            content += (
                folded(f"{kind.titles[score]}: energies of right and wrong draws", energies) if place else energies
            )
        content += _forming(details, kind, name)
        shown = joined(kind.board(each, f"{name}-board-{k}") for k, each in enumerate(details["boards"]))
        return content + folded(
            f"The first {kind.called}", fine(kind.below) + element("div", shown, class_="panels small")
        )
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        raise UserError(f"{result.path}: details.{kind.part}: not as the protocol leaves it") from None


def _over_steps(details: Mapping[str, Any], title: str) -> list[Curve]:
    """Return a share of boards against T, as in figure 6 (c) of Miyato et al. 2025."""
    steps = {int(key): each for key, each in details["steps"].items()}
    if not steps:
        return []
    kept = sorted(steps)
    series = {name: tuple(float(steps[t][name]["value"]) for t in kept) for name in steps[kept[0]]}
    return [Curve(f"{title} against oscillator steps", "T at test time", "fraction", tuple(map(float, kept)), series)]


def _over_draws(details: Mapping[str, Any], title: str) -> list[Curve]:
    """Return a share of boards against the draws of a vote, as in figure 7; a vote of one draw is the draw."""
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
    return [Curve(f"{title} against draws", "K, draws of a vote", "fraction", tuple(map(float, draws)), series)]


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


def _forming(details: Mapping[str, Any], kind: Kind, name: str) -> Markup:
    """Return the answers to the first boards over the steps, as in figures 5 and 12 of WONN; empty without them."""
    if (forming := details.get("forming")) is None:
        return NOTHING
    steps = [int(step) for step in forming["steps"]]
    drawn = joined(
        figure(kind.forming(board, steps, each, f"{name}-forming-{k}"))
        for k, (board, each) in enumerate(zip(details["boards"], forming["boards"], strict=False))
    )
    below = f"The answer of the first draw if the network stops after so many steps. {kind.below_forming}"
    return folded("The answer over the steps", fine(below) + drawn)


def voter_of(answers: Mapping[str, Any]) -> str:
    """Return whose answer to a board is shown: that of the first vote, or of one draw where there is no vote."""
    return next((each for each in answers if each != ONE_DRAW), ONE_DRAW)


def _read(found: Mapping[str, Any], answer: Sequence[Sequence[int]]) -> Board:
    board = Board(found["puzzle"], found["solution"], answer)
    if len(board.solution) not in BOXES:
        raise ValueError(len(board.solution))
    return board


def _board(found: Mapping[str, Any], name: str) -> Markup:
    who = voter_of(found["answers"])
    board = _read(found, found["answers"][who])
    return figure(board_picture(board, name=name), f"{who}: {board.wrong_words(f' of {board.blanks}')}")


def _forming_board(found: Mapping[str, Any], steps: Sequence[int], forming: Forming, name: str) -> Markup:
    board = _read(found, found["solution"])
    return forming_board(board, steps, forming["answers"], forming["shades"], name=name)


SUDOKU = Kind(
    part="sudoku",
    called="boards",
    titles={"": "Boards solved"},
    board=_board,
    below="Givens are bold. Wrong cells are shaded; the small figure is the solution. ?: no answer.",
    forming=_forming_board,
    below_forming="Given cells are grey, correct ones blue, wrong ones orange; pale: of low probability. ?: no answer.",
)


def boards(items: Sequence[Evidence]) -> Markup:
    """Curves, energies and boards of each result of the protocol ``sudoku``; empty without any."""
    return board_results(items, SUDOKU)


def section() -> Section:
    """Sudoku: solved boards against steps and draws, energies of right and wrong draws, a few boards."""
    return Section(
        runs=Half(55, "Sudoku", lambda shown: boards(shown.evidence)),
        study=Half(55, "Sudoku", lambda shown: boards(shown.evidence)),
    )
