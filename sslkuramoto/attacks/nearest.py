"""Keeps the nearest mistake that a minimal-norm attack has found for each image.

A candidate is a mistake when at most half of the attack's draws classify it correctly, as in a battery.

Shapes: b batch, r rows of the batch, y x pixels.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sslkuramoto.threat import Threat


def between(first: float, last: float, step: int, steps: int) -> float:
    """Return the value of step ``step``, which runs from ``first`` to ``last`` along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2


class Nearest:
    """The nearest mistake of each image so far; the image itself until one is found inside the ball.

    Args:
        images: centres of the balls.
        threat: the norm in which distances are measured, and the largest distance.
    """

    def __init__(self, images: Float[Tensor, "b 3 y x"], threat: Threat) -> None:
        self._images, self._threat = images, threat
        self.candidates = images.clone()
        self.distances = torch.full((len(images),), torch.inf, device=images.device)
        self.reached = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def offer(
        self,
        candidates: Float[Tensor, "b 3 y x"],
        fooled: Bool[Tensor, " b"],
        at_target: Float[Tensor, " b"] | None = None,
    ) -> None:
        """Take the candidates that are mistakes, lie inside the ball and are nearer than the stored ones.

        Args:
            candidates: one per image.
            fooled: whether each is a mistake.
            at_target: share of draws that predict the class it was aimed at; ``reached`` holds where most do.
        """
        distances = self._threat.distances(candidates, self._images)
        taken = fooled & (distances < self.distances) & (distances <= self._threat.eps)
        self.candidates[taken] = candidates[taken]
        self.distances[taken] = distances[taken]
        if at_target is not None:
            self.reached[taken] = at_target[taken] > 0.5
