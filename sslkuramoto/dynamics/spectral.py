"""Convolution with large kernels in the Fourier domain, which trains faster on a CPU than the direct convolution.

The method is overlap-save. The grid is cut into square tiles of side t; a tile and its surroundings form a window of
side n = t + k - 1. The windows' n x n Fourier transforms are multiplied with that of the kernel, and each product is
valid on its tile. All steps of a layer share the transform of the kernel. The result equals the direct convolution up
to rounding (1e-6 of the largest value in float32) and is differentiable to any order.

Shapes: b batch, c channels in, o channels out, h side of the grid, k kernel size, n transform size, m windows,
f = n (n // 2 + 1) frequencies, i = 2 c, j = 2 o (real and imaginary parts).
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


@lru_cache(maxsize=32)
def _transform(k: int, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the real and imaginary parts, "f k*k", of the map from a flipped k x k kernel to its n x n spectrum."""
    unit = torch.eye(k * k, dtype=torch.float64).view(k * k, k, k)
    spectrum = torch.fft.rfft2(unit.flip(1, 2), s=(n, n)).flatten(1).T
    return spectrum.real.to(dtype).contiguous(), spectrum.imag.to(dtype).contiguous()


def kernel_spectrum(weight: Float[Tensor, "o c k k"], n: int) -> Float[Tensor, "f i j"]:
    """Return the spectrum of a kernel, as :func:`spectral_convolution` takes it.

    A complex number is written as the real 2 x 2 block [[re, im], [-im, re]], because real products are faster.

    Args:
        weight: kernel of a convolution.
        n: size of the transform, the side of the tiles plus k - 1.
    """
    o, c, k, _ = weight.shape
    real, imaginary = _transform(k, n, weight.dtype)
    kernels = weight.permute(1, 0, 2, 3).reshape(c * o, k * k).T  # for so few numbers a matrix product beats an FFT
    re, im = (real @ kernels).view(-1, c, o), (imaginary @ kernels).view(-1, c, o)
    return torch.cat([torch.cat([re, im], dim=2), torch.cat([-im, re], dim=2)], dim=1)


def spectral_convolution(
    x: Float[Tensor, "b c h h"], spectrum: Float[Tensor, "f i j"], kernel_size: int, tile: int
) -> Float[Tensor, "b o h h"]:
    """Return the stride-1 convolution of a square grid with zero padding k // 2, without bias.

    Args:
        x: states; the side of the grid is a multiple of ``tile``.
        spectrum: :func:`kernel_spectrum` for n = ``tile`` + k - 1.
        kernel_size: k, odd.
        tile: side of the tiles in sites. Smaller tiles read fewer weights, larger tiles overlap less.
    """
    b, _, side, _ = x.shape
    half, n, starts = kernel_size // 2, tile + kernel_size - 1, range(0, side, tile)
    padded = torch.nn.functional.pad(x, (half,) * 4)
    windows = torch.cat([padded[:, :, top : top + n, left : left + n] for top in starts for left in starts])
    transformed = torch.view_as_real(torch.fft.rfft2(windows))  # m c n n//2+1 2
    by_frequency = transformed.flatten(2, 3).permute(2, 0, 3, 1).flatten(2)  # f m 2c
    product = torch.bmm(by_frequency, spectrum).view(len(spectrum), len(windows), 2, -1)
    back = torch.view_as_complex(product.permute(1, 3, 0, 2).contiguous()).unflatten(2, (n, n // 2 + 1))
    tiles = torch.fft.irfft2(back, s=(n, n))[:, :, kernel_size - 1 :, kernel_size - 1 :]  # the valid part
    rows = tiles.unflatten(0, (len(starts), len(starts), b)).permute(2, 3, 0, 4, 1, 5)  # b o rows t columns t
    return rows.reshape(b, -1, side, side)
