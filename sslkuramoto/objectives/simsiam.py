"""SimSiam: predict one view's projection from the other's, without negatives and without a second network.

Chen and He 2021, arXiv 2011.10566, equation 2; section 1.3.2 of the report. Defaults are those for CIFAR-10
(projector of 2 layers).
Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.heads import Norm, head
from sslkuramoto.objectives.losses import agreement, sim1_loss
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of


class SimSiam(Objective):
    """1/2 D(h(z1), z2) + 1/2 D(h(z2), z1), z = f(view), D(p, z) = -cos(p, stop-gradient z).

    Args:
        encoder: gives the length of the features.
        num_classes: not used.
        projector_layers: linear layers of the projector (3 on ImageNet).
        projector_hidden: width of its hidden layers.
        projector_out: length of a projection.
        projector_norm: normalisation of its hidden layers.
        projector_out_norm: normalisation of its output ("plain" in the authors' ImageNet code).
        predictor_layers: linear layers of the predictor h.
        predictor_hidden: width of its hidden layers.
        predictor_norm: normalisation of its hidden layers; its output has none.

    Raises:
        UserError: an option out of range.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        projector_layers: int = 2,
        projector_hidden: int = 2048,
        projector_out: int = 2048,
        projector_norm: Norm = "batch",
        projector_out_norm: Norm = "batch",
        predictor_layers: int = 2,
        predictor_hidden: int = 512,
        predictor_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.projector = head(
            "projector",
            features_of(encoder),
            projector_hidden,
            projector_out,
            layers=projector_layers,
            norm=projector_norm,
            out_norm=projector_out_norm,
        )
        self.predictor = head(
            "predictor", projector_out, predictor_hidden, projector_out, layers=predictor_layers, norm=predictor_norm
        )

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
