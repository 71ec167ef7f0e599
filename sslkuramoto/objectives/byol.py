"""BYOL: predict what a slowly moving copy of the network makes of the other view.

Grill et al. 2020, arXiv 2006.07733, equations 1-3; section 1.3.1 of the report.
Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.heads import Norm, head
from sslkuramoto.objectives.losses import agreement, negative_cosine
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.target import Schedule, Target


class BYOL(Objective):
    """|q(z1)/|q(z1)| - t2/|t2||^2 + the same with the views swapped = (2 - 2 cos) + (2 - 2 cos), t from the target.

    Args:
        encoder: is copied as the target's encoder, and gives the length of the features.
        num_classes: not used.
        momentum: share of the target kept by an update, in [0, 1] (the paper: 0.996 for
            1000 epochs of ImageNet, 0.99 for 300).
        momentum_schedule: let it rise to 1 over the run ("cosine", the paper's), or keep it.
        projector_layers: linear layers of the projector.
        projector_hidden: width of its hidden layers.
        projector_out: length of a projection.
        projector_norm: normalisation of its hidden layers.
        projector_out_norm: normalisation of its output.
        predictor_layers: linear layers of the predictor q.
        predictor_hidden: width of its hidden layers.
        predictor_norm: normalisation of its hidden layers; its output has none.

    Raises:
        UserError: an option out of range.

    Differs: the report's formula -cos - cos is half of this loss minus 2; the gradients differ by the factor 2, which
        Adam without weight decay does not see.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        momentum: float = 0.99,
        momentum_schedule: Schedule = "cosine",
        projector_layers: int = 2,
        projector_hidden: int = 4096,
        projector_out: int = 256,
        projector_norm: Norm = "batch",
        projector_out_norm: Norm = "none",
        predictor_layers: int = 2,
        predictor_hidden: int = 4096,
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
        self.target = Target(encoder, self.projector, momentum=momentum, schedule=momentum_schedule)

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
        t1 = self.target(views["a"], draw)
        t2 = self.target(views["b"], draw)
        prediction = negative_cosine(self.predictor(z1), t2) + negative_cosine(self.predictor(z2), t1)
        metrics = {
            "prediction": -prediction.detach() / 2,
            **agreement(z1, z2),
            "momentum": self.target.momentum.clone(),
        }
        return Step(4 + 2 * prediction, metrics, features.detach())

    def after_step(self, encoder: nn.Module, progress: float) -> None:
        super().after_step(encoder, progress)
        self.target.update(encoder, self.projector, progress)
