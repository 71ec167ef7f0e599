"""The Kuramoto layer: T Kuramoto steps of the oscillators x under a constant stimulus c.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), section 4. Shapes: b batch, c channels, h w grid, t Kuramoto steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AnyCoupling
from sslkuramoto.dynamics.energy import energy, energy_code
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies, kuramoto_step, residual_step
from sslkuramoto.dynamics.sphere import normalise
from sslkuramoto.dynamics.steps import Recomputing
from sslkuramoto.errors import UserError

StimulusNorm = Literal["group", "scale_bias", "none"]
Update = Literal["kuramoto", "residual"]
_GROUPS = 8


class LayerTrace(NamedTuple):
    """States and energies of one layer over its Kuramoto steps.

    Attributes:
        states: unit oscillators after each step; none of them (t = 0) if the energies only were recorded.
        energy: E of Eq. 3, before the first step and after each step: t + 1 values per image.
        energy_code: what the published code logs: a zero, then -<x, J x + c> before each step.
    """

    states: Float[Tensor, "t b c h w"]
    energy: Float[Tensor, "t+1 b"]
    energy_code: Float[Tensor, "t+1 b"]


Trace = bool | Literal["energy"]
"""What of a pass is recorded: nothing, states and energies, or the energies only, which need no memory for states."""


class ScaleBias(nn.Module):
    """Multiply each channel by a learned factor and add a learned offset."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, c: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return weight * c + bias."""
        return c * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm with 8 groups, as Winfree networks have it, and here AKOrN's twin ItrConv.

    Raises:
        UserError: the groups do not divide the channels.
    """
    if channels % _GROUPS:
        raise UserError(f"channels={channels}: GroupNorm has {_GROUPS} groups, which do not divide it")
    return nn.GroupNorm(_GROUPS, channels)


def stimulus_norm(kind: StimulusNorm, channels: int, oscillator_dim: int) -> nn.Module:
    """Return the module that normalises the stimulus c at the entry of a layer.

    Args:
        kind: ``"group"`` is GroupNorm with one group per oscillator, over its n h w values. ``"scale_bias"`` is
            :class:`ScaleBias`, ``"none"`` the identity.
        channels: c, number of channels.
        oscillator_dim: n, dimension of an oscillator.
    """
    if kind == "group":
        return nn.GroupNorm(channels // oscillator_dim, channels)
    return ScaleBias(channels) if kind == "scale_bias" else nn.Identity()


class KuramotoLayer(Recomputing):
    """A recurrent layer that iterates the Kuramoto step with its coupling, frequencies and stimulus.

    Args:
        coupling: maps states "b c h w" to J x of the same shape.
        channels: c, number of channels, divisible by ``oscillator_dim``.
        oscillator_dim: n, dimension of an oscillator, >= 1; even if there are natural frequencies, which rotate planes.
        frequencies: the natural frequencies, or None for zero.
        norm: how the stimulus is normalised on entry, see :func:`stimulus_norm`.
        project: whether the drive is projected onto the tangent space.
        identity: whether x itself is added to each velocity, see :func:`~sslkuramoto.dynamics.kuramoto.kuramoto_step`.
        update: ``"kuramoto"``, or ``"residual"``: the step without projection and normalisation, see
            :func:`~sslkuramoto.dynamics.kuramoto.residual_step`. States then have any length.

    Attributes:
        advance: computes one step, :func:`~sslkuramoto.dynamics.kuramoto.kuramoto_step` or ``residual_step``.
            :mod:`~sslkuramoto.dynamics.surrogate` replaces the former temporarily by one with another derivative.

    Raises:
        UserError: ``oscillator_dim`` does not divide ``channels``, is odd with natural frequencies, or is 1 with a
            projection (the sphere is then two points, and nothing moves).

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 4-5.

    Example:
        Oscillators that attract each other (positive couplings, no stimulus) synchronise.

        >>> import torch
        >>> from sslkuramoto.dynamics.coupling import ConvCoupling
        >>> from sslkuramoto.dynamics.sphere import random_oscillators
        >>> coupling = ConvCoupling(2, 3)
        >>> _ = torch.nn.init.zeros_(coupling.bias)
        >>> _ = torch.nn.init.zeros_(coupling.weight)
        >>> coupling.weight.data[0, 0] = coupling.weight.data[1, 1] = 1.0  # x attracts x, y attracts y
        >>> layer = KuramotoLayer(
        ...     coupling, channels=2, oscillator_dim=2, frequencies=None, norm="none", project=True
        ... )
        >>> x = random_oscillators((1, 2, 8, 8), torch.Generator().manual_seed(0))
        >>> _, trace = layer(x, None, step_size=torch.tensor(0.2), num_steps=20, trace=True)
        >>> tuple(trace.states.shape)
        (20, 1, 2, 8, 8)
        >>> order = trace.states.mean(dim=(3, 4)).norm(dim=2).flatten()  # 1: all oscillators are in phase
        >>> bool(order[0] < 0.5 < 0.8 < order[-1])
        True
        >>> bool((trace.energy.diff(dim=0) <= 0).all())  # the energy never rises
        True
    """

    def __init__(
        self,
        coupling: AnyCoupling,
        *,
        channels: int,
        oscillator_dim: int,
        frequencies: NaturalFrequencies | None,
        norm: StimulusNorm,
        project: bool,
        identity: bool = False,
        update: Update = "kuramoto",
    ) -> None:
        super().__init__()
        if oscillator_dim == 1 and update == "kuramoto" and project:
            raise UserError("oscillator_dim=1: needs project=false (a unit vector of one dimension cannot turn)")
        if channels % oscillator_dim:
            raise UserError(f"channels={channels}: must be divisible by oscillator_dim={oscillator_dim}")
        if frequencies is not None and oscillator_dim % 2:
            raise UserError(f"oscillator_dim={oscillator_dim}: must be even with natural frequencies (planes of two)")
        self.coupling = coupling
        self.frequencies = frequencies
        self.norm = stimulus_norm(norm, channels, oscillator_dim)
        self.oscillator_dim = oscillator_dim
        self.project = project
        self.identity = identity
        self.update: Update = update
        self.advance: Callable[..., Tensor] = kuramoto_step if update == "kuramoto" else residual_step

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        stimulus: Float[Tensor, "b c h w"] | None,
        *,
        step_size: Tensor,
        num_steps: int,
        trace: Trace = False,
    ) -> tuple[Float[Tensor, "b c h w"], LayerTrace | None]:
        """Run the Kuramoto steps of the layer.

        Args:
            x: initial oscillators of any length; they are normalised on entry.
            stimulus: c, normalised on entry; None for no stimulus.
            step_size: gamma > 0, shape ().
            num_steps: number of Kuramoto steps, >= 1.
            trace: whether to record states and energies, or ``"energy"``: the energies only.

        Returns:
            The last state, unit oscillators of the shape of ``x``; and the trace, None unless it was requested.
        """
        x = normalise(x, self.oscillator_dim)
        stimulus = None if stimulus is None else self.norm(stimulus)
        omega = None if self.frequencies is None else self.frequencies()
        couple = self.prepared(self.coupling, x)
        advance = partial(
            self.advance,
            omega=omega,
            step_size=step_size,
            oscillator_dim=self.oscillator_dim,
            project=self.project,
            identity=self.identity,
        )

        def moved(x: Tensor, coupled: Tensor) -> Tensor:
            return advance(x, coupled if stimulus is None else coupled + stimulus)

        if not trace:
            return self.iterate(lambda x: moved(x, couple(x)), x, num_steps), None
        states, energies, energies_code = [], [], [x.new_zeros(x.shape[0])]
        zero = torch.zeros_like(x) if stimulus is None else stimulus
        for _ in range(num_steps):
            coupled = couple(x)
            energies.append(energy(x, coupled, zero))
            energies_code.append(energy_code(x, coupled, zero))
            x = moved(x, coupled)
            if trace is True:
                states.append(x)
        energies.append(energy(x, couple(x), zero))
        kept = torch.stack(states) if states else x.new_empty((0, *x.shape))
        return x, LayerTrace(kept, torch.stack(energies), torch.stack(energies_code))
