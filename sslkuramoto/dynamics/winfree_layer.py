"""The Winfree layer, T Winfree steps of phases with constant frequencies, and what stands between two such layers.

"Winfree Oscillatory Neural Network" (WONN, arXiv 2605.20922), Eq. 5-8; the published code. Shapes: b batch, c channels,
h w grid, u v grid of groups, t steps.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AnyCoupling
from sslkuramoto.dynamics.layer import LayerTrace, Trace, group_norm
from sslkuramoto.dynamics.steps import Recomputing
from sslkuramoto.dynamics.winfree import (
    at_least_single,
    group_grid,
    interaction_energy,
    interaction_energy_code,
    on_circle,
    spread,
    winfree_step,
    wrap,
)
from sslkuramoto.errors import UserError


class WinfreeLayer(Recomputing):
    """A recurrent layer that iterates the Winfree step with its coupling, sensitivity and influence.

    Args:
        coupling: maps influences "b c u v" to c i of the same shape.
        channels: c, divisible by 8 if ``rectify``.
        group_size: N, side of the groups that share one influence and one field.
        sensitivity: S, from phases to numbers of the same shape.
        influence: I, from phases to one number a group.
        rectify: whether the field is ReLU(GroupNorm(c i)), as in the published code, or c i itself.

    Attributes:
        rectifier: ReLU, or the identity. :mod:`~sslkuramoto.dynamics.winfree_surrogate` replaces it temporarily by one
            with another derivative, and so ``advance``, which computes one step.

    Raises:
        UserError: GroupNorm's 8 groups do not divide the channels.

    Source: WONN (arXiv 2605.20922), Eq. 5 and 6.

    Differs: Eq. 5 has the field c i; the published code normalises and rectifies it (``rectify=True``), so it is never
        negative.

    Example:
        Without frequencies, with a symmetric coupling and the field of Eq. 5, the energy falls.

        >>> import torch
        >>> from sslkuramoto.dynamics.coupling import SymmetricConvCoupling
        >>> from sslkuramoto.dynamics.winfree import Cosine, SineInfluence, angles
        >>> coupling = SymmetricConvCoupling(2, 3)
        >>> layer = WinfreeLayer(
        ...     coupling, channels=2, group_size=1, sensitivity=Cosine(), influence=SineInfluence(1), rectify=False
        ... )
        >>> theta = torch.randn((1, 2, 8, 8), generator=torch.Generator().manual_seed(0))
        >>> last, trace = layer(theta, None, step_size=torch.tensor(0.1), num_steps=20, trace=True)
        >>> tuple(trace.states.shape)  # unit vectors: two channels for each phase
        (20, 1, 4, 8, 8)
        >>> bool((trace.energy.diff(dim=0) <= 0).all()), torch.allclose(angles(trace.states[-1]), last)
        (True, True)
    """

    def __init__(
        self,
        coupling: AnyCoupling,
        *,
        channels: int,
        group_size: int,
        sensitivity: nn.Module,
        influence: nn.Module,
        rectify: bool = True,
    ) -> None:
        super().__init__()
        self.coupling = coupling
        self.group_size = group_size
        self.sensitivity = sensitivity
        self.influence = influence
        self.rectify = rectify
        self.norm = group_norm(channels) if rectify else nn.Identity()
        self.rectifier: nn.Module = nn.ReLU() if rectify else nn.Identity()
        self.advance: Callable[..., Tensor] = winfree_step

    def forward(
        self,
        theta: Float[Tensor, "b c h w"],
        omega: Float[Tensor, "b c h w"] | None,
        *,
        step_size: Tensor,
        num_steps: int,
        trace: Trace = False,
    ) -> tuple[Float[Tensor, "b c h w"], LayerTrace | None]:
        """Run the Winfree steps of the layer.

        Args:
            theta: initial phases in radians, wrapped on entry and kept in float32 at least.
            omega: natural frequencies in radians per unit step; None for zero.
            step_size: gamma > 0, shape ().
            num_steps: number of Winfree steps, >= 1.
            trace: whether to record states and energies, or ``"energy"``: the energies only.

        Returns:
            The last phases, in (-pi, pi]; and the trace, None unless it was requested. Its states are the unit vectors
            (cos theta, sin theta), two consecutive channels for each phase.

        Raises:
            UserError: the group is larger than the grid.
        """
        grid = (theta.shape[2], theta.shape[3])
        if self.group_size > min(grid):
            raise UserError(f"group_size={self.group_size}: is larger than the grid of {grid[0]} x {grid[1]} sites")
        theta = wrap(at_least_single(theta))
        couple = self.prepared(self.coupling, theta.new_empty((*theta.shape[:2], *group_grid(grid, self.group_size))))
        advance = partial(self.advance, omega=omega, sensitivity=self.sensitivity, step_size=step_size)

        def moved(theta: Tensor, influence: Tensor) -> tuple[Tensor, Tensor]:
            field = self.rectified(couple(influence))
            return advance(theta, spread(field, self.group_size, grid)), field

        if not trace:
            return self.iterate(lambda theta: moved(theta, self.influence(theta))[0], theta, num_steps), None
        states, energies, energies_code = [], [], [theta.new_zeros(theta.shape[0])]
        for _ in range(num_steps):
            influence = self.influence(theta)
            theta, field = moved(theta, influence)
            energies.append(interaction_energy(influence, field))
            energies_code.append(interaction_energy_code(influence, field))
            if trace is True:
                states.append(on_circle(theta))
        influence = self.influence(theta)
        energies.append(interaction_energy(influence, self.rectified(couple(influence))))
        b, c, h, w = theta.shape
        kept = torch.stack(states) if states else theta.new_empty((0, b, 2 * c, h, w))
        return theta, LayerTrace(kept, torch.stack(energies), torch.stack(energies_code))

    def rectified(self, coupled: Float[Tensor, "b c u v"]) -> Float[Tensor, "b c u v"]:
        """Return the field that the coupled influences give."""
        return self.rectifier(self.norm(coupled))


class PhaseEmbedding(nn.Conv2d):
    """A learned number for each phase: linear in (cos theta, sin theta), with bias, other weights in each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(2 * channels, channels, 1, groups=channels)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the embedding of phases."""
        return super().forward(on_circle(input))


class PhaseTransition(nn.Conv2d):
    """The phases of the next layer, theta' = atan2(W * sin theta, W * cos theta): the angle of W * exp(i theta).

    Without bias it commutes with a rotation of all phases by one angle.

    Args:
        channels: of the layer before.
        out_channels: of the next one.
        bias: whether a learned constant is added to both parts.

    Source: WONN (arXiv 2605.20922), Eq. 8.

    Differs: the published code first divides both parts by sqrt(u^2 + v^2 + 1e-6), which changes no angle.
    """

    def __init__(self, channels: int, out_channels: int, bias: bool = False) -> None:
        super().__init__(channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return the phases of the next layer, in (-pi, pi]."""
        sine, cosine = super().forward(input.sin()), super().forward(input.cos())
        return torch.atan2(at_least_single(sine), at_least_single(cosine))


class FrequencyTransition(nn.Module):
    """The natural frequencies of the next layer, from phases and frequencies: ReLU(BatchNorm(conv[emb(theta), omega])).

    Args:
        channels: of the layer before.
        out_channels: of the next one.

    Source: WONN (arXiv 2605.20922), Eq. 7 (the learnable mapping of the frequency update).
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.embedding = PhaseEmbedding(channels)
        self.fusion = nn.Sequential(
            nn.Conv2d(2 * channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()
        )

    def forward(self, theta: Float[Tensor, "b c h w"], omega: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return the frequencies of the next layer, >= 0."""
        return self.fusion(torch.cat([self.embedding(theta), omega], dim=1))
