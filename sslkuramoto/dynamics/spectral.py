"""Convolution with large kernels through the Fourier domain: faster than the direct sum for training on a CPU.

A k x k convolution with zero padding is a product of n x n discrete Fourier transforms, n = grid + k - 1, cropped. The
transform of the kernel is shared by all steps of a layer. Equal to the direct convolution up to rounding (1e-6 of the
largest value in float32), differentiable to any order.

Shapes: b batch, c channels in, o channels out, h side of the grid, k kernel size, n transform size,
f = n (n // 2 + 1) frequencies.
"""

from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor


@lru_cache(maxsize=32)
def _transform(k: int, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return real and imaginary part of the map from a k x k kernel, flipped, to its n x n spectrum ("f k*k")."""
    unit = torch.eye(k * k, dtype=torch.float64).view(k * k, k, k)
    spectrum = torch.fft.rfft2(unit.flip(1, 2), s=(n, n)).flatten(1).T
    return spectrum.real.to(dtype).contiguous(), spectrum.imag.to(dtype).contiguous()


def kernel_spectrum(weight: Float[Tensor, "o c k k"], n: int) -> Complex[Tensor, "f c o"]:
    """Return the spectrum of a convolution kernel, for :func:`spectral_convolution` on grids of side n - k + 1."""
    o, c, k, _ = weight.shape
    real, imaginary = _transform(k, n, weight.dtype)
    kernels = weight.permute(1, 0, 2, 3).reshape(c * o, k * k).T  # few numbers each: a product beats an FFT
    return torch.complex(real @ kernels, imaginary @ kernels).view(-1, c, o)


def spectral_convolution(
    x: Float[Tensor, "b c h h"], spectrum: Complex[Tensor, "f c o"], kernel_size: int
) -> Float[Tensor, "b o h h"]:
    """Return the stride-1 convolution of a square grid with zero padding k // 2, without bias."""
    side, half = x.shape[-1], kernel_size // 2
    n = side + kernel_size - 1
    transformed = torch.fft.rfft2(x, s=(n, n))
    product = torch.bmm(transformed.flatten(2).permute(2, 0, 1), spectrum)
    back = torch.fft.irfft2(product.permute(1, 2, 0).unflatten(2, transformed.shape[2:]), s=(n, n))
    return back[:, :, half : half + side, half : half + side]
