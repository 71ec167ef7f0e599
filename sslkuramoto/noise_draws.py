"""A randomised network is never scored by one draw of its initial oscillators.

Three scores an image over at least 20 fresh draws: the mean, the vote, and all draws right (docs/evaluation.md).

Shapes: k draws, n images.
"""

from statistics import fmean

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.errors import UserError
from sslkuramoto.results import Metric
from sslkuramoto.statistics import spread, wilson

MINIMUM_DRAWS = 20
ON_BOUNDARIES = 0.01  # share of predictions that another order of sums may change


def draws_for(stochastic: bool, draws: int) -> int:
    """Return how many draws are made: one for a deterministic network, ``draws`` for a stochastic one.

    Raises:
        UserError: fewer than 20 draws for a stochastic network.
    """
    if not stochastic:
        return 1
    if draws < MINIMUM_DRAWS:
        raise UserError(
            f"draws={draws}: this network draws new oscillators at every forward pass; "
            f"it is scored over at least {MINIMUM_DRAWS} draws"
        )
    return draws


def right_by_vote(predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Return whether the label has strictly more votes over the draws than any other class: a tie is wrong."""
    classes = int(torch.maximum(predictions.max(), labels.max())) + 1
    votes = F.one_hot(predictions, classes).sum(dim=0)
    own = votes.gather(1, labels[:, None]).squeeze(1)
    others = votes.scatter(1, labels[:, None], -1).max(dim=1).values
    return own > others


def share_over_draws(correct: Bool[Tensor, "k n"]) -> Metric:
    """Return the share of right answers, averaged over draws, with the Wilson interval over images."""
    draws, n = correct.shape
    per_draw = correct.double().mean(dim=1).tolist()
    value = min(1.0, fmean(per_draw))
    low, high = wilson(value, n)
    return Metric(value, low, high, n, draws, spread(per_draw))


def accuracies(
    predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"], name: str = "accuracy"
) -> dict[str, Metric]:
    """Return NAME (mean over draws), NAME_majority (vote of the draws) and NAME_all (every draw right)."""
    draws = len(predictions)
    correct = predictions == labels
    vote = share_over_draws(right_by_vote(predictions, labels)[None])
    every = share_over_draws(correct.all(dim=0)[None])
    return {
        name: share_over_draws(correct),
        f"{name}_majority": Metric(vote.value, vote.low, vote.high, vote.n, draws),
        f"{name}_all": Metric(every.value, every.low, every.high, every.n, draws),
    }


def share_right(predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"]) -> list[float]:
    """Return for each image the share of draws that classify it rightly."""
    return [round(share, 6) for share in (predictions == labels).double().mean(dim=0).tolist()]


def check_equal_scores(first: Int64[Tensor, "k n"], second: Int64[Tensor, "k n"], *, reordered: bool) -> None:
    """Refuse two scores of the same images on the same noise that differ: every robust accuracy is such a comparison.

    Args:
        first, second: predictions, k draws of n images.
        reordered: whether the device may sum in another order, which moves images on a boundary; at most
            ``ON_BOUNDARIES`` of the predictions may then differ. Otherwise none.

    Raises:
        UserError: they differ: the network keeps a state, or draws noise that nobody gave it.
    """
    share = (first != second).double().mean().item()
    if share > (ON_BOUNDARIES if reordered else 0.0):
        raise UserError(
            f"equal images on equal noise score differently ({100 * share:.1f} % of predictions): the network keeps a "
            "state between calls, or draws noise that is not given to it"
        )
