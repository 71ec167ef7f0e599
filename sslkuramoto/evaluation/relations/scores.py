"""How right answers on relations are, and how pairs of the same icon differ from other pairs in coherence and energy.

Veliz, Altabaa and Lafferty, "Binding by oscillatory dynamics in neural architectures for relational reasoning" (poster,
Yale University). Shapes: k draws, n examples, p images per example, d oscillators of an object, t steps.
"""

from collections.abc import Mapping
from math import cos, floor, radians
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.results import Metric
from sslkuramoto.statistics import chance_above, spread, wilson

LOCKED = 10.0
"""Degrees: two oscillators are locked in phase if the angle between them is at most this."""
BINS = 40
RISE = 1e-5
"""An energy rises in a step if it grows by more than this share of its trajectory's largest size: rounding is less."""
KINDS = ("same", "different")


def combination_of(icons: Int64[Tensor, "n p"]) -> Int64[Tensor, " n"]:
    """Return which combination of icons each example has; the order of the two images of a pair does not matter."""
    pairs = icons.view(len(icons), -1, 2).sort(dim=2).values.flatten(1)
    return pairs.unique(dim=0, return_inverse=True)[1]


def combinations(icons: Int64[Tensor, "n p"]) -> Int64[Tensor, " c"]:
    """Return how many examples each combination of icons has."""
    return combination_of(icons).bincount()


def effective_number(icons: Int64[Tensor, "n p"]) -> float:
    """Return how many independent examples there are if examples with the same icons always have the same outcome.

    With c_g examples of combination g it is (sum_g c_g)**2 / sum_g c_g**2: n where all combinations differ.

    Source: Kish 1965, "Survey sampling", section 8.2 (design effect of clusters) with an intraclass correlation of 1.
    """
    counts = combinations(icons).double()
    return (counts.sum().square() / counts.square().sum()).item()


def accuracy_metric(correct: Bool[Tensor, "k n"], icons: Int64[Tensor, "n p"]) -> Metric:
    """Return the mean over examples and draws, with an interval that counts examples with the same icons as one.

    The interval is Wilson's with :func:`effective_number` in place of n; it treats combinations that share one icon as
    independent.
    """
    per_draw = correct.double().mean(dim=1).tolist()
    value = min(1.0, fmean(per_draw))
    low, high = wilson(value, max(1, floor(effective_number(icons) + 1e-9)))
    return Metric(value, low, high, correct.shape[1], len(correct), spread(per_draw))


def accuracy_metrics(
    correct: Bool[Tensor, "k n"], same: Bool[Tensor, " n"], icons: Int64[Tensor, "n p"], prefix: str = ""
) -> dict[str, Metric]:
    """Return the accuracy on all examples and on those of each relation, where there are any.

    Args:
        correct: of each draw.
        same: whether the relation of the example, or of its source pair, is "same".
        icons: of each image.
        prefix: before each name.
    """
    found = {f"{prefix}accuracy": accuracy_metric(correct, icons)}
    for kind, chosen in zip(KINDS, (same, ~same), strict=True):
        if chosen.any():
            found[f"{prefix}accuracy_{kind}"] = accuracy_metric(correct[:, chosen], icons[chosen])
    return found


def separation(scores: Float[Tensor, "k n"], same: Bool[Tensor, " n"]) -> Metric:
    """Return how often same pairs lie above different ones (AUC), each pair's mean over draws; no interval is known."""
    means = scores.double().mean(dim=0)
    return Metric(chance_above(means[:, None], same[:, None]).item(), n=len(same), draws=len(scores))


def means_by_kind(scores: Float[Tensor, "k n"], same: Bool[Tensor, " n"], name: str, unit: str) -> dict[str, Metric]:
    """Return ``NAME/same`` and ``NAME/different``: means over pairs and draws."""
    found = {}
    for kind, chosen in zip(KINDS, (same, ~same), strict=True):
        if chosen.any():
            per_draw = scores[:, chosen].double().mean(dim=1).tolist()
            number = int(chosen.sum())
            found[f"{name}/{kind}"] = Metric(
                fmean(per_draw), n=number, draws=len(scores), std_over_draws=spread(per_draw), unit=unit
            )
    return found


def locked(rho: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
    """Return the share of the d dimensions whose two oscillators are locked: an angle of at most 10 degrees.

    Two unit vectors at the angle a have rho = |x_1 + x_2| = 2 cos(a / 2).
    """
    return (rho.double() >= 2 * cos(radians(LOCKED / 2))).double().mean(dim=-1)


def coherence_counts(rho: Float[Tensor, "... d"]) -> Int64[Tensor, " bins"]:
    """Return the histogram of rho over [0, 2]."""
    return torch.histc(rho.double().clamp(0, 2), BINS, 0.0, 2.0).long()


def coherence_edges() -> list[float]:
    """Return the edges of :func:`coherence_counts`."""
    return [round(2 * k / BINS, 6) for k in range(BINS + 1)]


def rises(energy: Float[Tensor, "t1 k n"]) -> Float[Tensor, "k n"]:
    """Return the share of steps at which the energy of a pair rises by more than rounding.

    Args:
        energy: before the first step and after each.
    """
    size = energy.abs().amax(dim=0)
    return (energy.diff(dim=0) > RISE * size).double().mean(dim=0)


def trajectories(energy: Float[Tensor, "t1 k n"], same: Bool[Tensor, " n"]) -> dict[str, Any]:
    """Return mean and standard deviation over pairs and draws of the energy at each step, as plain values."""
    found: dict[str, Any] = {}
    for kind, chosen in zip(KINDS, (same, ~same), strict=True):
        if chosen.any():
            values = energy[:, :, chosen].double().flatten(1).numpy()
            found[kind] = {"mean": _plain(values.mean(axis=1)), "std": _plain(values.std(axis=1))}
    return found


def histograms(counts: Mapping[str, Int64[Tensor, " bins"]]) -> dict[str, Any]:
    """Return the histograms of rho of each kind of pair, as plain values."""
    return {"edges": coherence_edges(), **{kind: count.tolist() for kind, count in counts.items()}}


def _plain(values: np.ndarray) -> list[float]:
    return [float(f"{value:.7g}") for value in values]
