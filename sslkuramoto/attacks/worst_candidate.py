"""The choice of an image's worst candidate, made so that it depends little on chance.

The accuracy of a candidate over k draws is a noisy estimate, and the minimum of many noisy estimates is biased low. All
candidates are therefore scored on the same draws, the lowest few of an image are scored again on other draws, and both
scores together decide. The reported accuracy must use a third set of draws.

Shapes: n images, y x pixels, a sets of candidates.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

FINALISTS = 5  # candidates of an image that are scored again
SELECT, AGAIN = "select union", "select union again"
ShareRight = Callable[[Tensor, str], Tensor]


def is_worse(share: Float[Tensor, " n"], kept: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Return for each image whether fewer draws classify a later candidate correctly than an earlier one.

    Of two equal candidates the earlier one is kept.

    Args:
        share: share of draws that are correct on the later candidate.
        kept: the same for the earlier candidate.
    """
    return share < kept


class Worst(NamedTuple):
    """The worst candidates.

    Attributes:
        images: one candidate per image, on the device of the first set.
        which: number of the set that it comes from.
        share: share of the draws of both scores that classify it correctly.
    """

    images: Float[Tensor, "n 3 y x"]
    which: Int64[Tensor, " n"]
    share: Float[Tensor, " n"]


def worst_of(
    candidates: Sequence[Float[Tensor, "n 3 y x"]],
    share_right: ShareRight,
    *,
    stochastic: bool,
    first: Float[Tensor, "a n"] | None = None,
    weight: float = 0.5,
) -> Worst:
    """Return for each image the candidate that the fewest draws classify correctly; the first one of equals.

    All candidates are scored on the same draws. The ``FINALISTS`` lowest of an image are scored again on other draws,
    and the share of correct draws over both scores decides.

    Args:
        candidates: sets with one candidate per image.
        share_right: (set of candidates, key of the draws) -> share of these draws that are correct on each image; equal
            images must score equally under one key.
        stochastic: whether the network draws; otherwise the first score decides.
        first: the first scores, if they are known already.
        weight: draws of the second score as a share of the draws of both.
    """
    if first is None:
        shares: list[Float[Tensor, " n"]] = []
        for place, images in enumerate(candidates):
            equal = (shares[i] for i in range(place) if torch.equal(candidates[i], images))
            known = next(equal, None)
            shares.append(share_right(images, SELECT) if known is None else known)
        first = torch.stack(shares)
    order = first.argsort(dim=0, stable=True)[:FINALISTS]  # the rule of is_worse, for many sets at once
    if not stochastic or len(candidates) == 1:
        which = order[0]
        return Worst(picked(candidates, which), which, first.gather(0, which[None])[0])
    again = torch.stack([share_right(picked(candidates, rank), AGAIN) for rank in order])
    both = (1 - weight) * first.gather(0, order) + weight * again
    share = both.min(dim=0).values
    # of equals the set that came first, as without noise
    place = torch.where(both == share, order, len(candidates)).argmin(dim=0)
    which = order.gather(0, place[None])[0]
    return Worst(picked(candidates, which), which, share)


def picked(candidates: Sequence[Float[Tensor, "n 3 y x"]], which: Int64[Tensor, " n"]) -> Float[Tensor, "n 3 y x"]:
    """Return for each image its candidate from the set number ``which``."""
    chosen = candidates[0].clone()
    for number in which.unique().tolist():
        rows = (which == number).nonzero().squeeze(1)
        chosen[rows.to(chosen.device)] = candidates[number][rows.to(candidates[number].device)].to(chosen.device)
    return chosen
