"""From oscillators to the next stimulus: m_k = |sum_i U_ki x_i|, C = g(m).

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), Eq. 6. Shapes: b batch, c channels, k outputs, r dimension of the normed
vectors, h w grid.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.sphere import norm
from sslkuramoto.errors import UserError

ReadoutMap = Literal["residual", "single", "identity"]
MapNorm = Literal["batch", "group", "none"]

_GROUPS = 8  # of "group", as in the published code


class NormReadout(nn.Module):
    """A convolution to r numbers for each output channel, whose length is taken, plus a learned offset.

    Args:
        in_channels: c.
        out_channels: k.
        dim: r, length of the vectors U x whose norm is taken.
        kernel_size: of U, odd.
        take_norm: False replaces the norm by the plain convolution (r = 1), the "no m" ablation of AKOrN fig. 18.

    Differs: U has a bias and m a learned offset, as in the published code; Eq. 6 has neither, and only without them
        (and with U commuting with rotations) is m invariant to a common phase.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dim: int, kernel_size: int, take_norm: bool) -> None:
        super().__init__()
        if dim < 1:
            raise UserError(f"readout_dim={dim}: must be >= 1")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(f"readout_kernel={kernel_size}: must be odd and >= 1")
        self.dim = dim
        self.take_norm = take_norm
        width = out_channels * dim if take_norm else out_channels
        self.project = nn.Conv2d(in_channels, width, kernel_size, padding=kernel_size // 2)
        self.offset = nn.Parameter(torch.zeros(out_channels)) if take_norm else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Return m (+ offset)."""
        z = self.project(x)
        return z if self.offset is None else norm(z, self.dim) + self.offset.view(-1, 1, 1)


def _norm_relu_conv(channels: int, kernel_size: int, norm: MapNorm) -> nn.Sequential:
    if norm == "group" and channels % _GROUPS:
        raise UserError(f"readout_map_norm=group: has {_GROUPS} groups, which do not divide {channels} channels")
    first = {"batch": nn.BatchNorm2d, "group": lambda c: nn.GroupNorm(_GROUPS, c), "none": lambda _: nn.Identity()}
    conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)
    return nn.Sequential(first[norm](channels), nn.ReLU(), conv)


class ResidualMap(nn.Module):
    """g of the published classification network: m + BRC(BRC(m)), then BRC; BRC = norm, ReLU, convolution.

    The paper's g is the single last BRC (:func:`readout_map` with ``"single"``).
    """

    def __init__(self, channels: int, kernel_size: int, norm: MapNorm) -> None:
        super().__init__()
        self.inner = nn.Sequential(*(_norm_relu_conv(channels, kernel_size, norm) for _ in range(2)))
        self.last = _norm_relu_conv(channels, kernel_size, norm)

    def forward(self, m: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        """Return g(m)."""
        return self.last(m + self.inner(m))


def readout_map(kind: ReadoutMap, channels: int, kernel_size: int, norm: MapNorm) -> nn.Module:
    """Return g: ``"residual"`` (published code), ``"single"`` (paper) or ``"identity"``."""
    if kind == "residual":
        return ResidualMap(channels, kernel_size, norm)
    return _norm_relu_conv(channels, kernel_size, norm) if kind == "single" else nn.Identity()


class Readout(nn.Sequential):
    """Norm readout followed by g; their convolutions have one kernel size, as in the published code."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dim: int,
        kernel_size: int,
        take_norm: bool,
        g: ReadoutMap,
        g_norm: MapNorm,
    ) -> None:
        super().__init__(
            NormReadout(in_channels, out_channels, dim=dim, kernel_size=kernel_size, take_norm=take_norm),
            readout_map(g, out_channels, kernel_size, g_norm),
        )
