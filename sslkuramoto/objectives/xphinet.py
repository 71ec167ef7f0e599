"""X-PhiNet: PhiNet whose clean image goes through a long-term encoder, a slow average of the online one.

Ishikawa, Yamada, Bao, Takezawa 2025, arXiv 2405.14650 (ICLR); Habibi (OIST, 2025), section 2.2.2.
Losses: hippocampus.py.
Defaults are those of Habibi, Ziu, Takac, Yamada (arXiv 2609.08683), who finetune the long-term encoder; their
original-view weight of 0.1 is left to the recipe.
Shapes: b batch, y x pixels.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.hippocampus import Hippocampus
from sslkuramoto.objectives.losses import Reduction, Sim2Form
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Predictor, Projector
from sslkuramoto.objectives.target import Schedule, Target
from sslkuramoto.values import NotNegative, Share, checked, small


@checked
@small(projector={"hidden": 7, "out": 5}, predictor={"hidden": 4})
class XPhiNet(Objective):
    """X-PhiNet: PhiNet whose clean image goes through a slow average of the encoder (Ishikawa et al. 2025).

    Sim-1 + weight * Sim-2 with z = f_long(clean), f_long <- momentum f_long + (1 - momentum) f after each step.

    Args:
        encoder: is copied as the encoder of f_long, and gives the length of the features.
        num_classes: not used.
        momentum: share of f_long kept by an update (the paper's beta), in [0, 1].
        momentum_schedule: keep it, or let it rise to 1 over the run ("cosine").
        export: the run leaves f_long's encoder behind ("long"), or the online one.
        sim2: squared error or negative cosine.
        sim2_weight: factor of Sim-2, >= 0.
        sim2_reduction: squared error's mean over features (published code) or sum (paper's formula), which is
            ``projector.out`` times larger.
        original_weight: factor of TriSiam's original-view term, >= 0 (0 leaves it out).
        projector: its widths, depth and norms.
        predictor: those of each predictor, h and g.

    Raises:
        UserError: an option out of range.

    Differs: the published code moves f_long inside the forward pass, before the optimiser step, so it averages the
        parameters of one step earlier; ours moves it after the step. As there, BatchNorm's running statistics are not
        averaged: f_long keeps those of the clean images it has seen.
    """

    views = ("a", "b", "clean")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        momentum: Share = 0.99,
        momentum_schedule: Schedule = "constant",
        export: Literal["long", "online"] = "long",
        sim2: Sim2Form = "mse",
        sim2_weight: NotNegative = 0.5,
        sim2_reduction: Reduction = "mean",
        original_weight: NotNegative = 0.0,
        projector: Projector = Projector(),
        predictor: Predictor = Predictor(),
    ) -> None:
        super().__init__()
        self.export = export
        self.projector = projector.build(features_of(encoder))
        self.hippocampus = Hippocampus(
            projector.out,
            sim2=sim2,
            sim2_weight=sim2_weight,
            sim2_reduction=sim2_reduction,
            original_weight=original_weight,
            predictor=predictor,
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
        loss, metrics = self.hippocampus(z1, z2, self.target(views["clean"], draw))
        return Step(loss, {**metrics, "momentum": self.target.momentum.clone()}, features.detach())

    def after_step(self, encoder: nn.Module, progress: float) -> None:
        super().after_step(encoder, progress)
        self.target.update(encoder, self.projector, progress)

    def exported(self, encoder: nn.Module) -> nn.Module:
        return self.target.encoder if self.export == "long" else encoder
