"""BYOL: predict what a slowly moving copy of the network makes of the other view.

Grill et al. 2020, arXiv 2006.07733, equations 1-3; Habibi (OIST, 2025), section 1.3.1.
Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.losses import agreement, negative_cosine
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Predictor, Projector
from sslkuramoto.objectives.target import Schedule, Target
from sslkuramoto.values import Share, checked, small


@checked
@small(projector={"hidden": 7, "out": 5}, predictor={"hidden": 4})
class BYOL(Objective):
    """BYOL: a prediction of one view's projection matches the target's projection of the other (Grill et al. 2020).

    ``|q(z1)/|q(z1)| - t2/|t2||^2`` + the same with the views swapped = (2 - 2 cos) + (2 - 2 cos), t from the target.

    Args:
        encoder: is copied as the target's encoder, and gives the length of the features.
        num_classes: not used.
        momentum: share of the target kept by an update, in [0, 1] (the paper: 0.996 for
            1000 epochs of ImageNet, 0.99 for 300).
        momentum_schedule: let it rise to 1 over the run ("cosine", the paper's), or keep it.
        projector: its widths, depth and norms.
        predictor: those of the predictor q.

    Raises:
        UserError: an option out of range.

    Differs: the formula -cos - cos of Habibi (OIST, 2025) is half of this loss minus 2; the gradients differ by the
        factor 2, which Adam without weight decay does not see.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        momentum: Share = 0.99,
        momentum_schedule: Schedule = "cosine",
        projector: Projector = Projector(hidden=4096, out=256, out_norm="none"),
        predictor: Predictor = Predictor(hidden=4096),
    ) -> None:
        super().__init__()
        self.projector = projector.build(features_of(encoder))
        self.predictor = predictor.build(projector.out)
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
