"""The angle by which the oscillators of each layer turn in each Kuramoto step.

An oscillator turns by the angle arctan(|gamma F|), F its total force in the tangent space (Miyato et al. 2025,
2410.13821, Eq. 4-5). For n = 2 the derivative of a step with respect to the drive is gamma / (1 + gamma^2 F^2). If
|gamma F| is large the step saturates: its gradient nearly vanishes, while its output still depends on the sign.

The angle is computed from the states, so |gamma F| = tan(angle) is the effective force, also without projection or with
the identity term of the published code. With projection the angle also gives the singular values of the step's Jacobian
with respect to the drive, through which the image acts. Relative to those at rest they are cos^2 along the force and
cos perpendicular to it (for n = 2 there is no perpendicular direction).

Two things shrink the gradient of a Winfree step (docs/methods/winfree.md): the rectifier, where it closes a field f,
and locking: a step passes the gradient of its phases on times 1 + gamma S'(theta) f. Measured are the share of groups
whose field is open and, where it is, f and the size of this factor.

Shapes: b batch, c channels (c = m n), n oscillator dimension, h w grid, y x pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sslkuramoto.dynamics.sphere import normalise
from sslkuramoto.dynamics.surrogate import kuramoto_layers
from sslkuramoto.dynamics.winfree_surrogate import winfree_layers
from sslkuramoto.encoders.features import Encoder

EDGES = [round(-2 + k / 8, 3) for k in range(41)]
"""Bins of log10 of |gamma F|, and of |1 + gamma S'(theta) f|, from 1/100 to 1000.

Values outside are counted in the first and the last bin."""
SATURATED = 3.0
"""|gamma F| from which the gradient of a step is less than a tenth of that at rest, 1 / (1 + 9)."""
CLOSED = 0.1
"""Share of open fields below which the image hardly acts through the fields of a Winfree step."""


@dataclass(frozen=True)
class StepTurns:
    """The rotation of the oscillators in one Kuramoto step.

    Attributes:
        layer: from 1.
        step: from 1.
        median: of |gamma F|.
        saturated: share of oscillators with |gamma F| above ``SATURATED``.
        backwards: share that turned by more than 90 degrees (possible without projection only).
        least, most: median over oscillators of the smallest and the largest singular value of the Jacobian with respect
            to the drive, relative to those at rest; None without projection.
        count: oscillators in each bin of ``EDGES``.
    """

    layer: int
    step: int
    median: float
    saturated: float
    backwards: float
    least: float | None
    most: float | None
    count: list[int]


def turning_angles(before: Float[Tensor, "b c h w"], after: Float[Tensor, "b c h w"], n: int) -> Float[Tensor, " m"]:
    """Return the angle in radians between each oscillator's two states, exact near 0 and 180 degrees."""
    pairs = [x.double().unflatten(1, (-1, n)) for x in (before, after)]
    apart = (pairs[1] - pairs[0]).norm(dim=2)
    together = (pairs[1] + pairs[0]).norm(dim=2)
    return 2 * torch.atan2(apart, together).flatten()


@torch.no_grad()
def step_turns(
    encoder: Encoder, images: Float[Tensor, "b 3 y x"], initial: Float[Tensor, "b c h w"] | None
) -> list[StepTurns]:
    """Return the rotations in every layer and step; empty for an encoder without Kuramoto layers.

    Args:
        encoder: in eval mode.
        images: pixels in [0,1].
        initial: states to start from, for a stochastic encoder.
    """
    layers = kuramoto_layers(encoder)
    if not layers:
        return []
    entered: dict[nn.Module, Tensor] = {}
    left: dict[nn.Module, Tensor] = {}

    def enter(layer: nn.Module, arguments: tuple) -> None:
        entered[layer] = arguments[0]

    def leave(layer: nn.Module, arguments: tuple, output: tuple) -> None:
        left[layer] = output[1].states

    hooks = [layer.register_forward_pre_hook(enter) for layer in layers]
    hooks += [layer.register_forward_hook(leave) for layer in layers]
    _pass_with(hooks, encoder, images, initial, trace=True)

    turns = []
    for number, layer in enumerate(layers, 1):
        n = layer.oscillator_dim
        state = normalise(entered[layer], n)
        for step, after in enumerate(left[layer], 1):
            turns.append(_described(number, step, turning_angles(state, after, n), n, layer.project))
            state = after
    return turns


@dataclass(frozen=True)
class StepFields:
    """The fields of one Winfree step.

    Attributes:
        layer: from 1.
        step: from 1.
        open: share of groups whose field the rectifier lets pass.
        median: of the field f (without gamma) where it is open; 0 where none is.
        passed: median of |1 + gamma S'(theta) f| over the phases whose field is open, the derivative of a phase with
            respect to that before the step at a constant field; 1 where none is, as for every phase of a closed field.
        count: these phases in each bin of ``EDGES``, by that derivative.
    """

    layer: int
    step: int
    open: float
    median: float
    passed: float
    count: list[int]


@torch.no_grad()
def step_fields(
    encoder: Encoder, images: Float[Tensor, "b 3 y x"], initial: Float[Tensor, "b c h w"] | None
) -> list[StepFields]:
    """Return the fields in every layer and step; empty for an encoder without rectified Winfree layers.

    Args:
        encoder: in eval mode.
        images: pixels in [0,1].
        initial: noise of the phases to start from, for a stochastic encoder.
    """
    found: list[StepFields] = []
    layers = [layer for layer in winfree_layers(encoder) if layer.rectify]
    hooks, advances = [], [layer.advance for layer in layers]
    for number, layer in enumerate(layers, 1):
        fields: list[Tensor] = []

        def rectified(_: nn.Module, __: tuple, field: Tensor, fields: list[Tensor] = fields) -> None:
            fields.append(field)

        def advance(
            theta: Tensor,
            field: Tensor,
            *,
            number: int = number,
            fields: list[Tensor] = fields,
            own: Callable[..., Tensor] = layer.advance,
            **options: Any,
        ) -> Tensor:
            is_open = fields[-1] > 0
            passed = passed_on(theta, field, options["sensitivity"], options["step_size"]).abs()[field > 0]
            medians = (fields[-1][is_open].median().item(), passed.median().item()) if is_open.any() else (0.0, 1.0)
            found.append(
                StepFields(number, len(fields), is_open.double().mean().item(), *medians, count=_count(passed))
            )
            return own(theta, field, **options)

        hooks.append(layer.rectifier.register_forward_hook(rectified))
        layer.advance = advance
    try:
        if layers:
            _pass_with(hooks, encoder, images, initial, trace=False)
    finally:
        for layer, own in zip(layers, advances, strict=True):
            layer.advance = own
    return found


def passed_on(
    theta: Float[Tensor, "b c h w"], field: Float[Tensor, "b c h w"], sensitivity: nn.Module, step_size: Tensor
) -> Float[Tensor, "b c h w"]:
    """Return 1 + gamma S'(theta) f, the derivative of a Winfree step with respect to each phase at a constant field.

    A sensitivity maps each phase on its own, so that the gradient of its sum holds S' of every phase.
    """
    with torch.enable_grad():
        phase = theta.detach().requires_grad_()
        (slope,) = torch.autograd.grad(sensitivity(phase).sum(), phase)
    return 1 + step_size * slope * field


def _pass_with(
    hooks: list[RemovableHandle], encoder: Encoder, images: Tensor, initial: Tensor | None, *, trace: bool
) -> None:
    """Make one pass and remove the hooks that watched it."""
    try:
        if initial is None:
            encoder(images, trace=trace)
        else:
            encoder(images, initial=initial, trace=trace)
    finally:
        for hook in hooks:
            hook.remove()


def _described(layer: int, step: int, angles: Tensor, n: int, project: bool) -> StepTurns:
    force = torch.tan(angles).abs()
    passed = angles.cos().median().item()  # the square is monotone: the median of the squares is its square
    return StepTurns(
        layer,
        step,
        force.median().item(),
        (force > SATURATED).double().mean().item(),
        (angles > math.pi / 2).double().mean().item(),
        passed**2 if project else None,
        (passed if n > 2 else passed**2) if project else None,
        _count(force),
    )


def _count(values: Tensor) -> list[int]:
    """Return how many values are in each bin of ``EDGES``."""
    places = (values.double().clamp_min(1e-300).log10() - EDGES[0]) * 8
    bins = places.floor().clamp(0, len(EDGES) - 2).long()
    return torch.bincount(bins.flatten(), minlength=len(EDGES) - 1).tolist()
