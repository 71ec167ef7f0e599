"""Couplings: modules that map the states x of all oscillators to J x, whose entry i is sum_j J_ij x_j.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), section 4, Eq. 7-8.
Shapes: b batch, c channels, h w grid, e heads, s = h w sites.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sslkuramoto.dynamics.binding import PairCoupling
from sslkuramoto.dynamics.position import FixedRotations, Positions, Rotations
from sslkuramoto.dynamics.rounding import rounds_as_published
from sslkuramoto.dynamics.spectral import applies, is_faster, kernel_spectrum, spectral_convolution
from sslkuramoto.dynamics.sphere import forward_mode
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import without_memory

Couple = Callable[[Tensor], Tensor]
"""Maps states "b c h w" to J x of the same shape."""


class ConvCoupling(nn.Conv2d):
    """A dense k x k convolution, with bias unless said otherwise. J_ij is an n x n block that depends on the offset
    between two sites only.

    On a CPU in float32, large kernels are convolved in the Fourier domain where that is faster (see :meth:`prepared`).
    Both convolutions agree up to rounding; :func:`~sslkuramoto.dynamics.rounding.as_published` keeps the direct one.

    Args:
        channels: c, number of channels, >= 1.
        kernel_size: k, side of the kernel in sites, odd. Zero padding of k // 2 preserves the grid.
        bias: whether a learned constant is added to J x.

    Raises:
        UserError: the kernel size is even or below 1.

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 7.
    """

    def __init__(self, channels: int, kernel_size: int, bias: bool = True) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(f"kernel_size={kernel_size}: must be odd and >= 1")
        super().__init__(channels, channels, kernel_size, padding=kernel_size // 2, bias=bias)

    def prepared(self, x: Float[Tensor, "b c h w"]) -> Couple:
        """Return the map that a layer iterates: this module, or an equal convolution in the Fourier domain if faster.

        Args:
            x: states whose shape, device and dtype decide between the two.
        """
        return _convolution(self.weight, self.bias, x) or self


def _convolution(weight: Tensor, bias: Tensor | None, x: Float[Tensor, "b c h w"]) -> Couple | None:
    """Return the convolution in the Fourier domain if it can take such states and is faster."""
    k = weight.shape[-1]
    if not (applies(x) and is_faster(x.shape, k)):
        return None
    spectrum = kernel_spectrum(weight, (x.shape[2], x.shape[3]))
    offset = 0 if bias is None else bias.view(-1, 1, 1)
    return lambda state: spectral_convolution(state, spectrum, k) + offset


class SymmetricConvCoupling(nn.Module):
    """A convolution with J_ij = J_ji^T and no bias: the coupling for which the energy of Eq. 3 never rises.

    The kernel is the symmetric part of a free one, (W + W') / 2, where W' is W with its two channel axes exchanged and
    both offsets negated.

    Args:
        channels: c, number of channels, >= 1.
        kernel_size: k, side of the kernel in sites, odd. Zero padding of k // 2 preserves the grid.

    Raises:
        UserError: the kernel size is even or below 1.

    Source: Miyato et al. 2025 (arXiv 2410.13821), section 3 and appendix F (conditions of the Lyapunov property).
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.free = ConvCoupling(channels, kernel_size).weight

    @property
    def weight(self) -> Float[Tensor, "c c k k"]:
        """The symmetric kernel."""
        return (self.free + self.free.transpose(0, 1).flip(2, 3)) / 2

    def prepared(self, x: Float[Tensor, "b c h w"]) -> Couple:
        """Return the convolution with the kernel as it is now, in the Fourier domain as in :class:`ConvCoupling`."""
        kernel, padding = self.weight, self.free.shape[-1] // 2
        direct = partial(nn.functional.conv2d, weight=kernel, padding=padding)
        return _convolution(kernel, None, x) or direct

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return J x."""
        return self.prepared(x)(x)


class DenseCoupling(nn.Module):
    """Every channel of every site coupled with every other, J = J^T, no bias; for one size of grid.

    Args:
        channels: c, number of channels, >= 1.
        grid: h and w of the grid.

    Source: Miyato et al. 2025 (arXiv 2410.13821), section 3 and appendix F, in the general case.
    """

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        size = channels * grid[0] * grid[1]
        self.free = nn.Parameter(torch.empty(size, size) if without_memory() else torch.randn(size, size) / size**0.5)

    @property
    def weight(self) -> Float[Tensor, "n n"]:
        """The symmetric matrix J over all channels of all sites."""
        return (self.free + self.free.T) / 2

    def prepared(self, x: Float[Tensor, "b c h w"]) -> Couple:
        """Return the product with J as it is now.

        Raises:
            UserError: the grid of ``x`` is another one.
        """
        if tuple(x.shape[2:]) != self.grid:
            raise UserError(
                f"a grid of {x.shape[2]} x {x.shape[3]} sites: this dense coupling is for "
                f"{self.grid[0]} x {self.grid[1]}"
            )
        matrix = self.weight
        return lambda state: (state.flatten(1) @ matrix).view(state.shape)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return J x."""
        return self.prepared(x)(x)


class AttentionCoupling(nn.Module):
    """Multi-head self-attention over the sites of the grid.

    Args:
        channels: c, number of channels, divisible by ``heads``.
        heads: e, number of attention heads, >= 1. Channel i belongs to head i modulo e.
        positions: ``"none"``; ``"rope"``, trained rotations of queries and keys; ``"gta"``, of values and outputs too;
            ``"fixed_rope"``, rotations of queries and keys that are not trained, for any grid.
        grid: h and w of the grid that trained rotations are made for, required by them. Another grid gets them by
            bilinear interpolation.
        symmetric: whether queries and keys have the same weight (and rotations) and values a symmetric one, the part
            (W + W^T) / 2 of a free W: the symmetric AKOrN of appendix D.4 and table 19. The attention weights of a
            state are still normalised over j alone, so that the energy may rise.

    Raises:
        UserError: ``heads`` is below 1 or does not divide ``channels``, rotations meet an odd c / e, or fixed ones
            c / e < 4.

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 8 and appendix C.

    Differs: scores are scaled by 1 / sqrt(c / e) and both projections have biases. Eq. 8 has neither; the published
        code has both. Its classification networks use no positions. Of the symmetric version the paper says no more
        than is written above; here biases and the output projection stay as they are.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        positions: Literal["none", "rope", "gta", "fixed_rope"] = "none",
        grid: tuple[int, int] | None = None,
        *,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise UserError(f"heads={heads}: must divide channels={channels}")
        self.heads = heads
        self.symmetric = symmetric
        if symmetric:
            self.to_query, self.to_value = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        else:
            self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.Conv2d(channels, channels, 1)
        self.rotations = nn.ModuleDict()
        if positions == "fixed_rope":
            if channels // heads < 4:
                raise UserError(
                    f"positions=rope: each of the {heads} heads has {channels // heads} of {channels} channels and "
                    "needs 4; choose fewer heads, more channels or positions=none"
                )
            self.rotations.update({name: FixedRotations(channels // heads) for name in ("query", "key")})
        elif positions != "none":
            assert grid is not None
            if channels // heads % 2:
                raise UserError(
                    f"positions={positions}: rotates pairs of channels, and each of the {heads} heads has "
                    f"{channels // heads}, an odd number"
                )
            rotated = ("query", "key") if positions == "rope" else ("query", "key", "value", "output")
            for name in rotated if not symmetric else [name for name in rotated if name != "key"]:
                self.rotations[name] = Rotations(channels // heads, grid, inverse=name == "output")

    def prepared(self, x: Float[Tensor, "b c h w"]) -> Couple:
        """Return the map with the weights in the order of heads: sum_j J_ij(x) x_j, "b c h w", of a state x.

        The channels of a head lie side by side, and so do the first coordinates of its planes, then the second ones.
        """
        b, c, h, w = x.shape
        heads, d = self.heads, c // self.heads
        coordinates = 1 if d % 2 else 2
        weight, bias = self._projection()
        parts = weight.shape[0] // c  # queries, keys (unless they are equal) and values
        weight = weight.view(parts, d // coordinates, coordinates, heads, c).permute(0, 3, 2, 1, 4).reshape(-1, c)
        bias = bias.view(parts, d // coordinates, coordinates, heads).permute(0, 3, 2, 1).flatten()
        out = self.to_out.weight.view(c, d // coordinates, coordinates, heads).permute(0, 3, 2, 1).reshape(c, c)

        def turned(name: str, part: Float[Tensor, "b e s d"]) -> Float[Tensor, "b e s d"]:
            if name not in self.rotations:
                return part
            rotation = self.rotations[name]
            if coordinates == 2:
                planes = part.unflatten(3, (2, d // 2)).transpose(3, 4)
                return rotation(planes, (h, w)).transpose(3, 4).flatten(3)
            planes = part[..., :-1].unflatten(3, (d // 2, 2))
            return torch.cat([rotation(planes, (h, w)).flatten(3), part[..., -1:]], dim=3)

        def couple(state: Tensor) -> Tensor:
            projected = _of_each_site(state.flatten(2), weight, bias).unflatten(1, (parts, heads, d))
            query, *keys, value = projected.transpose(3, 4).unbind(1)  # each b e s d
            query = turned("query", query)
            key = turned("key", keys[0]) if keys else query
            mixed = _attended(query, key, turned("value", value))
            mixed = turned("output", mixed).transpose(2, 3).reshape(b, c, h * w)
            return _of_each_site(mixed, out, _bias(self.to_out)).reshape(b, c, h, w)

        return couple

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return sum_j J_ij(x) x_j, "b c h w"; the attention weights of the state x are J(x)."""
        return self.prepared(x)(x)

    def _projection(self) -> tuple[Tensor, Tensor]:
        """Return weight "3*c c" and bias of queries, keys and values; of queries and values where keys are queries."""
        if not self.symmetric:
            return self.to_qkv.weight.flatten(1), _bias(self.to_qkv)
        free = self.to_value.weight.flatten(1)
        weight = torch.cat([self.to_query.weight.flatten(1), (free + free.T) / 2])
        return weight, torch.cat([_bias(self.to_query), _bias(self.to_value)])


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the values "b e s d" that queries find; in forward mode by the one implementation that has it."""
    with sdpa_kernel(SDPBackend.MATH) if forward_mode() else nullcontext():
        return nn.functional.scaled_dot_product_attention(query, key, value)


def _of_each_site(x: Float[Tensor, "b c s"], weight: Float[Tensor, "o c"], bias: Tensor) -> Float[Tensor, "b o s"]:
    """Return a linear map of every site.

    The channels of a site lie side by side in memory: attention then takes a kernel whose memory is linear in the
    sites. Rounded as published the map is a convolution, and the sites lie side by side.
    """
    if rounds_as_published("attention"):
        return nn.functional.conv2d(x.unsqueeze(3), weight[:, :, None, None], bias).squeeze(3)
    return nn.functional.linear(x.transpose(1, 2).contiguous(), weight, bias).transpose(1, 2)


Coupling = Literal["conv", "attention", "conv_symmetric", "dense_symmetric", "attention_symmetric"]
"""How oscillators act on each other."""
AnyCoupling = ConvCoupling | AttentionCoupling | SymmetricConvCoupling | DenseCoupling | PairCoupling


def coupling_of(
    kind: Coupling,
    channels: int,
    *,
    kernel_size: int,
    heads: int,
    positions: Positions | Literal["fixed_rope"] = "none",
    grid: tuple[int, int] | None = None,
    bias: bool = True,
) -> AnyCoupling:
    """Return a coupling by its name.

    Args:
        kind: ``"conv"`` (:class:`ConvCoupling`), ``"attention"`` (:class:`AttentionCoupling`, and
            ``"attention_symmetric"`` with its symmetric weights), ``"conv_symmetric"`` (:class:`SymmetricConvCoupling`)
            or ``"dense_symmetric"`` (:class:`DenseCoupling`).
        channels: c.
        kernel_size: side of a convolution's kernel in sites.
        heads: number of attention heads.
        positions: ``"rope"`` and ``"gta"`` rotate inside an attention; ``"ape"`` adds to the features elsewhere.
        grid: h and w, required by trained rotations and by ``"dense_symmetric"``.
        bias: of ``"conv"``.

    Raises:
        UserError: a value is out of range.
    """
    if kind in ("attention", "attention_symmetric"):
        inside = "none" if positions == "ape" else positions
        return AttentionCoupling(channels, heads, inside, grid, symmetric=kind == "attention_symmetric")
    if kind == "dense_symmetric":
        if grid is None:
            raise UserError("coupling=dense_symmetric: is for one size of grid; this encoder reads inputs of any size")
        return DenseCoupling(channels, grid)
    return ConvCoupling(channels, kernel_size, bias) if kind == "conv" else SymmetricConvCoupling(channels, kernel_size)
