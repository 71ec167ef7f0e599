"""SimCLR: tell the two views of an image from all other images of the batch.

Chen, Kornblith, Norouzi, Hinton 2020, arXiv 2002.05709, equation 1; section 1.2.1 of the report.
Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.heads import Norm, head
from sslkuramoto.objectives.losses import agreement, nt_xent
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.ranges import above


class SimCLR(Objective):
    """NT-Xent between the projections of two views; the negatives are the joined batch of all processes.

    Args:
        encoder: gives the length of the features.
        num_classes: not used.
        temperature: of the softmax, > 0. The paper takes 0.5 on CIFAR-10, AKOrN's code 0.1.
        projector_layers: linear layers of the projector.
        projector_hidden: width of its hidden layers (AKOrN: 4 times the features).
        projector_out: length of a projection (AKOrN: as many as features).
        projector_norm: normalisation of its hidden layers (AKOrN: none).
        projector_out_norm: normalisation of its output: "batch" in the authors' code, none in the paper's formula.

    Raises:
        UserError: an option out of range.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        temperature: float = 0.5,
        projector_layers: int = 2,
        projector_hidden: int = 2048,
        projector_out: int = 128,
        projector_norm: Norm = "batch",
        projector_out_norm: Norm = "batch",
    ) -> None:
        above("temperature", temperature, 0)
        super().__init__()
        self.temperature = temperature
        self.projector = head(
            "projector",
            features_of(encoder),
            projector_hidden,
            projector_out,
            layers=projector_layers,
            norm=projector_norm,
            out_norm=projector_out_norm,
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
        loss = nt_xent(z1, z2, temperature=self.temperature)
        return Step(loss, agreement(z1, z2), features.detach())
