"""Unit vectors stored in feature maps: n consecutive channels are one oscillator.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), Eq. 2 and 5.
Shapes: b batch, c channels (c = m n), m oscillators a site, n oscillator dimension, h w grid.
"""

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-12
"""Shortest length that is divided by; shorter vectors are scaled by 1 / EPS and keep no unit norm."""


def components(x: Float[Tensor, "b c h w"], n: int) -> tuple[Tensor, ...]:
    """Return the n coordinates of all oscillators as views, each of shape "b m h w".

    Sums over the oscillator axis are written over these views: reductions over that middle axis
    (``torch.linalg.vector_norm``) take half of a training step on a CPU.
    """
    b, c, h, w = x.shape
    return x.view(b, c // n, n, h, w).unbind(2)


def dot(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, "b m h w"]:
    """Return the inner product of each oscillator of ``x`` with its partner in ``y``."""
    return sum_of_products(components(x.contiguous(), n), components(y.contiguous(), n))


def sum_of_products(xs: tuple[Tensor, ...], ys: tuple[Tensor, ...]) -> Tensor:
    """Return sum_k xs[k] ys[k], products rounded before they are added (no fused multiply-add).

    With this order, and the square root below, float32 states agree bit for bit with the published networks'. An
    oscillator whose update almost cancels magnifies one unit in the last place to 1e-4 within three layers.
    """
    total = xs[0] * ys[0]
    for a, b in zip(xs[1:], ys[1:], strict=True):
        total = total + a * b
    return total


def length(squared: Float[Tensor, "b m h w"]) -> Float[Tensor, "b m h w"]:
    """Return max(sqrt(squared), EPS), correctly rounded (torch's own float32 square root is not on a CPU)."""
    return squared.double().clamp_min(EPS**2).sqrt().to(squared.dtype)


def norm(x: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, "b m h w"]:
    """Return the length of each oscillator; its gradient at length zero is zero, not NaN."""
    return length(dot(x, x, n))


def normalise(x: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, "b c h w"]:
    """Return Pi[x] = x / |x|, every oscillator scaled to unit length (Eq. 5)."""
    b, c, h, w = x.shape
    return (x.reshape(b, c // n, n, h, w) / norm(x, n).unsqueeze(2)).view(b, c, h, w)


def tangent(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, "b c h w"]:
    """Return Proj_x(y) = y - <y, x> x, the part of ``y`` in the tangent space at ``x`` (Eq. 2)."""
    b, c, h, w = x.shape
    radial = dot(x, y, n).unsqueeze(2) * x.reshape(b, c // n, n, h, w)
    return y - radial.view(b, c, h, w)


def random_oscillators(
    shape: tuple[int, ...], draw: torch.Generator, *, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "..."]:
    """Return standard normal vectors on the generator's device; normalised they are uniform on the sphere."""
    return torch.randn(shape, generator=draw, device=draw.device, dtype=dtype)
