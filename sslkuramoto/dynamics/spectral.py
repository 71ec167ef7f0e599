"""Convolution with large kernels in the Fourier domain, several times faster on a CPU than the direct convolution.

A grid of side h and a kernel of side k are transformed with n = h + k // 2 points along each axis: a zero padding of
k // 2 serves both ends of the axis, because the transform is periodic. Each complex product of the spectra is three
real ones (with X = a + i b and conj(W) = c + i d: (a + b) c, a (d - c) and b (c + d)), so that all couplings of one
frequency are three real matrix products. The transforms are matrix products too, one axis after the other, with the
grid in front of images and channels: no step moves data, and n may be any number. The three sums are part of the
transforms' matrices.

The result equals the direct convolution up to rounding (about 3e-7 of the root mean square in float32, as the direct
convolution itself or better) and is differentiable to any order. All steps of a layer share the kernel's transform.

Shapes: b batch, c channels in, o channels out, h w grid, k kernel size, n m points of the two transforms,
r = n // 2 + 1 frequencies of the first axis (the others are complex conjugates), p = 3 r m products.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.dynamics.rounding import rounds_as_published
from sslkuramoto.dynamics.sphere import plain_operations_only

_WORD = 40
"""Multiplications that take as long as moving one number of the kernel's spectrum, from timings on one CPU core."""


class _Axis(NamedTuple):
    """Real matrices of one axis, for a first axis (real numbers to r complex ones) or a second one (to p / r products).

    Attributes:
        analyse: from states to their transform.
        kernel: from a kernel to the conjugate of its transform.
        synthesise: from products to states.
    """

    analyse: Tensor
    kernel: Tensor
    synthesise: Tensor


def _angles(frequencies: int, positions: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of 2 pi f x / n for each frequency f and position x."""
    angle = 2 * math.pi / n * torch.outer(torch.arange(frequencies, dtype=torch.float64), positions)
    return angle.cos(), angle.sin()


@lru_cache(maxsize=64)
def _first_axis(side: int, k: int, dtype: torch.dtype) -> _Axis:
    """Return the matrices of the first axis; rows of a transform alternate between real and imaginary parts."""
    n = side + k // 2
    r = n // 2 + 1
    grid = torch.arange(side, dtype=torch.float64)

    def analyse(positions: Tensor) -> Tensor:
        cos, sin = _angles(r, positions, n)
        return torch.stack([cos, -sin], dim=1).flatten(0, 1)

    times = torch.full((r, 1), 2.0, dtype=torch.float64)  # a frequency and its conjugate
    times[0] = 1
    if n % 2 == 0:
        times[-1] = 1
    cos, sin = _angles(r, grid, n)
    synthesise = torch.stack([cos * times / n, -sin * times / n], dim=1).flatten(0, 1).T
    found = (analyse(grid), analyse(torch.arange(k, dtype=torch.float64) - k // 2), synthesise)
    return _Axis(*(matrix.to(dtype).contiguous() for matrix in found))


@lru_cache(maxsize=64)
def _second_axis(side: int, k: int, dtype: torch.dtype) -> _Axis:
    """Return the matrices of the second axis: columns of a transform are all real parts, then all imaginary parts."""
    n = side + k // 2
    grid = torch.arange(side, dtype=torch.float64)

    def analyse(positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = _angles(n, positions, n)
        return torch.cat([cos, sin], dim=1), torch.cat([-sin, cos], dim=1)

    a, b = analyse(grid)
    c, minus_d = analyse(torch.arange(k, dtype=torch.float64) - k // 2)
    d = -minus_d
    states = torch.stack([a + b, a, b], dim=1).flatten(0, 1)
    kernel = torch.stack([c, d - c, c + d], dim=1).flatten(0, 1)
    cos, sin = (part.T / n for part in _angles(n, grid, n))
    # real = first - third product, imaginary = first + second
    real = torch.stack([cos - sin, -sin, -cos], dim=2).flatten(1)
    imaginary = torch.stack([sin + cos, cos, -sin], dim=2).flatten(1)
    found = (states, kernel, torch.cat([real, imaginary]))
    return _Axis(*(matrix.to(dtype).contiguous() for matrix in found))


def _each(matrix: Tensor, x: Tensor) -> Tensor:
    """Return the product of one matrix with each of many."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x)


def _to_products(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the transform "p b c" of states "b c h w"."""
    b, c, h, w = x.shape
    grid_first = x.reshape(b * c, h * w).t().contiguous().view(h, w * b * c)
    return _each(second, (first @ grid_first).view(-1, 2 * w, b * c)).view(-1, b, c)


def _from_products(products: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the states "b c h w" of which :func:`_to_products` with the transposed matrices takes the transform."""
    b, c = products.shape[1:]
    h, w = len(first), len(second) // 2
    rows = _each(second, products.view(first.shape[1] // 2, -1, b * c)).view(-1, w * b * c)
    return (first @ rows).view(h * w, b * c).t().contiguous().view(b, c, h, w)


class _Convolution(torch.autograd.Function):
    """The convolution with a given spectrum; keeps the states and transforms them once more in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spectrum: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(x, spectrum)
        ctx.k = k
        first, second = _axes(x, k)
        products = torch.bmm(_to_products(x, first.analyse, second.analyse), spectrum)
        return _from_products(products, first.synthesise, second.synthesise)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, spectrum = ctx.saved_tensors
        first, second = _axes(x, ctx.k)
        by_product = _to_products(grads[0], first.synthesise.T, second.synthesise.T)
        grad_x = grad_spectrum = None
        if ctx.needs_input_grad[0]:
            by_input = torch.bmm(by_product, spectrum.transpose(1, 2))
            grad_x = _from_products(by_input, first.analyse.T, second.analyse.T)
        if ctx.needs_input_grad[1]:
            transformed = _to_products(x, first.analyse, second.analyse)
            grad_spectrum = torch.bmm(transformed.transpose(1, 2), by_product)
        return grad_x, grad_spectrum, None


def _axes(x: Tensor, k: int) -> tuple[_Axis, _Axis]:
    return _first_axis(x.shape[2], k, x.dtype), _second_axis(x.shape[3], k, x.dtype)


def kernel_spectrum(weight: Float[Tensor, "o c k k"], grid: tuple[int, int]) -> Float[Tensor, "p c o"]:
    """Return the spectrum of a kernel on the CPU, as :func:`spectral_convolution` takes it.

    Args:
        weight: kernel of a convolution, k odd.
        grid: h and w of the states.
    """
    o, c, k, _ = weight.shape
    first, second = (axis(side, k, weight.dtype) for axis, side in zip((_first_axis, _second_axis), grid, strict=True))
    rows = first.kernel @ weight.permute(2, 3, 1, 0).reshape(k, k * c * o)
    return _each(second.kernel, rows.view(-1, 2 * k, c * o)).view(-1, c, o)


def spectral_convolution(
    x: Float[Tensor, "b c h w"], spectrum: Float[Tensor, "p c o"], kernel_size: int
) -> Float[Tensor, "b o h w"]:
    """Return the stride-1 convolution with zero padding k // 2, without bias.

    Args:
        x: states, on the CPU.
        spectrum: :func:`kernel_spectrum` for the grid of ``x``.
        kernel_size: k, odd.
    """
    return _Convolution.apply(x, spectrum, kernel_size)


def applies(x: Tensor) -> bool:
    """Return whether such states may be convolved here: float32 on a CPU, no autocast, not :func:`as_published`.

    Transforms of ``torch.func`` and forward-mode differentiation take the direct convolution.
    """
    fits = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return fits and not (rounds_as_published("convolution") or plain_operations_only())


def is_faster(shape: torch.Size, kernel_size: int) -> bool:
    """Return whether the Fourier domain is clearly faster on a CPU, by counted multiplications.

    The direct convolution has b h w k^2 c^2. Here p products of b c^2 remain, the transforms, and the work of reading
    and writing the kernel's spectrum. Half as many multiplications were faster in timings of one core, batches of 1 to
    64, 8 to 256 channels, kernels of 3 to 9 sites on grids of 4 to 64.

    Args:
        shape: b, c, h, w of the states.
        kernel_size: k.
    """
    b, c, h, w = shape
    n, m = h + kernel_size // 2, w + kernel_size // 2
    r = n // 2 + 1
    products = 3 * r * m
    transforms = 2 * (2 * r * h * w + products * 2 * w)
    here = b * c * (products * c + transforms) + _WORD * products * c**2
    return b * h * w * kernel_size**2 * c**2 >= 2 * here
