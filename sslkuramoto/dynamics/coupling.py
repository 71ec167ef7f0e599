"""Couplings: modules that map the states x of all oscillators to J x, whose entry i is sum_j J_ij x_j.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), section 4, Eq. 7-8.
Shapes: b batch, c channels, h w grid, e heads, s = h w sites.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.spectral import kernel_spectrum, spectral_convolution
from sslkuramoto.errors import UserError

Couple = Callable[[Tensor], Tensor]
"""Maps states "b c h w" to J x of the same shape."""


class ConvCoupling(nn.Conv2d):
    """A dense k x k convolution with bias. J_ij is an n x n block that depends only on the offset between two sites.

    In training on a CPU in float32, wide layers with large kernels are convolved in the Fourier domain (see
    :meth:`prepared`). Evaluation always uses the direct convolution and so matches the published networks bit for bit.

    Args:
        channels: c, number of channels, >= 1.
        kernel_size: k, side of the kernel in sites, odd. Zero padding of k // 2 preserves the grid.

    Raises:
        UserError: the kernel size is even or below 1.

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 7.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(f"kernel_size={kernel_size}: must be odd and >= 1")
        super().__init__(channels, channels, kernel_size, padding=kernel_size // 2)

    def prepared(self, x: Float[Tensor, "b c h w"]) -> Couple:
        """Return the map that a layer iterates: this module, or an equal convolution in the Fourier domain if faster.

        The thresholds come from timings on two CPU cores. Below them the direct convolution is at least as fast.

        Args:
            x: states whose shape, device and dtype decide between the two.
        """
        assert self.bias is not None
        side, k = x.shape[-1], self.kernel_size[0]
        plain_cpu = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        large = k >= 7 and self.in_channels >= 32 and side >= 16 and side % 2 == 0 and side == x.shape[-2]
        if not (self.training and torch.is_grad_enabled() and plain_cpu and large):
            return self
        tile = side // 2
        spectrum = kernel_spectrum(self.weight, tile + k - 1)
        bias = self.bias.view(-1, 1, 1)
        return lambda state: spectral_convolution(state, spectrum, k, tile) + bias


class AttentionCoupling(nn.Module):
    """Multi-head self-attention over the sites of the grid, without positional encoding.

    Args:
        channels: c, number of channels, divisible by ``heads``.
        heads: e, number of attention heads, >= 1. Channel i belongs to head i modulo e.

    Raises:
        UserError: ``heads`` is below 1 or does not divide ``channels``.

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 8.

    Differs: scores are scaled by 1 / sqrt(c / e) and both projections have biases. Eq. 8 has neither; the published
        code has both. Its classification networks use no positional encoding either.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise UserError(f"heads={heads}: must divide channels={channels}")
        self.heads = heads
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.Conv2d(channels, channels, 1)

    def prepared(self, x: Float[Tensor, "b c h w"]) -> Couple:
        """Return this module; an attention coupling has nothing to precompute."""
        return self

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return sum_j J_ij(x) x_j, "b c h w"; the attention weights of the state x are J(x)."""
        b, c, h, w = x.shape
        per_head = self.to_qkv(x).view(b, 3, c // self.heads, self.heads, h * w).permute(1, 0, 3, 4, 2)
        query, key, value = per_head.unbind(0)  # each b e s c/e
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return self.to_out(mixed.permute(0, 3, 1, 2).reshape(b, c, h, w))
