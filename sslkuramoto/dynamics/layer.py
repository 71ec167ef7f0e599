"""The Kuramoto layer: T steps of oscillators x under a stimulus c that does not change.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), section 4. Shapes: b batch, c channels, h w grid, t steps.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AttentionCoupling, ConvCoupling
from sslkuramoto.dynamics.energy import energy, energy_code
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies, kuramoto_step
from sslkuramoto.dynamics.sphere import normalise
from sslkuramoto.errors import UserError

StimulusNorm = Literal["group", "scale_bias", "none"]


class LayerTrace(NamedTuple):
    """What the oscillators of one layer did.

    Attributes:
        states: oscillators after each step.
        energy: E of the paper before the first step and after each (t + 1 values an image).
        energy_code: as the published code logs it: a dummy 0, then -<x, J x + c> before each step.
    """

    states: Float[Tensor, "t b c h w"]
    energy: Float[Tensor, "t+1 b"]
    energy_code: Float[Tensor, "t+1 b"]


class ScaleBias(nn.Module):
    """One learned factor and one learned offset a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, c: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return weight * c + bias."""
        return c * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def stimulus_norm(kind: StimulusNorm, channels: int, oscillator_dim: int) -> nn.Module:
    """Return the norm that c passes once a layer: GroupNorm with one group an oscillator channel, or less."""
    if kind == "group":
        return nn.GroupNorm(channels // oscillator_dim, channels)
    return ScaleBias(channels) if kind == "scale_bias" else nn.Identity()


class KuramotoLayer(nn.Module):
    """Couplings, natural frequencies and the norm of the stimulus, iterated.

    Args:
        coupling: maps states "b c h w" to J x of the same shape.
        channels: c, divisible by ``oscillator_dim``.
        oscillator_dim: n >= 2; even when there are natural frequencies (they rotate planes).
        frequencies: the natural frequencies, or None for zero.
        identity: add x itself to each update (:func:`~sslkuramoto.dynamics.kuramoto.kuramoto_step`).
        norm: of the stimulus; ``"group"`` normalises each oscillator channel over its n h w values.
        project: whether the drive is projected on the tangent space.

    Attributes:
        advance: one step, :func:`~sslkuramoto.dynamics.kuramoto.kuramoto_step`; :mod:`~sslkuramoto.dynamics.surrogate`
            puts one with another derivative in its place for a while.
    """

    def __init__(
        self,
        coupling: ConvCoupling | AttentionCoupling,
        *,
        channels: int,
        oscillator_dim: int,
        frequencies: NaturalFrequencies | None,
        norm: StimulusNorm,
        project: bool,
        identity: bool = False,
    ) -> None:
        super().__init__()
        if oscillator_dim < 2:
            raise UserError(
                f"oscillator_dim={oscillator_dim}: must be >= 2 (a unit vector of one dimension cannot move)"
            )
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
        self.advance: Callable[..., Tensor] = kuramoto_step

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        stimulus: Float[Tensor, "b c h w"] | None,
        *,
        step_size: Tensor,
        num_steps: int,
        trace: bool = False,
    ) -> tuple[Float[Tensor, "b c h w"], LayerTrace | None]:
        """Run ``num_steps`` steps from x (normalised on entry) under the stimulus (None: no stimulus).

        Returns:
            The last state, and the trace when asked for.
        """
        x = normalise(x, self.oscillator_dim)
        stimulus = None if stimulus is None else self.norm(stimulus)
        omega = None if self.frequencies is None else self.frequencies()
        states, energies, energies_code = [], [], [x.new_zeros(x.shape[0])]
        zero = torch.zeros_like(x) if stimulus is None else stimulus
        couple = self.coupling.prepared(x)
        for _ in range(num_steps):
            coupled = couple(x)
            if trace:
                energies.append(energy(x, coupled, zero))
                energies_code.append(energy_code(x, coupled, zero))
            drive = coupled if stimulus is None else coupled + stimulus
            x = self.advance(
                x,
                drive,
                omega=omega,
                step_size=step_size,
                oscillator_dim=self.oscillator_dim,
                project=self.project,
                identity=self.identity,
            )
            states.append(x)
        if not trace:
            return x, None
        energies.append(energy(x, couple(x), zero))
        return x, LayerTrace(torch.stack(states), torch.stack(energies), torch.stack(energies_code))
