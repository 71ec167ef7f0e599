"""The worst of several candidates of an image, chosen without being led by luck.

Scored over k draws, the lowest of many noisy shares is too low and its choice partly random. So all candidates compete
on the same draws, the lowest few of an image are scored again on other draws, and both scores together decide. What
scores the choice in the end must be neither.

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
    """Return for each image whether a later candidate is worse than an earlier one: fewer draws get it right.

    All candidates are compared so. Of two equal ones the earlier is kept.

    Args:
        share: of draws that are right on the later candidate.
        kept: the same on the earlier one.
    """
    return share < kept


class Worst(NamedTuple):
    """What was chosen.

    Attributes:
        images: one candidate an image, on the device of the first set.
        which: the set that it is from.
        share: of both kinds of draws, right on it.
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
    """Return for each image the candidate that the fewest draws get right, of equals the first.

    All candidates are scored on the same draws. The ``FINALISTS`` lowest of an image are scored again on other draws,
    and the share right over all draws of both scores decides.

    Args:
        candidates: sets with one candidate per image.
        share_right: gives for a set, and the name of the noise, the share of draws that are right on each image; equal
            images under one name must score equally.
        stochastic: whether there is noise; otherwise the first score decides.
        first: the scores under the first name where they are known.
        weight: share of the draws of the second score among those of both.
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
    """Return for each image its candidate of one of the sets."""
    chosen = candidates[0].clone()
    for number in which.unique().tolist():
        rows = (which == number).nonzero().squeeze(1)
        chosen[rows.to(chosen.device)] = candidates[number][rows.to(candidates[number].device)].to(chosen.device)
    return chosen
