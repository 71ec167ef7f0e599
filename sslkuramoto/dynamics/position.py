"""Positions of the sites of a grid: tables that are added to the features, and rotations inside the attention.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), appendix C; Su et al. 2024 (RoPE, arXiv 2104.09864); Miyato et al. 2024
(GTA, arXiv 2310.10375). As in AKOrN's published code, all tables are trained: only their first values are these.
Winfree networks rotate by fixed angles instead (:class:`FixedRotations`).
Shapes: b batch, e heads, s = h w sites, d channels per head, p = d / 2 planes, c channels, h w grid.
"""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.dynamics.sphere import plain_operations_only
from sslkuramoto.randomness import without_memory

Positions = Literal["none", "ape", "rope", "gta"]
"""``"ape"``: a table is added to the features; ``"rope"``: queries and keys are rotated; ``"gta"``: values and outputs
too."""

_BASE = 10_000.0  # ratio of the longest to the shortest wavelength


class PositionTable(nn.Module):
    """A trained vector for each site, added to the features (absolute position embedding).

    It begins with sines and cosines of the two coordinates at c / 4 wavelengths.

    Args:
        channels: c, >= 1.
        grid: h and w of the grid that the table is made for. Another grid gets it by bilinear interpolation.
    """

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(channels, *grid) if without_memory() else _waves(channels, grid))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the features plus the vector of each site."""
        return x + _resized(self.table, (x.shape[2], x.shape[3]))


class Rotations(nn.Module):
    """A trained 2 x 2 matrix for each site and each plane of two consecutive channels of a head; all heads share it.

    The matrices begin as rotations by the angle coordinate * 10000^(-j / f), with f = ceil(d / 4) frequencies for each
    of the two coordinates. In training they may become any 2 x 2 matrices.

    Args:
        head_dim: d, channels per head, even.
        grid: h and w of the grid that the matrices are made for. Another grid gets them by bilinear interpolation.
        inverse: whether they begin as the inverse rotations.

    Source: the published AKOrN code (appendix C of the paper names GTA and RoPE).

    Differs: the original RoPE and GTA keep their rotations fixed.
    """

    def __init__(self, head_dim: int, grid: tuple[int, int], inverse: bool = False) -> None:
        super().__init__()
        assert head_dim % 2 == 0
        self.grid = grid
        shape = grid[0] * grid[1], head_dim // 2, 2, 2
        self.matrices = nn.Parameter(torch.empty(shape) if without_memory() else _turns(head_dim, grid, inverse))

    def forward(self, planes: Float[Tensor, "b e s p 2"], grid: tuple[int, int]) -> Float[Tensor, "b e s p 2"]:
        """Return every plane of each site multiplied by its matrix.

        Args:
            planes: queries, keys, values or outputs of all heads.
            grid: h and w of these sites, s = h w.
        """
        matrices = self.matrices
        if grid != self.grid:
            table = matrices.flatten(1).T.reshape(-1, *self.grid)
            matrices = _resized(table, grid).flatten(1).T.reshape(-1, *matrices.shape[1:])
        return _turned(planes, matrices.to(planes.dtype))


class FixedRotations(nn.Module):
    """Rotations of queries and keys by angles that are not trained (RoPE for two coordinates), for any grid.

    Of the first 4 floor(d / 4) channels of a head the first half is rotated by y, the second by x, in planes of two
    consecutive channels; plane j of a coordinate turns by the angle coordinate * 10000^(-2 j / floor(d / 2)). A plane
    that is left over stays as it is.

    Which two channels make a plane is a matter of naming: a network with other pairs is this one with the outputs of
    its queries and keys permuted alike.

    Args:
        head_dim: d, channels per head, >= 4.

    Source: Su et al. 2024 (RoPE, arXiv 2104.09864), Eq. 15, for each of the two coordinates.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        assert head_dim >= 4
        self.planes = head_dim // 4  # of each coordinate
        half = head_dim // 2
        self.scale = [_BASE ** (-2 * plane / half) for plane in range(self.planes)]

    def forward(self, planes: Float[Tensor, "b e s p 2"], grid: tuple[int, int]) -> Float[Tensor, "b e s p 2"]:
        """Return queries or keys of all heads, each site rotated by its angles; ``grid`` is h and w of these sites."""
        scale = torch.tensor(self.scale, device=planes.device)
        coordinates = [axis.to(planes.device) for axis in _coordinates(grid)]
        angle = torch.cat([axis[..., None] * scale for axis in coordinates], dim=-1).flatten(0, 1)
        angle = F.pad(angle, (0, planes.shape[3] - 2 * self.planes))  # planes that are left over do not turn
        return _turned(planes, _matrices(angle).to(planes.dtype))


def _turned(planes: Tensor, matrices: Tensor) -> Tensor:
    turn = _products if plain_operations_only() else _Turn.apply
    return turn(planes, matrices)


class _Turn(torch.autograd.Function):
    """Each plane "b e s p 2" times its matrix "s p 2 2"; the result keeps the two coordinates apart in memory."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, matrices: Tensor) -> Tensor:
        ctx.save_for_backward(planes, matrices)
        return _products(planes, matrices)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        planes, matrices = ctx.saved_tensors
        by_planes = _products(grads[0], matrices.transpose(2, 3)) if ctx.needs_input_grad[0] else None
        by_matrices = None
        if ctx.needs_input_grad[1]:
            gs, xs = grads[0].unbind(-1), planes.unbind(-1)
            rows = [torch.stack([(g * x).sum(dim=(0, 1)) for x in xs], dim=-1) for g in gs]
            by_matrices = torch.stack(rows, dim=-2)
        return by_planes, by_matrices


def _products(planes: Tensor, matrices: Tensor) -> Tensor:
    first, second = planes.unbind(-1)
    rows = matrices.permute(2, 3, 0, 1).contiguous()  # 2 2 s p
    turned = [torch.addcmul(first * row[0], second, row[1]) for row in rows]
    return torch.stack(turned, dim=-2).transpose(-1, -2)


def _waves(channels: int, grid: tuple[int, int]) -> Float[Tensor, "c h w"]:
    wavelengths = _BASE ** -(torch.arange(math.ceil(channels / 4)) / math.ceil(channels / 4))
    angles = [axis[..., None] * wavelengths for axis in _coordinates(grid)]
    waves = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=-1)
    return waves[..., :channels].permute(2, 0, 1).contiguous()


def _turns(head_dim: int, grid: tuple[int, int], inverse: bool) -> Float[Tensor, "s p 2 2"]:
    frequencies = math.ceil(head_dim / 4)
    scale = _BASE ** -(torch.arange(frequencies) / frequencies)
    angles = torch.cat([axis[..., None] * scale for axis in _coordinates(grid)], dim=-1)
    angle = angles.flatten(0, 1)[:, : head_dim // 2] * (-1 if inverse else 1)
    return _matrices(angle)


def _matrices(angle: Float[Tensor, "s p"]) -> Float[Tensor, "s p 2 2"]:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def _coordinates(grid: tuple[int, int]) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in grid), indexing="ij")
    return y, x


def _resized(table: Float[Tensor, "c h w"], grid: tuple[int, int]) -> Tensor:
    if tuple(table.shape[1:]) == grid:
        return table
    return F.interpolate(table.unsqueeze(0), size=grid, mode="bilinear", align_corners=False).squeeze(0)
