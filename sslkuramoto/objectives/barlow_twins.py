"""Barlow Twins: make the cross-correlation of the two views' projections the identity matrix.

Zbontar, Jing, Misra, LeCun, Deny 2021, arXiv 2103.03230, equations 1 and 2.
Shapes: b batch of this process, y x pixels, d features.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.losses import agreement, every_rank, in_full_precision
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Projector
from sslkuramoto.values import NotNegative, checked, small

VARIANCE_EPS = 1e-5  # of the BatchNorm in the authors' code


@checked
@small(projector={"hidden": 7, "out": 5})
class BarlowTwins(Objective):
    """Barlow Twins: the cross-correlation of two views' projections becomes the identity (Zbontar et al. 2021).

    sum_i (1 - C_ii)^2 + redundancy_weight * sum_{i != j} C_ij^2.

    C is the cross-correlation matrix of the two projections over the joined batch of all processes.

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: not used.
        redundancy_weight: lambda, factor of the correlations off the diagonal, >= 0 (0.0051 in the paper).
        projector: its widths, depth and norms (8192 wide on ImageNet; the output has no norm).

    Raises:
        UserError: an option out of range.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        redundancy_weight: NotNegative = 0.0051,
        projector: Projector = Projector(layers=3, out_norm="none"),
    ) -> None:
        super().__init__()
        self.redundancy_weight = redundancy_weight
        self.projector = projector.build(features_of(encoder))

    def forward(
        self,
        encoder: nn.Module,
        views: dict[str, Float[Tensor, "b 3 y x"]],
        *,
        draw: torch.Generator | None = None,
        labels: Int64[Tensor, "b"] | None = None,
    ) -> Step:
        features = encode(encoder, views["a"], draw)
        z1 = self.projector(features)
        z2 = self.projector(encode(encoder, views["b"], draw))
        invariance, redundancy = barlow_twins_terms(z1, z2)
        metrics = {"invariance": invariance.detach(), "redundancy": redundancy.detach()}
        loss = invariance + self.redundancy_weight * redundancy
        return Step(loss, {**metrics, **agreement(z1, z2)}, features.detach())


@in_full_precision
def barlow_twins_terms(z1: Float[Tensor, "b d"], z2: Float[Tensor, "b d"]) -> tuple[Tensor, Tensor]:
    """Return sum_i (1 - C_ii)^2 and sum_{i != j} C_ij^2, over all processes."""
    z1, z2 = _standardised(every_rank(z1)), _standardised(every_rank(z2))
    correlation = z1.T @ z2 / len(z1)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum(), correlation.square().sum() - diagonal.square().sum()


def _standardised(z: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """Return each coordinate with mean 0 and variance 1 over the batch."""
    centred = z - z.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + VARIANCE_EPS).sqrt()
