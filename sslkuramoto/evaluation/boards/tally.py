"""What is kept of the draws: scores of each draw and of each vote, board by board.

Shapes: k draws or groups of draws, n boards, b batch, y x cells.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.evaluation.boards.scores import Judge, Scores, mean_metric, stacked
from sslkuramoto.evaluation.boards.votes import Draw, Groups, VoteName
from sslkuramoto.examples import Batch
from sslkuramoto.results import Metric

ONE_DRAW = "one draw"
SHOWN = 6
"""Boards that a report draws: the first of the set."""
Point = dict[str, float | None]


class Tally:
    """The draws of one batch of boards.

    Args:
        batch: boards with their solutions.
        judge: scores answers to them.
        votes: which votes are held.
        size: K, draws of one vote.
        curves: scores that are kept of votes of fewer than K draws too.
        facts: what is known of each board, by name.
    """

    def __init__(
        self,
        batch: Batch,
        judge: Judge,
        votes: tuple[VoteName, ...],
        size: int,
        curves: Sequence[str],
        facts: Mapping[str, list],
    ) -> None:
        self.batch, self.judge, self.size, self.curves, self.facts = batch, judge, size, curves, facts
        self.one: list[Scores] = []
        self.voted: dict[str, list[Scores]] = {name: [] for name in votes}
        self.smaller: dict[tuple[str, int], list[Scores]] = {}
        self.scores: dict[str, list[Tensor]] = {}
        self.first: dict[str, Tensor] = {}
        self._groups = Groups(votes, size, self._seen)

    def add(self, draw: Draw) -> None:
        """Count one draw."""
        self.first.setdefault(ONE_DRAW, draw.answers[:SHOWN].cpu())
        self.one.append(self.judge(draw.answers))
        for name, values in draw.scores.items():
            self.scores.setdefault(name, []).append(values.cpu())
        self._groups.add(draw)

    def _seen(self, vote: str, draws: int, answers: Int64[Tensor, "b y x"]) -> None:
        right = self.judge(answers)
        if draws == self.size:
            self.first.setdefault(vote, answers[:SHOWN].cpu())
            self.voted[vote].append(right)
        else:
            self.smaller.setdefault((vote, draws), []).append({name: right[name] for name in self.curves})


class Measured:
    """The draws of all boards.

    Attributes:
        one: each kind of score of each draw.
        votes: by vote, each kind of score of each group of draws.
        scores: energies and minus the confidence of each draw.
        facts: what is known of each board, by name.
        shown: the first boards with their answers, as plain lists.
    """

    def __init__(self, batches: Sequence[Tally]) -> None:
        first = batches[0]
        self.one = stacked([each.one for each in batches])
        self.votes = {name: stacked([each.voted[name] for each in batches]) for name in first.voted}
        self.scores: dict[str, Float[Tensor, "k n"]] = {
            name: torch.cat([torch.stack(each.scores[name]) for each in batches], dim=1) for name in first.scores
        }
        self.facts = {name: [fact for each in batches for fact in each.facts[name]] for name in first.facts}
        self.shown = _shown(first)
        self._size = first.size
        self._smaller = {key: stacked([each.smaller[key] for each in batches]) for key in first.smaller}

    def over_draws(self, score: str, total: int) -> dict[str, dict[int, Point]]:
        """Return one score of a draw, and by vote and number of draws; each is a mean over groups of draws."""
        found: dict[str, dict[int, Point]] = {ONE_DRAW: {1: point(mean_metric(self.one[score], total))}}
        found |= {name: {} for name in self.votes}
        for (name, draws), values in sorted(self._smaller.items()):
            found[name][draws] = point(mean_metric(values[score], total))
        for name, values in self.votes.items():
            found[name][self._size] = point(mean_metric(values[score], total))
        return found

    def by_vote(self, score: str, total: int) -> dict[str, Point]:
        """Return one score of a draw and of each vote."""
        found = {ONE_DRAW: self.one} | self.votes
        return {name: point(mean_metric(values[score], total)) for name, values in found.items()}


def point(metric: Metric) -> Point:
    """Return a number with its interval as a curve holds it."""
    return {"value": metric.value, "low": metric.low, "high": metric.high}


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
