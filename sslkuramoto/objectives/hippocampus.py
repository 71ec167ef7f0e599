"""The hippocampus of PhiNet: the two predictors and the two losses that PhiNet and X-PhiNet share.

Ishikawa, Yamada, Bao, Takezawa 2025, arXiv 2405.14650 (ICLR); Habibi (OIST, 2025), section 2.2. Published code:
riverstone496/PhiNets. In the paper's picture f is the entorhinal cortex, h is CA3, g is CA1; Sim-1 is the loss of the
hippocampus and Sim-2 that of the neocortex.
Shapes: b batch, d features of a projection.
"""

from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.objectives.losses import (
    Reduction,
    Sim2Form,
    agreement,
    check_sim2,
    negative_cosine,
    sim1_loss,
    sim2_loss,
)
from sslkuramoto.objectives.projector import Predictor
from sslkuramoto.values import NotNegative, checked


@checked
class Hippocampus(nn.Module):
    """Sim-1 + sim2_weight * Sim-2 + original_weight * the original-view term, of projections z1, z2, z.

    Sim-1 = 1/2 D(h(z1), z2) + 1/2 D(h(z2), z1); Sim-2 = 1/2 MSE(g(h(z1)), z) + 1/2 MSE(g(h(z2)), z);
    original-view term = 1/2 D(h(z1), z) + 1/2 D(h(z2), z) (TriSiam); D(p, z) = -cos(p, stop-gradient z).
    z is the projection of the clean image and receives no gradient.

    Args:
        width: length of a projection.
        sim2: squared error or negative cosine.
        sim2_weight: >= 0.
        sim2_reduction: squared error's mean or sum over features.
        original_weight: >= 0; 0 leaves the term out.
        predictor: widths, depth and norms of each predictor, h and g.

    Raises:
        UserError: an option out of range, or ``sim2_reduction`` without a meaning.
    """

    def __init__(
        self,
        width: int,
        *,
        sim2: Sim2Form,
        sim2_weight: NotNegative,
        sim2_reduction: Reduction,
        original_weight: NotNegative,
        predictor: Predictor,
    ) -> None:
        check_sim2(sim2, sim2_reduction)
        super().__init__()
        self.form = sim2
        self.sim2_weight = sim2_weight
        self.reduction = sim2_reduction
        self.original_weight = original_weight
        self.predictor = predictor.build(width)
        self.second_predictor = predictor.build(width)

    def forward(
        self, z1: Float[Tensor, "b d"], z2: Float[Tensor, "b d"], z: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the weighted sum, and each term unweighted for the log."""
        h1, h2 = self.predictor(z1), self.predictor(z2)
        y1, y2 = self.second_predictor(h1), self.second_predictor(h2)
        sim1 = sim1_loss(h1, h2, z1, z2)
        sim2 = sim2_loss(y1, y2, z, form=self.form, reduction=self.reduction)
        loss = sim1 + self.sim2_weight * sim2
        metrics = {"sim1": sim1.detach(), "sim2": sim2.detach()}
        if self.original_weight > 0:
            original = (negative_cosine(h1, z) + negative_cosine(h2, z)) / 2
            loss = loss + self.original_weight * original
            metrics["original"] = original.detach()
        return loss, {**metrics, **agreement(z1, z2)}
