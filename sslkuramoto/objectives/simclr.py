"""SimCLR: tell the two views of an image from all other images of the batch.

Chen, Kornblith, Norouzi, Hinton 2020, arXiv 2002.05709, equation 1; Habibi (OIST, 2025), section 1.2.1.
Shapes: b batch, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.objectives.losses import agreement, nt_xent
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Projector
from sslkuramoto.values import Positive, checked, small


@checked
@small(projector={"hidden": 7, "out": 5})
class SimCLR(Objective):
    """SimCLR: two views of an image are closer to each other than to all other images (Chen et al. 2020).

    NT-Xent between the projections of two views; the negatives are the joined batch of all processes.

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: not used.
        temperature: of the softmax, > 0. The paper takes 0.5 on CIFAR-10, AKOrN's code 0.1.
        projector: its widths, depth and norms. AKOrN's code: hidden 4 times the features, as many out as features, no
            norms. Its output is normalised in the authors' code, not in the paper's formula.

    Raises:
        UserError: an option out of range.
    """

    views = ("a", "b")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None = None,
        *,
        temperature: Positive = 0.5,
        projector: Projector = Projector(out=128),
    ) -> None:
        super().__init__()
        self.temperature = temperature
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
        loss = nt_xent(z1, z2, temperature=self.temperature)
        return Step(loss, agreement(z1, z2), features.detach())
