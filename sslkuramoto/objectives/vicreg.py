"""VICReg: keep the two views of an image together, every coordinate spread out, and coordinates uncorrelated.

Bardes, Ponce, LeCun 2022, arXiv 2105.04906, equations 1-6.
Shapes: b batch of this process, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.objectives.losses import agreement, every_rank, in_full_precision
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Projector
from sslkuramoto.values import NotNegative, checked, small

EPSILON = 1e-4
"""Added to the variance under its root, which has no derivative at 0; that of the published code."""


@checked
@small(projector={"hidden": 7, "out": 5})
class VICReg(Objective):
    """VICReg: views agree, every coordinate varies, and no two coordinates correlate (Bardes et al. 2022).

    invariance * MSE(z1, z2) + variance * hinge on each standard deviation + covariance * squared off-diagonals.

    Variances and covariances are those of the joined batch of all processes.

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: not used.
        invariance_weight: factor of the squared distance between the views, >= 0.
        variance_weight: factor of mean(max(0, 1 - std)), averaged over the two views, >= 0.
        covariance_weight: factor of the squared covariances off the diagonal, summed over the two views, >= 0.
        projector: its widths, depth and norms (8192 wide on ImageNet; the output has no norm).

    Raises:
        UserError: an option out of range.

    Differs: the variance term is averaged over the views as in the authors' code; the paper's equation 6 sums it.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        invariance_weight: NotNegative = 25.0,
        variance_weight: NotNegative = 25.0,
        covariance_weight: NotNegative = 1.0,
        projector: Projector = Projector(layers=3, out_norm="none"),
    ) -> None:
        super().__init__()
        self.weights = {"invariance": invariance_weight, "variance": variance_weight, "covariance": covariance_weight}
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
        terms = vicreg_terms(z1, z2)
        loss = torch.stack([weight * terms[name] for name, weight in self.weights.items()]).sum()
        metrics = {name: term.detach() for name, term in terms.items()}
        return Step(loss, {**metrics, **agreement(z1, z2)}, features.detach())


@in_full_precision
def vicreg_terms(z1: Float[Tensor, "b d"], z2: Float[Tensor, "b d"]) -> dict[str, Tensor]:
    """Return the three terms, unweighted."""
    invariance = F.mse_loss(z1, z2)
    terms = [_variance_and_covariance(every_rank(z)) for z in (z1, z2)]
    variance, covariance = (torch.stack(term) for term in zip(*terms, strict=True))
    return {"invariance": invariance, "variance": variance.mean(), "covariance": covariance.sum()}


def _variance_and_covariance(z: Float[Tensor, "B d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the mean hinge on the standard deviations and the sum of squared covariances divided by d."""
    covariances = torch.atleast_2d(z.T.cov())
    hinge = F.relu(1 - (covariances.diagonal() + EPSILON).sqrt()).mean()
    return hinge, 2 * covariances.triu(1).square().sum() / z.shape[1]
