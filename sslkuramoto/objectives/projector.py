"""Projectors and predictors: small perceptrons on pooled features, as lightly's ``ProjectionHead`` builds them.

Source: SimCLR (Chen et al. 2020, 2002.05709), BYOL (Grill et al. 2020, 2006.07733), SimSiam (Chen and He 2021,
2011.10566), PhiNet (Ishikawa et al. 2025, 2405.14650) differ in widths, depth and the place of BatchNorm.

Differs: a linear layer in front of a BatchNorm has no bias (as in lightly; the PhiNets code has one, which BatchNorm
removes again).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.values import Count, Layers, checked

Norm = Literal["batch", "plain", "none"]
"""BatchNorm with a learned scale and shift, without them, or no normalisation."""


@checked
@dataclass(frozen=True, kw_only=True)
class Projector:
    """An option ``projector``: ``layers - 1`` times (linear, norm, ReLU), then (linear, out_norm).

    Attributes:
        layers: linear layers.
        hidden: width of the hidden layers.
        out: length of a projection.
        norm: normalisation of the hidden layers.
        out_norm: normalisation of the output.
    """

    layers: Layers = 2
    hidden: Count = 2048
    out: Count = 2048
    norm: Norm = "batch"
    out_norm: Norm = "batch"

    def build(self, in_features: int) -> nn.Module:
        """Return the projector of features of this length, initialised from torch's global generator."""
        widths = [in_features, *[self.hidden] * (self.layers - 1)]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [*_linear(a, b, self.norm), nn.ReLU()]
        return _Perceptron([*layers, *_linear(widths[-1], self.out, self.out_norm)])


@checked
@dataclass(frozen=True, kw_only=True)
class Predictor:
    """An option ``predictor``: from projection to projection, without a normalisation of its output.

    Attributes:
        layers: linear layers.
        hidden: width of the hidden layers.
        norm: normalisation of the hidden layers.
    """

    layers: Layers = 2
    hidden: Count = 512
    norm: Norm = "batch"

    def build(self, width: int) -> nn.Module:
        """Return the predictor of projections of this length, initialised from torch's global generator."""
        whole = Projector(layers=self.layers, hidden=self.hidden, out=width, norm=self.norm, out_norm="none")
        return whole.build(width)


class _Perceptron(nn.Module):
    """Layers one after the other, under the names of lightly's ``ProjectionHead``, whose import takes seconds."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the output of the last layer."""
        return self.layers(features)


def _linear(inputs: int, outputs: int, norm: Norm) -> list[nn.Module]:
    if norm == "none":
        return [nn.Linear(inputs, outputs)]
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs, affine=norm == "batch")]
