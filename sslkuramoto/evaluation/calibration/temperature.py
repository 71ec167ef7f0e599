"""Temperature scaling: all logits are divided by one number, fitted on held-out images.

Guo, Pleiss, Sun, Weinberger 2017, arXiv 1706.04599, section 4.2. It changes the confidences but no prediction.

Shapes: n images (or images and draws), q classes.
"""

import math
from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.calibration.scores import negative_log_likelihood

LOWEST, HIGHEST = 0.01, 100.0


class Temperature(NamedTuple):
    """A fitted temperature.

    Attributes:
        value: T; the scaled logits are logits / T. Above 1: the network was overconfident.
        nll_before: mean negative log-likelihood of the images of the fit, nats.
        nll_after: the same with T.
        at_bound: whether the search ended at its bounds: no finite T is optimal (all correct, or worse than chance).
    """

    value: float
    nll_before: float
    nll_after: float
    at_bound: bool


def fit_temperature(logits: Float[Tensor, "n q"], labels: Int64[Tensor, " n"], *, steps: int = 60) -> Temperature:
    """Return the T in [0.01, 100] whose scaled logits have the smallest mean negative log-likelihood.

    That mean is convex in 1/T: its slope mean(E_p[z] - z_label) increases with 1/T. Its zero is found by bisection in
    log T, which gives the same result on every machine.

    Args:
        logits: of images that the network was not trained on; several draws of an image count as several images.
        labels: their classes.
        steps: bisection steps.

    Raises:
        UserError: no images, or logits that are not finite.
    """
    if len(logits) == 0:
        raise UserError("temperature: no images to fit it on")
    before = float(negative_log_likelihood(logits, labels).mean())
    wide = logits.double()
    wide = wide - wide.max(dim=1, keepdim=True).values
    own = wide.gather(1, labels[:, None]).squeeze(1)

    def slope(temperature: float) -> float:
        expected = ((wide / temperature).softmax(dim=1) * wide).sum(dim=1)
        return float((expected - own).mean())

    lowest, highest = slope(LOWEST), slope(HIGHEST)
    if lowest == highest == 0:  # equal logits for every image: T has no effect
        value, bound = 1.0, False
    elif lowest <= 0:  # the likelihood still increases as T decreases
        value, bound = LOWEST, True
    elif highest >= 0:
        value, bound = HIGHEST, True
    else:
        low, high = math.log(LOWEST), math.log(HIGHEST)
        for _ in range(steps):
            middle = (low + high) / 2
            low, high = (low, middle) if slope(math.exp(middle)) <= 0 else (middle, high)
        value, bound = math.exp((low + high) / 2), False
    return Temperature(value, before, float(negative_log_likelihood(wide / value, labels).mean()), bound)
