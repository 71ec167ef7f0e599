"""How many dimensions the features use, without labels: RankMe, and alpha-ReQ.

RankMe: Garrido, Balestriero, Najman, LeCun 2023, arXiv 2210.02885, equation 1. alpha-ReQ: Agrawal, Mondal, Ghosh,
Richards 2022 (NeurIPS); the weighted fit is that of Stringer et al. 2019 (Nature 571:361).

Shapes: k draws, n images, d features.
"""

from collections.abc import Callable
from statistics import fmean
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.evaluation.forward_cost import features_cost
from sslkuramoto.evaluation.protocol import Protocol, Subject, described, start_of
from sslkuramoto.evaluation.representation.features import split_values
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import spread
from sslkuramoto.values import Count, Repeats, checked, small

EPSILON = 1e-7
SMALLEST = 1e-12  # eigenvalues below this share of the largest are rounding


def rankme(features: Float[Tensor, "n d"]) -> float:
    """Return exp(-sum_k p_k log p_k) with p_k = s_k / sum(s) + 1e-7 and s the singular values; in [1, min(n, d)].

    The features are not centred, as in the paper. In float64, on the CPU.
    """
    values = torch.linalg.svdvals(features.double().cpu())
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny) + EPSILON
    return float((-(share * share.log()).sum()).exp())


def alpha_req(features: Float[Tensor, "n d"]) -> float:
    """Return alpha of eigenvalue_j ~ j^-alpha, for the eigenvalues of the covariance of the features in falling order.

    A least-squares line through (log j, log eigenvalue_j), each j weighted by 1 / j. Agrawal et al. find the best
    representations near alpha = 1; a larger one means few dimensions. nan where there are fewer than two eigenvalues.
    """
    features = features.double().cpu()
    values = torch.linalg.svdvals(features - features.mean(dim=0)).square()
    values = values[values > SMALLEST * values.max()]
    if len(values) < 2:
        return float("nan")
    place = torch.arange(1, len(values) + 1, dtype=values.dtype)
    weight, x, y = 1 / place, place.log(), values.log()
    x, y = x - (weight * x).sum() / weight.sum(), y - (weight * y).sum() / weight.sum()
    return float(-(weight * x * y).sum() / (weight * x * x).sum())


@small(images=12)
@checked
class Rank(Protocol):
    """RankMe and alpha-ReQ of the features of one split; labels are not used.

    All images of a draw start from the same field of oscillators, so the noise of the oscillators is not counted as
    dimensions of the representation.

    Args:
        images: at most this many of the split, chosen by the seed; 25,600 as in Garrido et al. 2023.
        split: split that is measured.
        draws: fields of a stochastic encoder, at least 20; the figures are means over them.
    """

    name = "rank"
    needs = frozenset({"features"})
    columns = (
        Column(
            "rankme", "RankMe [dimensions]", "Frozen encoder", True, 2.5, ["rankme"], optional=True, unit="dimensions"
        ),
    )

    def __init__(
        self, *, images: Count = 25600, split: Literal["test", "val", "train"] = "test", draws: Repeats = 20
    ) -> None:
        self.options = options_of(locals())
        self.images, self.split, self.draws = images, split, draws
        self.splits = (split,)

    def measure(self, subject: Subject) -> Result:
        values, images = split_values(subject, self.split, draws=self.draws, shared_field=True)
        chosen = torch.randperm(len(images), generator=generator("cpu", subject.seed, "rank"))[: self.images]
        values = values[:, chosen]
        dimensions = min(values.shape[1:])
        notes = [f"{len(chosen)} images, {values.shape[2]} features: RankMe is at most {dimensions}"]
        if subject.encoder.stochastic:
            notes.append("all images of a draw started from the same field of oscillators")
        return Result(
            metrics={
                "rankme": _over_draws(rankme, values, "dimensions"),
                "alpha_req": _over_draws(alpha_req, values, "exponent"),
            },
            options=self.options,
            data=described(images, len(chosen)),
            initial=start_of(subject.encoder),
            notes=notes,
        )

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return what its features cost on this device after timing a few passes; measures nothing."""
        return [(self.split, features_cost(subject, self.split, self.draws))]


def _over_draws(measure: Callable[[Tensor], float], values: Float[Tensor, "k n d"], unit: str) -> Metric:
    found = [measure(features) for features in values]
    return Metric(fmean(found), n=values.shape[1], draws=len(found), std_over_draws=spread(found), unit=unit)
