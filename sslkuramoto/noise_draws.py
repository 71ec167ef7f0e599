"""Scores of a randomised network over at least 20 draws of its initial oscillators, never over one.

There are three accuracies: the mean over draws, that of the majority vote, and the share of images that every draw
classifies correctly (docs/evaluation.md).

Shapes: k draws, n images.
"""

from math import comb
from statistics import fmean

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.errors import UserError
from sslkuramoto.results import Metric
from sslkuramoto.statistics import spread, wilson

MINIMUM_DRAWS = 20
ON_BOUNDARIES = 0.01  # share of predictions that rounding may change, where sums have no fixed order


def draws_for(stochastic: bool, draws: int, asked: str = "") -> int:
    """Return how many draws are made: one for a deterministic network, ``draws`` for a stochastic one.

    Args:
        stochastic: whether the network draws.
        draws: as asked for.
        asked: what the error quotes in place of ``draws=...``: option and value.

    Raises:
        UserError: fewer than 20 draws for a stochastic network.
    """
    if not stochastic:
        return 1
    if draws < MINIMUM_DRAWS:
        raise UserError(
            f"{asked or f'draws={draws}'}: must be at least {MINIMUM_DRAWS}, since this network draws new oscillators "
            "at every forward pass"
        )
    return draws


def right_by_vote(predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Return whether the label has strictly more votes over the draws than any other class: a tie is wrong."""
    own, other = votes(predictions, labels)
    return own > other


def votes(
    predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"]
) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]:
    """Return how many draws predict the label, and how many the other class that most draws predict."""
    classes = max(int(torch.maximum(predictions.max(), labels.max())) + 1, 2)
    counts = F.one_hot(predictions, classes).sum(dim=0)
    own = counts.gather(1, labels[:, None]).squeeze(1)
    return own, counts.scatter(1, labels[:, None], -1).max(dim=1).values


def share_over_draws(correct: Bool[Tensor, "k n"]) -> Metric:
    """Return the accuracy, averaged over draws, with the Wilson interval over images."""
    draws, n = correct.shape
    per_draw = correct.double().mean(dim=1).tolist()
    value = min(1.0, fmean(per_draw))
    low, high = wilson(value, n)
    return Metric(value, low, high, n, draws, spread(per_draw))


def accuracies(
    predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"], name: str = "accuracy"
) -> dict[str, Metric]:
    """Return NAME (mean over draws), NAME_majority (majority vote) and NAME_all (every draw is correct)."""
    draws = len(predictions)
    correct = predictions == labels
    vote = share_over_draws(right_by_vote(predictions, labels)[None])
    every = share_over_draws(correct.all(dim=0)[None])
    return {
        name: share_over_draws(correct),
        f"{name}_majority": Metric(vote.value, vote.low, vote.high, vote.n, draws),
        f"{name}_all": Metric(every.value, every.low, every.high, every.n, draws),
    }


WORST_OF = (1, 5, 20)
"""Numbers of draws of the worst-of-K accuracy."""


def worst_of_draws(
    predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"], name: str = "accuracy"
) -> dict[str, Metric]:
    """Return NAME_worst_of_K for each K of ``WORST_OF``: an image counts when all of K independent draws are correct.

    Of an image that r of k draws classify correctly, the share C(r, K) / C(k, K) of all subsets of K draws is correct
    throughout, which is an unbiased estimate of that probability. K = 1 is the mean over draws; K = k is NAME_all. For
    a deterministic network, which has a single draw, all K are the same. A K above the number of draws has no entry.
    """
    draws, n = predictions.shape
    right = (predictions == labels).sum(dim=0).tolist()
    found = {}
    for size in WORST_OF:
        taken = 1 if draws == 1 else size
        if taken <= draws:
            value = min(1.0, fmean(comb(each, taken) / comb(draws, taken) for each in right))
            found[f"{name}_worst_of_{size}"] = Metric(value, *wilson(value, n), n, draws)
    return found


def share_right(predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"]) -> list[float]:
    """Return for each image the share of draws that classify it rightly."""
    return [round(share, 6) for share in (predictions == labels).double().mean(dim=0).tolist()]


def check_equal_scores(first: Int64[Tensor, "k n"], second: Int64[Tensor, "k n"], *, reordered: bool) -> None:
    """Check that the same images with the same draws have equal predictions, which every robust accuracy relies on.

    Args:
        first, second: predictions, k draws of n images.
        reordered: whether the device may sum in any order, which affects images on a decision boundary; a share of
            ``ON_BOUNDARIES`` of the predictions may then differ. Otherwise none may.

    Raises:
        UserError: they differ: the network keeps a state between calls, or draws noise by itself.
    """
    share = (first != second).double().mean().item()
    if share > (ON_BOUNDARIES if reordered else 0.0):
        raise UserError(
            f"equal images with equal draws have different predictions ({100 * share:.1f} %): the network keeps a "
            "state between calls, or draws noise by itself"
        )
