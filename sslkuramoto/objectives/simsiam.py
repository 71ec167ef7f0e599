"""SimSiam: predict one view's projection from the other's, without negatives and without a second network.

Chen and He 2021, arXiv 2011.10566, equation 2; Habibi (OIST, 2025), section 1.3.2. Defaults are those for CIFAR-10
(projector of 2 layers).
Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.losses import agreement, sim1_loss
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Predictor, Projector
from sslkuramoto.values import checked, small


@checked
@small(projector={"hidden": 7, "out": 5}, predictor={"hidden": 4})
class SimSiam(Objective):
    """SimSiam: a prediction of one view's projection matches the other's, without negatives (Chen and He 2021).

    1/2 D(h(z1), z2) + 1/2 D(h(z2), z1), z = f(view), D(p, z) = -cos(p, stop-gradient z).

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: not used.
        projector: its widths, depth and norms (3 layers on ImageNet; ``out_norm`` "plain" in the authors' code there).
        predictor: those of the predictor h.

    Raises:
        UserError: an option out of range.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        projector: Projector = Projector(),
        predictor: Predictor = Predictor(),
    ) -> None:
        super().__init__()
        self.projector = projector.build(features_of(encoder))
        self.predictor = predictor.build(projector.out)

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
        loss = sim1_loss(self.predictor(z1), self.predictor(z2), z1, z2)
        return Step(loss, {"sim1": loss.detach(), **agreement(z1, z2)}, features.detach())
