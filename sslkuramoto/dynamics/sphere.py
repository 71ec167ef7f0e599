"""Operations on unit vectors that are stored in feature maps: n consecutive channels are one oscillator.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), Eq. 2 and 5.
Shapes: b batch, c channels (c = m n), m oscillators a site, n oscillator dimension, h w grid.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

EPS = 1e-12
"""Lower bound of the length that a vector is divided by; a shorter vector does not reach unit length."""


def forward_mode() -> bool:
    """Return whether derivatives are computed in forward mode, also by ``torch.func.jvp``."""
    return forward_ad._current_level >= 0


def plain_operations_only() -> bool:
    """Return whether forward mode or another transform of ``torch.func`` is at work.

    These see through plain differentiable operations only: steps with a backward pass of their own are then replaced by
    their definitions.
    """
    return forward_mode() or torch._C._are_functorch_transforms_active()


def components(x: Float[Tensor, "b c h w"], n: int) -> tuple[Tensor, ...]:
    """Return the n coordinates of all oscillators as views, each of shape "b m h w".

    Sums over the oscillator dimension are written as sums of these views. A reduction over the middle axis, such as
    ``torch.linalg.vector_norm``, would take half the time of a training step on a CPU.

    Args:
        x: contiguous states, c divisible by n.
        n: dimension of an oscillator, >= 1.
    """
    b, c, h, w = x.shape
    return x.view(b, c // n, n, h, w).unbind(2)


def dot(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, "b m h w"]:
    """Return the inner product of each oscillator of ``x`` with the same oscillator of ``y``, shape "b m h w"."""
    return sum_of_products(components(x.contiguous(), n), components(y.contiguous(), n))


def sum_of_products(xs: tuple[Tensor, ...], ys: tuple[Tensor, ...]) -> Tensor:
    """Return sum_k xs[k] ys[k]; each product is rounded before it is added (no fused multiply-add).

    With this order, and with the square root of :func:`length`, float32 states match those of the published networks
    bit for bit. This matters: where an update almost cancels, one unit in the last place grows to 1e-4 in three layers.
    """
    total = xs[0] * ys[0]
    for a, b in zip(xs[1:], ys[1:], strict=True):
        total = total + a * b
    return total


def length(squared: Float[Tensor, "b m h w"]) -> Float[Tensor, "b m h w"]:
    """Return max(sqrt(squared), EPS), correctly rounded; torch's float32 square root on a CPU is not."""
    return squared.double().clamp_min(EPS**2).sqrt().to(squared.dtype)


def norm(x: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, "b m h w"]:
    """Return the length of each oscillator, "b m h w"; the gradient below :data:`EPS` is zero, not NaN."""
    return length(dot(x, x, n)) if plain_operations_only() else _Norm.apply(x, n)


class _Norm(torch.autograd.Function):
    """The length, which keeps x alone for the derivative x / |x|."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.n = n
        return length(dot(x, x, n))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        size = norm(x, ctx.n)
        share = (grads[0] / size).where(size > EPS, 0)
        b, c, h, w = x.shape
        return (share.unsqueeze(2) * x.reshape(b, c // ctx.n, ctx.n, h, w)).reshape(b, c, h, w), None


def normalise(x: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, "b c h w"]:
    """Return Pi[x] = x / |x|: every oscillator scaled to unit length.

    Args:
        x: vectors of any length, c divisible by n.
        n: dimension of an oscillator, >= 1.

    Returns:
        Unit vectors of the same shape. Vectors shorter than :data:`EPS` stay shorter than 1.

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 5.

    Example:
        >>> import torch
        >>> x = torch.tensor([3.0, 4.0, 0.0, 2.0]).view(1, 4, 1, 1)  # two oscillators of dimension 2
        >>> normalise(x, 2).flatten()
        tensor([0.6000, 0.8000, 0.0000, 1.0000])
    """
    b, c, h, w = x.shape
    return (x.reshape(b, c // n, n, h, w) / norm(x, n).unsqueeze(2)).view(b, c, h, w)


def tangent(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, "b c h w"]:
    """Return Proj_x(y) = y - <y, x> x, the part of ``y`` that is tangent to the sphere at ``x``.

    Args:
        x: unit oscillators.
        y: vectors of the same shape, such as the drive.
        n: dimension of an oscillator, >= 1.

    Returns:
        Tangent vectors of the same shape.

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 2.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([5.0, 2.0]).view(1, 2, 1, 1)
        >>> tangent(x, y, 2).flatten()
        tensor([0., 2.])
    """
    b, c, h, w = x.shape
    radial = dot(x, y, n).unsqueeze(2) * x.reshape(b, c // n, n, h, w)
    return y - radial.view(b, c, h, w)


def random_oscillators(
    shape: tuple[int, ...], draw: torch.Generator, *, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "..."]:
    """Return one draw of initial oscillators: standard normal numbers, on the generator's device.

    A layer normalises them on entry; the oscillators are then uniform on the sphere.

    Args:
        shape: of the result, usually (b, c, h, w).
        draw: the generator, the only source of randomness.
        dtype: of the result.

    Example:
        >>> from sslkuramoto.randomness import generator
        >>> x = normalise(random_oscillators((1, 4, 8, 8), generator("cpu", 0, "docs")), 2)
        >>> bool(((norm(x, 2) - 1).abs() < 1e-6).all())
        True
    """
    return torch.randn(shape, generator=draw, device=draw.device, dtype=dtype)
