"""Projectors and predictors: small perceptrons on pooled features, made of lightly's ``ProjectionHead``.

Source: SimCLR (Chen et al. 2020, 2002.05709), BYOL (Grill et al. 2020, 2006.07733), SimSiam (Chen and He 2021,
2011.10566), PhiNet (Ishikawa et al. 2025, 2405.14650) differ in widths, depth and the place of BatchNorm.

Differs: a linear layer in front of a BatchNorm has no bias (as in lightly; the PhiNets code has one, which BatchNorm
removes again).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import nn

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
        from lightly.models.modules.heads import ProjectionHead  # loads timm and torchvision: only to build one

        widths = [in_features, *[self.hidden] * (self.layers - 1)]
        blocks = [(a, b, _norm(self.norm, b), nn.ReLU()) for a, b in pairwise(widths)]
        return ProjectionHead([*blocks, (widths[-1], self.out, _norm(self.out_norm, self.out), None)])


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


def _norm(norm: Norm, width: int) -> nn.Module | None:
    return None if norm == "none" else nn.BatchNorm1d(width, affine=norm == "batch")
