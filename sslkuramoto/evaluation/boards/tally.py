"""What is kept of the draws: scores of each draw and of each vote, board by board.

Shapes: k draws or groups of draws, n boards, b batch, y x cells.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.evaluation.boards.scores import Right, judged, mean_metric, stacked
from sslkuramoto.evaluation.boards.votes import Draw, Groups, VoteName
from sslkuramoto.examples import Batch
from sslkuramoto.results import Metric
from sslkuramoto.sudoku_rules import Side

ONE_DRAW = "one draw"
SOLVED = "board_accuracy_blanks"
SHOWN = 6
"""Boards that a report draws: the first of the set."""


class Tally:
    """The draws of one batch of boards.

    Args:
        batch: puzzles with their solutions.
        side: of the boards.
        votes: which votes are held.
        size: K, draws of one vote.
    """

    def __init__(self, batch: Batch, side: Side, votes: tuple[VoteName, ...], size: int) -> None:
        self.batch, self.size = batch, size
        self.side: Side = side
        self.one: list[Right] = []
        self.voted: dict[str, list[Right]] = {name: [] for name in votes}
        self.smaller: dict[tuple[str, int], list[Tensor]] = {}
        self.scores: dict[str, list[Tensor]] = {}
        self.first: dict[str, Tensor] = {}
        self._groups = Groups(votes, size, self._seen)

    def add(self, draw: Draw) -> None:
        """Count one draw."""
        self.first.setdefault(ONE_DRAW, draw.answers[:SHOWN].cpu())
        self.one.append(self._judged(draw.answers))
        for name, values in draw.scores.items():
            self.scores.setdefault(name, []).append(values.cpu())
        self._groups.add(draw)

    def _seen(self, vote: str, draws: int, answers: Int64[Tensor, "b y x"]) -> None:
        right = self._judged(answers)
        if draws == self.size:
            self.first.setdefault(vote, answers[:SHOWN].cpu())
            self.voted[vote].append(right)
        else:
            self.smaller.setdefault((vote, draws), []).append(right.board_accuracy_blanks)

    def _judged(self, answers: Int64[Tensor, "b y x"]) -> Right:
        assert self.batch.targets is not None
        return judged(answers, self.batch.inputs, self.batch.targets, self.side)


class Measured:
    """The draws of all boards.

    Attributes:
        one: each kind of score of each draw.
        votes: by vote, each kind of score of each group of draws.
        scores: energies and minus the confidence of each draw.
        givens: number of given cells of each board.
        shown: the first boards with their answers, as plain lists.
    """

    def __init__(self, batches: Sequence[Tally]) -> None:
        first = batches[0]
        self.one = stacked([each.one for each in batches])
        self.votes = {name: stacked([each.voted[name] for each in batches]) for name in first.voted}
        self.scores: dict[str, Float[Tensor, "k n"]] = {
            name: torch.cat([torch.stack(each.scores[name]) for each in batches], dim=1) for name in first.scores
        }
        self.givens = [count for each in batches for count in _givens(each.batch)]
        self.shown = _shown(first)
        self._size = first.size
        self._smaller = {
            key: torch.cat([torch.stack(each.smaller[key]) for each in batches], dim=1).double()
            for key in first.smaller
        }

    def over_draws(self, total: int) -> dict[str, dict[int, dict[str, float | None]]]:
        """Return by vote and number of draws the share of solved boards; each is a mean over groups of draws."""
        found: dict[str, dict[int, dict[str, float | None]]] = {name: {} for name in self.votes}
        for (name, draws), solved in sorted(self._smaller.items()):
            found[name][draws] = point(mean_metric(solved, total))
        for name, values in self.votes.items():
            found[name][self._size] = point(mean_metric(values[SOLVED], total))
        return found

    def by_vote(self, total: int) -> dict[str, dict[str, float | None]]:
        """Return the share of solved boards of one draw and of each vote."""
        found = {ONE_DRAW: self.one} | self.votes
        return {name: point(mean_metric(values[SOLVED], total)) for name, values in found.items()}


def point(metric: Metric) -> dict[str, float | None]:
    """Return a number with its interval as a curve holds it."""
    return {"value": metric.value, "low": metric.low, "high": metric.high}


def _givens(batch: Batch) -> list[int]:
    return (batch.inputs > 0).flatten(1).sum(dim=1).tolist()


def _shown(tally: Tally) -> list[dict[str, Any]]:
    puzzles, solutions = tally.batch.inputs, tally.batch.targets
    assert solutions is not None
    return [
        {
            "puzzle": puzzles[place].tolist(),
            "solution": solutions[place].tolist(),
            "answers": {name: answers[place].tolist() for name, answers in tally.first.items()},
        }
        for place in range(min(SHOWN, len(puzzles)))
    ]
