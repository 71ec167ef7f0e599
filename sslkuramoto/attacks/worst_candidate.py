"""The choice of an image's worst candidate, made so that it depends little on chance.

The accuracy of a candidate over k draws is a noisy estimate, and the minimum of many noisy estimates is biased low. All
candidates are therefore scored on the same draws, the lowest few of an image on further ones, and of these the lowest
two on the rest (sequential halving of bandit problems, Karnin, Koren and Somekh 2013). All draws of a candidate decide
together. The reported accuracy must use other draws.

Shapes: n images, y x pixels, a sets of candidates.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.noise_draws import MINIMUM_DRAWS

FINALISTS = 5  # candidates of an image that are scored again
LAST = 2  # of these, scored a third time
PART_OF_AGAIN = 3 / 10  # of the draws of both further scores
SELECT, AGAIN, ONCE_MORE = "select union", "select union again", "select union once more"
ShareRight = Callable[[Tensor, str, int], Tensor]


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
        share: share of the draws of all its scores that classify it correctly.
    """

    images: Float[Tensor, "n 3 y x"]
    which: Int64[Tensor, " n"]
    share: Float[Tensor, " n"]


def worst_of(
    candidates: Sequence[Float[Tensor, "n 3 y x"]],
    share_right: ShareRight,
    *,
    stochastic: bool,
    draws: int,
    first: tuple[Float[Tensor, "a n"], int] | None = None,
) -> Worst:
    """Return for each image the candidate that the fewest draws classify correctly; the first one of equals.

    All candidates are scored on the same draws. The ``FINALISTS`` lowest of an image are scored again on other draws,
    and the ``LAST`` lowest by both scores once more, if enough draws are left; the share of all draws decides.

    Args:
        candidates: sets with one candidate per image.
        share_right: (set of candidates, key of the draws, number of draws) -> share of these draws that are correct on
            each image; equal images must score equally under one key.
        stochastic: whether the network draws; otherwise the first score decides.
        draws: of the first score, and of the two further ones together.
        first: the first scores and their number of draws, if they are known already.
    """
    if first is None:
        shares: list[Float[Tensor, " n"]] = []
        for place, images in enumerate(candidates):
            equal = (shares[i] for i in range(place) if torch.equal(candidates[i], images))
            known = next(equal, None)
            shares.append(share_right(images, SELECT, draws) if known is None else known)
        first = torch.stack(shares), draws
    score, made = first
    order = torch.arange(len(candidates), device=score.device)[:, None].expand(score.shape)
    for left, key, more in _further(draws) if stochastic and len(candidates) > 1 else ():
        # of equals the sets that came first: the rule of is_worse, for many sets at once
        kept = score.argsort(dim=0, stable=True)[:left].sort(dim=0).values
        order, score = order.gather(0, kept), score.gather(0, kept)
        again = torch.stack([share_right(picked(candidates, rank), key, more) for rank in order])
        score, made = (made * score + more * again) / (made + more), made + more
    place = score.argmin(dim=0, keepdim=True)
    which = order.gather(0, place)[0]
    return Worst(picked(candidates, which), which, score.gather(0, place)[0])


def most_passes(candidates: int, draws: int, *, stochastic: bool) -> int:
    """Return how many passes per image :func:`worst_of` makes at most with so many sets and draws."""
    further = _further(draws) if stochastic and candidates > 1 else []
    return candidates * draws + sum(min(left, candidates) * more for left, _, more in further)


def _further(draws: int) -> list[tuple[int, str, int]]:
    """Return the further scores: how many candidates, the key of the draws, how many draws."""
    part = max(MINIMUM_DRAWS, round(PART_OF_AGAIN * draws))
    if draws - part < MINIMUM_DRAWS:
        return [(FINALISTS, AGAIN, draws)]
    return [(FINALISTS, AGAIN, part), (LAST, ONCE_MORE, draws - part)]


def picked(candidates: Sequence[Float[Tensor, "n 3 y x"]], which: Int64[Tensor, " n"]) -> Float[Tensor, "n 3 y x"]:
    """Return for each image its candidate from the set number ``which``."""
    chosen = candidates[0].clone()
    for number in which.unique().tolist():
        rows = (which == number).nonzero().squeeze(1)
        chosen[rows.to(chosen.device)] = candidates[number][rows.to(candidates[number].device)].to(chosen.device)
    return chosen
