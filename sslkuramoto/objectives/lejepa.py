"""LeJEPA: views predict their mean, and SIGReg keeps the projections close to an isotropic Gaussian.

Balestriero, LeCun 2025, arXiv 2511.08544. SIGReg (sketched isotropic Gaussian regularisation) projects on random
directions and compares each one-dimensional sample with N(0, 1) by the statistic of Epps and Pulley (1983, Biometrika
70:723). It needs no target network, no stop-gradient and no predictor.
Shapes: b batch of this process, y x pixels, d features, m directions, t points.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, distributed, nn

from sslkuramoto.errors import UserError
from sslkuramoto.objectives.losses import agreement, in_full_precision, sum_over_ranks, world_size
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Projector
from sslkuramoto.randomness import generator
from sslkuramoto.values import Count, Share, checked, small

POINTS, LARGEST = 17, 5.0
"""Points of the quadrature and where it ends, on both sides of 0: those of the paper."""


@checked
@small(directions=9, fresh_directions=False, projector={"hidden": 7, "out": 5})
class LeJEPA(Objective):
    """LeJEPA: each view predicts the mean of both; SIGReg keeps projections Gaussian (Balestriero and LeCun 2025).

    (1 - w) * mean squared distance of each view from the mean of both + w * mean of SIGReg over the views.

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: not used.
        sigreg_weight: w, the paper's lambda, in [0, 1].
        directions: random directions of SIGReg; the same in all processes.
        fresh_directions: draw them anew at each step; False uses those of a fixed seed.
        projector: its widths, depth and norms (the output has no norm).

    Raises:
        UserError: an option out of range; fresh directions without ``draw``.

    Differs: two views of one size; the paper also uses smaller local views.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        sigreg_weight: Share = 0.05,
        directions: Count = 1024,
        fresh_directions: bool = True,
        projector: Projector = Projector(layers=3, out=128, out_norm="none"),
    ) -> None:
        super().__init__()
        self.sigreg_weight, self.directions, self.fresh_directions = sigreg_weight, directions, fresh_directions
        self.projector = projector.build(features_of(encoder))

    def forward(
        self,
        encoder: nn.Module,
        views: dict[str, Float[Tensor, "b 3 y x"]],
        *,
        draw: torch.Generator | None = None,
        labels: Int64[Tensor, "b"] | None = None,
    ) -> Step:
        if draw is None and self.fresh_directions:
            raise UserError("draw=None: SIGReg draws its directions; give draw= a torch.Generator")
        features = encode(encoder, views["a"], draw)
        z1 = self.projector(features)
        z2 = self.projector(encode(encoder, views["b"], draw))
        invariance = prediction_loss(z1, z2)
        source = draw if draw is not None and self.fresh_directions else generator("cpu", "directions of SIGReg")
        directions = random_directions(z1.shape[1], self.directions, source).to(z1.device)
        sigreg = (epps_pulley(z1, directions).mean() + epps_pulley(z2, directions).mean()) / 2
        loss = (1 - self.sigreg_weight) * invariance + self.sigreg_weight * sigreg
        metrics = {"invariance": invariance.detach(), "sigreg": sigreg.detach()}
        return Step(loss, {**metrics, **agreement(z1, z2)}, features.detach())


@in_full_precision
def prediction_loss(z1: Float[Tensor, "b d"], z2: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Return the squared distance of each view from the mean of both, mean over views, batch and coordinates."""
    mean = (z1 + z2) / 2
    return ((z1 - mean).square().mean() + (z2 - mean).square().mean()) / 2


@torch.no_grad()
def random_directions(d: int, m: int, draw: torch.Generator) -> Float[Tensor, "d m"]:
    """Draw unit vectors, uniform on the sphere; every process gets those of the first."""
    found = torch.randn(d, m, generator=draw, device=draw.device)
    if world_size() > 1:
        distributed.broadcast(found, src=0)
    return found / found.norm(dim=0)


@in_full_precision
def epps_pulley(z: Float[Tensor, "b d"], directions: Float[Tensor, "d m"]) -> Float[Tensor, " m"]:
    """Return the Epps-Pulley statistic of each projected sample against N(0, 1), over the batch of all processes.

    n * integral over t of |phi_n(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2), with phi_n the empirical characteristic function
    of the n projections; trapezoidal rule. It stays bounded as n grows for a Gaussian sample, and grows as n otherwise.

    Args:
        z: projections.
        directions: unit columns.
    """
    points = torch.linspace(-LARGEST, LARGEST, POINTS, dtype=z.dtype, device=z.device)
    gaussian = (-points.square() / 2).exp()
    angles = (z @ directions.to(z.dtype))[..., None] * points
    real, imaginary = _mean_over_all(torch.stack([angles.cos(), angles.sin()], dim=1))
    error = ((real - gaussian).square() + imaginary.square()) * gaussian
    return torch.trapezoid(error, points, dim=1) * len(z) * world_size()


def _mean_over_all(values: Float[Tensor, "b 2 m t"]) -> Float[Tensor, "2 m t"]:
    """Return the mean over the batches of all processes, which are equally large; gradients flow back to each."""
    return sum_over_ranks(values.mean(dim=0)) / world_size()
