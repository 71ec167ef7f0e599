"""PhiNet: SimSiam, and a second predictor that recalls the clean image from what the first one predicted.

Ishikawa, Yamada, Bao, Takezawa 2025, arXiv 2405.14650 (ICLR); Habibi (OIST, 2025), section 2.2. Losses: hippocampus.py.
Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.hippocampus import Hippocampus
from sslkuramoto.objectives.losses import Reduction, Sim2Form
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Predictor, Projector
from sslkuramoto.values import NotNegative, checked, small


@checked
@small(projector={"hidden": 7, "out": 5}, predictor={"hidden": 4})
class PhiNet(Objective):
    """PhiNet: SimSiam, and a second predictor that recalls the clean image's features (Ishikawa et al. 2025).

    Sim-1 + weight * Sim-2, all three views through the same f; f(clean) receives no gradient.

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: not used.
        sim2: squared error (paper) or negative cosine.
        sim2_weight: factor of Sim-2, >= 0 (1 in the paper).
        sim2_reduction: squared error's mean over features (published code) or sum (paper's formula), which is
            ``projector.out`` times larger.
        original_weight: factor of TriSiam's original-view term, >= 0 (0 leaves it out).
        projector: its widths, depth and norms.
        predictor: those of each predictor, h and g.

    Raises:
        UserError: an option out of range.

    Differs: the published ``PhiNet`` class stores a weight of Sim-2 and never uses it; here it counts.
    """

    views = ("a", "b", "clean")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        sim2: Sim2Form = "mse",
        sim2_weight: NotNegative = 1.0,
        sim2_reduction: Reduction = "mean",
        original_weight: NotNegative = 0.0,
        projector: Projector = Projector(),
        predictor: Predictor = Predictor(),
    ) -> None:
        super().__init__()
        self.projector = projector.build(features_of(encoder))
        self.hippocampus = Hippocampus(
            projector.out,
            sim2=sim2,
            sim2_weight=sim2_weight,
            sim2_reduction=sim2_reduction,
            original_weight=original_weight,
            predictor=predictor,
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
        # Last: older torch caches what autocast makes of a weight under no_grad, and then trains nothing.
        with torch.no_grad():
            z = self.projector(encode(encoder, views["clean"], draw))
        loss, metrics = self.hippocampus(z1, z2, z)
        return Step(loss, metrics, features.detach())
