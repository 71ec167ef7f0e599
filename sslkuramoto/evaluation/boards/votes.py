"""Votes: one answer to a board from several draws of the initial oscillators.

By energy: Miyato et al. 2025 (AKOrN, arXiv 2410.13821), section 6.2 and table 19. By confidence: C-voting
(arXiv 2604.13521). Draws are merged two by two, so that a vote of K draws needs the memory of log2(K).
Shapes: b boards, y x cells, k symbols.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

VoteName = Literal["energy_last", "energy_sum", "confidence", "majority", "mean"]
State = TypeVar("State")


class Draw(NamedTuple):
    """What a network says about a batch of boards under one draw of its initial oscillators.

    Attributes:
        answers: symbol of each cell, from 1; 0 where it gives none, as a logit is not finite.
        probabilities: of each symbol in each cell; 0 where it gives no answer.
        energies: energy of each board by name, ``"energy_last"`` and ``"energy_sum"``; empty without energy.
    """

    answers: Int64[Tensor, "b y x"]
    probabilities: Float[Tensor, "b k y x"]
    energies: dict[str, Float[Tensor, " b"]]

    @property
    def scores(self) -> dict[str, Float[Tensor, " b"]]:
        """By name what a vote for the best draw minimises: energies, and minus the confidence.

        The confidence is the mean over cells of the largest probability. What is not finite counts as infinite.
        """
        confidence = self.probabilities.amax(dim=1).flatten(1).mean(dim=1)
        found = {**self.energies, "confidence": -confidence}
        return {name: value.where(value.isfinite(), torch.inf) for name, value in found.items()}


class Vote(ABC, Generic[State]):
    """A rule for one answer of several draws: draws become states, states are merged, a state gives the answer."""

    @abstractmethod
    def start(self, draw: Draw) -> State:
        """Return the state of one draw."""

    @abstractmethod
    def merged(self, first: State, second: State) -> State:
        """Return the state of two groups of draws together; ``first`` was drawn before ``second``."""

    @abstractmethod
    def answers(self, state: State) -> Int64[Tensor, "b y x"]:
        """Return the answer of a group of draws; 0 in a cell without one."""


class Lowest(Vote[tuple[Tensor, Tensor]]):
    """The answer of the draw with the lowest score, the first of equals.

    Args:
        score: name of one of :attr:`Draw.scores`.
    """

    def __init__(self, score: str) -> None:
        self.score = score

    def start(self, draw: Draw) -> tuple[Float[Tensor, " b"], Int64[Tensor, "b y x"]]:
        return draw.scores[self.score], draw.answers

    def merged(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        later = second[0] < first[0]
        return torch.where(later, second[0], first[0]), torch.where(later[:, None, None], second[1], first[1])

    def answers(self, state: tuple[Tensor, Tensor]) -> Int64[Tensor, "b y x"]:
        return state[1]


class Total(Vote[Tensor]):
    """In each cell the symbol with the largest sum over draws; where two sums are equal there is no answer.

    Args:
        of: what is summed: a number for each symbol and cell.
    """

    def __init__(self, of: Callable[[Draw], Float[Tensor, "b k y x"]]) -> None:
        self.of = of

    def start(self, draw: Draw) -> Float[Tensor, "b k y x"]:
        return self.of(draw)

    def merged(self, first: Tensor, second: Tensor) -> Float[Tensor, "b k y x"]:
        return first + second

    def answers(self, state: Tensor) -> Int64[Tensor, "b y x"]:
        best, second = state.topk(2, dim=1).values.unbind(dim=1)
        return (state.argmax(dim=1) + 1).masked_fill(best == second, 0)


def _ballots(draw: Draw) -> Float[Tensor, "b k y x"]:
    """Return one vote per cell for the answer, none where there is none."""
    symbols = draw.probabilities.shape[1]
    return F.one_hot(draw.answers, symbols + 1)[..., 1:].permute(0, 3, 1, 2).to(draw.probabilities.dtype)


VOTES: dict[str, Vote] = {
    "energy_last": Lowest("energy_last"),
    "energy_sum": Lowest("energy_sum"),
    "confidence": Lowest("confidence"),
    "majority": Total(_ballots),
    "mean": Total(lambda draw: draw.probabilities),
}
"""By name. ``majority`` counts the answers of the draws in each cell, ``mean`` averages their probabilities."""
BY_ENERGY = frozenset({"energy_last", "energy_sum"})


class Groups:
    """Votes of groups of draws that follow each other, and of the halves, quarters, ... that they are merged from.

    Args:
        names: of the votes.
        size: K, draws of a group.
        seen: called for each vote of 2, 4, 8, ... and of all K draws of a group: name, number of draws, answer.
    """

    def __init__(
        self, names: tuple[VoteName, ...], size: int, seen: Callable[[str, int, Int64[Tensor, "b y x"]], None]
    ) -> None:
        self.size, self.seen = size, seen
        self._parts: dict[str, list[tuple[int, object]]] = {name: [] for name in names}
        self._drawn = 0

    def add(self, draw: Draw) -> None:
        """Count one draw."""
        self._drawn += 1
        full = self._drawn % self.size == 0
        for name, parts in self._parts.items():
            vote = VOTES[name]
            parts.append((1, vote.start(draw)))
            while len(parts) > 1 and (full or parts[-2][0] == parts[-1][0]):
                (early, first), (late, second) = parts[-2:]
                parts[-2:] = [(early + late, vote.merged(first, second))]
                if early == late and early + late < self.size:
                    self.seen(name, early + late, vote.answers(parts[-1][1]))
            if full:
                ((_, state),) = parts
                self.seen(name, self.size, vote.answers(state))
                parts.clear()
