"""The readout from oscillators to the next stimulus: m_k = |sum_i U_ki x_i|, then g(m).

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), Eq. 6. Shapes: b batch, c channels, k outputs, r dimension of the vectors
whose length is taken, h w grid.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.sphere import norm
from sslkuramoto.dynamics.steps import Recomputing
from sslkuramoto.errors import UserError

ReadoutMap = Literal["residual", "single", "identity"]
MapNorm = Literal["batch", "group", "none"]

_GROUPS = 8  # number of groups of GroupNorm, as in the published code


class NormReadout(nn.Module):
    """A convolution U to a vector of dimension r per output channel, whose length is the output, plus a learned offset.

    Args:
        in_channels: c, number of input channels.
        out_channels: k, number of output channels.
        dim: r, dimension of the vectors U x whose length is taken, >= 1.
        kernel_size: side of the kernel U in sites, odd.
        take_norm: whether the length is taken. False gives a plain convolution, the ablation "no m" of AKOrN fig. 18.

    Raises:
        UserError: ``dim`` or ``kernel_size`` is out of range.

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 6.

    Differs: U has a bias and m a learned offset, as in the published code; Eq. 6 has neither. Only without them, and
        with a U that commutes with rotations, is m invariant to a common phase of all oscillators.
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
        """Return m plus the offset, "b k h w"."""
        z = self.project(x)
        return z if self.offset is None else norm(z, self.dim) + self.offset.view(-1, 1, 1)


def _norm_relu_conv(channels: int, kernel_size: int, norm: MapNorm) -> nn.Sequential:
    if norm == "group" and channels % _GROUPS:
        raise UserError(f"readout_map_norm=group: has {_GROUPS} groups, which do not divide {channels} channels")
    first = {"batch": nn.BatchNorm2d, "group": lambda c: nn.GroupNorm(_GROUPS, c), "none": lambda _: nn.Identity()}
    conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)
    return nn.Sequential(first[norm](channels), nn.ReLU(inplace=norm != "none"), conv)


class ResidualMap(nn.Module):
    """The map g of the published classification network: g(m) = B(m + B(B(m))), where B is norm, ReLU, convolution.

    The three B have weights of their own. The g of the paper is a single B, see :func:`readout_map`.
    """

    def __init__(self, channels: int, kernel_size: int, norm: MapNorm) -> None:
        super().__init__()
        self.inner = nn.Sequential(*(_norm_relu_conv(channels, kernel_size, norm) for _ in range(2)))
        self.last = _norm_relu_conv(channels, kernel_size, norm)

    def forward(self, m: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        """Return g(m)."""
        return self.last(m + self.inner(m))


def readout_map(kind: ReadoutMap, channels: int, kernel_size: int, norm: MapNorm) -> nn.Module:
    """Return the map g: :class:`ResidualMap` (published code), one norm, ReLU and convolution (paper), or the identity.

    Args:
        kind: ``"residual"``, ``"single"`` or ``"identity"``.
        channels: k, number of channels of m and of g(m).
        kernel_size: side of each convolution's kernel in sites, odd.
        norm: ``"batch"``, ``"group"`` (8 groups) or ``"none"``.

    Raises:
        UserError: the groups do not divide the channels.
    """
    if kind == "residual":
        return ResidualMap(channels, kernel_size, norm)
    return _norm_relu_conv(channels, kernel_size, norm) if kind == "single" else nn.Identity()


class Readout(nn.Sequential, Recomputing):
    """:class:`NormReadout` followed by g (:func:`readout_map`); all their convolutions have the same kernel size."""

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

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Return g(m)."""
        return self.computed(super().forward, x)
