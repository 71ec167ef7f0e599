"""Projectors and predictors: small perceptrons on pooled features, made of lightly's ``ProjectionHead``.

Source: SimCLR (Chen et al. 2020, 2002.05709), BYOL (Grill et al. 2020, 2006.07733), SimSiam (Chen and He 2021,
2011.10566), PhiNet (Ishikawa et al. 2025, 2405.14650) differ in widths, depth and where BatchNorm stands.
"""

from itertools import pairwise
from typing import Literal

from lightly.models.modules.heads import ProjectionHead
from torch import nn

from sslkuramoto.objectives.ranges import at_least

Norm = Literal["batch", "plain", "none"]
"""BatchNorm with a learned scale and shift, without them, or no normalisation."""


def head(
    key: str,
    in_features: int,
    hidden: int,
    out: int,
    *,
    layers: int = 2,
    norm: Norm = "batch",
    out_norm: Norm = "none",
) -> ProjectionHead:
    """Return ``layers - 1`` times (linear, norm, ReLU), then (linear, out_norm).

    Args:
        key: name of the head in error messages: ``projector`` makes ``projector_hidden``.
        in_features: length of the input.
        hidden: width of the hidden layers.
        out: length of the output.
        layers: number of linear layers.
        norm: normalisation of the hidden layers.
        out_norm: normalisation of the output.

    Raises:
        UserError: a width or ``layers`` below 1.

    Differs: a linear layer in front of a BatchNorm has no bias (lightly's way; the PhiNets code keeps one, which
        BatchNorm removes again).
    """
    at_least(f"{key}_layers", layers, 1)
    at_least(f"{key}_hidden", hidden, 1)
    at_least(f"{key}_out", out, 1)
    widths = [in_features, *[hidden] * (layers - 1)]
    blocks = [(a, b, _norm(norm, b), nn.ReLU()) for a, b in pairwise(widths)]
    return ProjectionHead([*blocks, (widths[-1], out, _norm(out_norm, out), None)])


def _norm(norm: Norm, width: int) -> nn.Module | None:
    return None if norm == "none" else nn.BatchNorm1d(width, affine=norm == "batch")
