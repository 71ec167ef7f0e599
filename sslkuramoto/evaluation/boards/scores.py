"""How right answers to boards are, and whether low energies, or high confidences, go with right answers.

Shapes: k draws, n boards, b batch, y x cells.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf, nan
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.results import ENERGY, Metric
from sslkuramoto.statistics import chance_above, mean_interval, spread, wilson

BINS = 30
PANELS = 6
"""Boards whose draws are shown one by one."""
SHOWN_DRAWS = 400  # draws of such a board at most


Scores = Mapping[str, Tensor]
"""By name how right answers are, one entry per board, on the CPU: 1 or 0, or a share."""
Judge = Callable[[Int64[Tensor, "b y x"]], Scores]
"""Scores answers to the boards of one batch."""


def stacked(per_batch: Sequence[Sequence[Scores]]) -> dict[str, Float[Tensor, "k n"]]:
    """Return each kind of score of k draws, or groups of draws, over all batches of boards."""
    return {
        name: torch.cat([torch.stack([each[name] for each in draws]) for draws in per_batch], dim=1).double()
        for name in per_batch[0][0]
    }


def mean_metric(shares: Float[Tensor, "k n"], draws: int) -> Metric:
    """Return the mean over boards and k draws (or groups of draws), with the interval over boards.

    Cells of one board are dependent, so that an interval over cells would be too narrow.

    Args:
        shares: in [0, 1].
        draws: number of draws behind all of them.
    """
    per_draw = shares.mean(dim=1).tolist()
    value = min(1.0, fmean(per_draw))
    low, high = wilson(value, shares.shape[1])
    spread_over = None if len(per_draw) == 1 and draws > 1 else spread(per_draw)
    return Metric(value, low, high, shares.shape[1], draws, spread_over)


def energy_metric(energies: Float[Tensor, "k n"]) -> Metric:
    """Return the mean energy over boards and k draws, with the interval over boards; nan where one is not finite."""
    if not energies.isfinite().all():
        return Metric(nan, n=energies.shape[1], draws=len(energies), unit=ENERGY)
    per_board = energies.double().mean(dim=0).tolist()
    low, high = mean_interval(per_board, -inf, inf)
    per_draw = energies.double().mean(dim=1).tolist()
    return Metric(fmean(per_draw), low, high, len(per_board), len(per_draw), spread(per_draw), unit=ENERGY)


def score_metrics(scores: Mapping[str, Tensor], right: Bool[Tensor, "k n"], suffix: str = "") -> dict[str, Metric]:
    """Return ``NAME/auc`` for each score: how often a right draw of a board has a lower score than a wrong one.

    That is :func:`~sslkuramoto.statistics.chance_above` of wrong draws, the mean over the boards that have both kinds.

    Args:
        scores: of each draw.
        right: which draws are right.
        suffix: of the names.
    """
    found = {}
    for name, values in scores.items():
        areas = chance_above(values, ~right)
        areas = areas[~areas.isnan()]
        if len(areas):
            value = min(1.0, areas.mean().item())
            found[f"{name}/auc{suffix}"] = Metric(value, *wilson(value, len(areas)), len(areas), len(values))
    return found


def distributions(scores: Mapping[str, Tensor], right: Bool[Tensor, "k n"]) -> dict[str, Any]:
    """Return for each score its distribution over right and wrong draws, as plain values for a report.

    Each board's mean over draws is subtracted, since boards with more givens differ in their energies. ``boards`` holds
    the first boards that have right and wrong draws one by one, as figure 28 of Miyato et al. 2025 shows them.
    """
    both = (right.any(dim=0) & ~right.all(dim=0)).nonzero().flatten().tolist()
    found = {}
    for name, values in scores.items():
        centred = (values - values.mean(dim=0)).double()[:, both].flatten().numpy()
        if not np.isfinite(centred).all() or not len(both):
            continue
        edges = np.histogram_bin_edges(centred, BINS)
        marked = right[:, both].flatten().numpy()
        found[name] = {
            "edges": [float(f"{edge:.6g}") for edge in edges],
            "right": np.histogram(centred[marked], edges)[0].tolist(),
            "wrong": np.histogram(centred[~marked], edges)[0].tolist(),
            "boards": [
                {
                    "index": board,
                    "values": [float(f"{value:.7g}") for value in values[:SHOWN_DRAWS, board].tolist()],
                    "right": right[:SHOWN_DRAWS, board].int().tolist(),
                }
                for board in both[:PANELS]
            ],
        }
    return found
