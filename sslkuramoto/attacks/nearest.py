"""Keeps the nearest mistake that a minimal-norm attack has found for each image.

A candidate is a mistake when the attack's draws err beyond chance (one-sided sign test, 5 %): 7 of 8, 15 of 20, 22 of
32, all of fewer than five. Where half of the draws err, an equal number of other draws would often be right: with fresh
draws the path would follow luck, and with held draws it would end at a mistake of these draws only.

Shapes: b batch, r rows of the batch, y x pixels.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sslkuramoto.attacks.gradients import Evaluated
from sslkuramoto.threat import Threat

ONE_IN = 20  # 5 %


def between(first: float, last: float, step: int, steps: int) -> float:
    """Return the value of step ``step``, which runs from ``first`` to ``last`` along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2


def needed(draws: int) -> int:
    """Return how many of several draws must err: a number of heads that fair coins reach with a probability of 5 %."""
    tail = 0
    for count in range(draws, 0, -1):
        tail += math.comb(draws, count)
        if tail * ONE_IN > 2**draws:
            return min(count + 1, draws)
    return draws


class Nearest:
    """The nearest mistake of each image so far; the image itself until one is found inside the ball.

    Args:
        images: centres of the balls.
        threat: the norm in which distances are measured, and the largest distance.
        draws: behind each value of the objective.

    Attributes:
        candidates: the mistakes.
        distances: how far they are; infinity where none was found.
        reached: where most draws predict the class that the candidate was aimed at.
    """

    def __init__(self, images: Float[Tensor, "b 3 y x"], threat: Threat, draws: int) -> None:
        self._images, self._threat = images, threat
        self._share = 1 - (needed(draws) - 0.5) / draws
        self.candidates = images.clone()
        self.distances = torch.full((len(images),), torch.inf, device=images.device)
        self.reached = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def offer(self, candidates: Float[Tensor, "b 3 y x"], found: Evaluated) -> Bool[Tensor, " b"]:
        """Take the mistakes that lie inside the ball and are nearer than the stored ones; return what is a mistake."""
        fooled = found.right < self._share
        distances = self._threat.distances(candidates, self._images)
        taken = fooled & (distances < self.distances) & (distances <= self._threat.eps)
        self.candidates[taken] = candidates[taken]
        self.distances[taken] = distances[taken]
        if found.at_target is not None:
            self.reached[taken] = found.at_target[taken] > 0.5
        return fooled
