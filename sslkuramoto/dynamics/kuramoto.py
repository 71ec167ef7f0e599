"""One Kuramoto step of vector-valued oscillators, forward and backward.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), Eq. 2, 4 and 5:

    y_i   = c_i + sum_j J_ij x_j                      the drive, computed by the caller
    dx_i  = Omega_i x_i + Proj_{x_i}(y_i)             the velocity
    x_i+  = Pi[x_i + gamma dx_i]                      the next state

Omega rotates planes of two consecutive channels, (x0, x1) -> omega (x1, -x0): the angle in a plane decreases at the
rate omega. The step moves along a great circle by the angle arctan(gamma |dx_i|), exactly. For n = 2 and a small gamma
it is the explicit Euler step of the scalar Kuramoto model.

Shapes: b batch, c channels (c = m n), m oscillators per site, n oscillator dimension, h w grid, p = n / 2 planes.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor, is_legacy_batchedtensor

from sslkuramoto.dynamics.sphere import (
    components,
    length,
    normalise,
    plain_operations_only,
    sum_of_products,
    tangent,
)
from sslkuramoto.errors import UserError


def rotate_planes(x: Float[Tensor, "b c h w"], omega: Float[Tensor, "..."]) -> Float[Tensor, "b c h w"]:
    """Return Omega x, the velocity that the natural frequencies give the oscillators.

    Args:
        x: states; c is even.
        omega: natural frequency in radians per unit step: shape () for one shared by all planes, or (c/2,) for one per
            plane of two consecutive channels.
    """
    even, odd = components(x.contiguous(), 2)
    omega = omega.reshape(-1, 1, 1)
    return torch.stack([omega * odd, -omega * even], dim=2).view(x.shape)


def kuramoto_step_by_definition(
    x: Float[Tensor, "b c h w"],
    drive: Float[Tensor, "b c h w"],
    omega: Tensor | None,
    step_size: Tensor,
    n: int,
    project: bool,
    identity: bool = False,
) -> Float[Tensor, "b c h w"]:
    """Return the step in plain differentiable operations, a transcription of Eq. 2, 4 and 5.

    It is the reference that :func:`kuramoto_step` must equal, and gives its second derivatives. Arguments as there;
    ``n`` is ``oscillator_dim``.
    """
    velocity = tangent(x, drive, n) if project else drive
    if omega is not None:
        velocity = velocity + rotate_planes(x, omega)
    if identity:
        velocity = velocity + x
    return normalise(x + step_size * velocity, n)


class _Step(torch.autograd.Function):
    """The same step with few passes over memory and an explicit backward pass.

    With u = x + gamma dx, y the drive, out = u / |u|, and g the gradient with respect to out:

        g_u = (g - <g, out> out) / |u|,   g_y = gamma (g_u - <g_u, x> x),
        g_x = (1 - gamma <x, y>) g_u - gamma <g_u, x> y + gamma Omega^T g_u.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        drive: Tensor,
        omega: Tensor | None,
        step_size: Tensor,
        n: int,
        project: bool,
        identity: bool,
    ) -> Tensor:
        out = torch.empty_like(x)
        xs, ys, us = components(x, n), components(drive, n), components(out, n)
        radial = sum_of_products(xs, ys) if project else None
        for a, b, u in zip(xs, ys, us, strict=True):
            u.copy_(b) if radial is None else torch.sub(b, radial * a, out=u)
        if omega is not None:
            for k, rate in _planes(omega, n):
                us[k].add_(rate * xs[k + 1])
                us[k + 1].sub_(rate * xs[k])
        if identity:
            out.add_(x)
        out.mul_(step_size).add_(x)
        size = length(sum_of_products(us, us))
        for u in us:
            u.div_(size)
        ctx.save_for_backward(x, drive, omega, step_size, out, size, radial)
        ctx.n, ctx.project, ctx.identity = n, project, identity
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, drive, omega, step_size, out, size, radial = ctx.saved_tensors
        # create_graph=True, and gradients that are batched by vmap, take the definition
        batched = is_batchedtensor(grad) or is_legacy_batchedtensor(grad)
        if torch.is_grad_enabled() or batched:
            return _differentiable_backward(ctx, grad, x, drive, omega, step_size)
        n = ctx.n
        needs_x, _, needs_omega, needs_step = ctx.needs_input_grad[:4]
        grad_u = grad.contiguous().clone()
        gs, xs, ys, os = components(grad_u, n), components(x, n), components(drive, n), components(out, n)
        along = _dot(gs, os)
        for g, o in zip(gs, os, strict=True):
            g.addcmul_(along, o, value=-1).div_(size)

        grad_x = grad_omega = grad_step = None
        if needs_step:  # sum <g_u, dx> = sum <g_u, u - x> / gamma, and u = |u| out
            grad_step = (_dot(gs, os) * size - _dot(gs, xs)).sum() / step_size
        if omega is not None and needs_omega:
            planes = [(gs[k] * xs[k + 1] - gs[k + 1] * xs[k]).sum(dim=(0, 2, 3)) for k in range(0, n, 2)]
            per_plane = torch.stack(planes, dim=1).reshape(-1) * step_size
            grad_omega = (per_plane.sum() if omega.numel() == 1 else per_plane).reshape(omega.shape)

        along = _dot(gs, xs)
        grad_drive = torch.empty_like(grad_u)
        for d, g, a in zip(components(grad_drive, n), gs, xs, strict=True):
            d.copy_(g) if radial is None else torch.addcmul(g, along, a, value=-1, out=d)
        grad_drive.mul_(step_size)
        if needs_x:
            grad_x = torch.empty_like(grad_u)
            hs = components(grad_x, n)
            kept = 1 + step_size if ctx.identity else torch.ones_like(step_size)
            if radial is None:
                torch.mul(grad_u, kept, out=grad_x)
            else:
                shrink, along = kept - step_size * radial, along.mul_(step_size)
                for h, g, b in zip(hs, gs, ys, strict=True):
                    torch.mul(g, shrink, out=h).addcmul_(along, b, value=-1)
            if omega is not None:
                for k, rate in _planes(omega * step_size, n):
                    hs[k].addcmul_(gs[k + 1], rate, value=-1)
                    hs[k + 1].addcmul_(gs[k], rate)
        return grad_x, grad_drive, grad_omega, grad_step, None, None, None


def _dot(xs: tuple[Tensor, ...], ys: tuple[Tensor, ...]) -> Tensor:
    total = xs[0] * ys[0]
    for a, b in zip(xs[1:], ys[1:], strict=True):
        total.addcmul_(a, b)
    return total


def _planes(omega: Tensor, n: int) -> list[tuple[int, Tensor]]:
    """Return, for each plane of an oscillator, its first coordinate and its frequency, broadcastable to "b m h w"."""
    if omega.numel() == 1:
        return [(k, omega.reshape(())) for k in range(0, n, 2)]
    return [(2 * p, rate.reshape(-1, 1, 1)) for p, rate in enumerate(omega.view(-1, n // 2).unbind(1))]


def _differentiable_backward(
    ctx: Any, grad: Tensor, x: Tensor, drive: Tensor, omega: Tensor | None, step_size: Tensor
) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[:4]
    with torch.enable_grad():
        # new views: a derivative with respect to x itself would also go through a drive that was computed from it
        x, drive, step_size = (value.view_as(value) for value in (x, drive, step_size))
        omega = None if omega is None else omega.view_as(omega)
        out = kuramoto_step_by_definition(x, drive, omega, step_size, ctx.n, ctx.project, ctx.identity)
    given = zip((x, drive, omega, step_size), needs, strict=True)
    inputs = [value for value, need in given if need and value is not None]
    found = iter(torch.autograd.grad(out, inputs, grad, create_graph=torch.is_grad_enabled()))
    return (*(next(found) if need else None for need in needs), None, None, None)


def kuramoto_step(
    x: Float[Tensor, "b c h w"],
    drive: Float[Tensor, "b c h w"],
    *,
    omega: Tensor | None,
    step_size: Tensor,
    oscillator_dim: int,
    project: bool = True,
    identity: bool = False,
) -> Float[Tensor, "b c h w"]:
    """Advance all oscillators by one Kuramoto step.

    Args:
        x: unit oscillators.
        drive: y_i = c_i + sum_j J_ij x_j, any length.
        omega: natural frequencies in radians per unit step, shape () or (c/2,). None means zero; n may then be odd.
        step_size: gamma > 0, shape ().
        oscillator_dim: n, dimension of an oscillator, >= 1.
        project: whether the drive is projected onto the tangent space. False is the ablation of AKOrN table 5.
        identity: whether x itself is added to the velocity, as the published code does when frequencies are switched
            off. The step then equals one without it and with step size gamma / (1 + gamma), up to rounding.

    Returns:
        Unit oscillators of the same shape.

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 4-5.

    Example:
        An oscillator at angle 0 is driven towards 90 degrees. It turns by ``arctan(gamma |dx|)``, here ``arctan(1)``.

        >>> import torch
        >>> x, drive = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
        >>> moved = kuramoto_step(x, drive, omega=None, step_size=torch.tensor(1.0), oscillator_dim=2).flatten()
        >>> torch.rad2deg(torch.atan2(moved[1], moved[0]))
        tensor(45.)
    """
    x, drive = x.contiguous(), drive.contiguous().to(x.dtype)
    step = kuramoto_step_by_definition if plain_operations_only() else _Step.apply
    return step(x, drive, omega, step_size.to(x.dtype), oscillator_dim, project, identity).to(x.dtype)


def residual_step(
    x: Float[Tensor, "b c h w"],
    drive: Float[Tensor, "b c h w"],
    *,
    omega: Tensor | None,
    step_size: Tensor,
    oscillator_dim: int,
    project: bool = False,
    identity: bool = False,
) -> Float[Tensor, "b c h w"]:
    """Return x + gamma (Omega x + y): the step without projection and without normalisation, the ablation of table 6.

    Arguments as in :func:`kuramoto_step`; ``x`` may have any length, and nothing is projected.

    Source: Miyato et al. 2025 (arXiv 2410.13821), appendix A.2.
    """
    velocity = drive if omega is None else drive + rotate_planes(x, omega)
    return x + step_size * (velocity + x if identity else velocity)


class NaturalFrequencies(nn.Module):
    """Natural frequencies omega >= 0, each parametrised as the length of a learned 2-vector as in the published code.

    Args:
        planes: number of planes of two channels, c / 2, for one frequency per plane. None gives one for the layer.
        initial: omega before training, radians per unit step, >= 0 and finite.
        learn: whether omega is trained.

    Raises:
        UserError: ``initial`` is negative or not finite.

    Differs: at the zero vector the derivative of the length is undefined; it is taken as 0.
    """

    def __init__(self, planes: int | None, initial: float, learn: bool) -> None:
        super().__init__()
        if not 0 <= initial < float("inf"):
            raise UserError(f"frequency_init={initial}: must be >= 0 and finite (the length of a vector)")
        shape = (2,) if planes is None else (planes, 2)
        self.vector = nn.Parameter(torch.full(shape, initial / 2**0.5), requires_grad=learn)

    def forward(self) -> Float[Tensor, "..."]:
        """Return omega in radians per unit step, shape () or (planes,)."""
        return torch.linalg.vector_norm(self.vector, dim=-1)


NaturalFrequency = Literal["none", "shared", "per_pair", "identity"]
"""One frequency per layer, one per two channels, or zero: ``"none"``, and ``"identity"`` as in the published code."""


def frequencies_of(kind: NaturalFrequency, channels: int, initial: float, learn: bool) -> NaturalFrequencies | None:
    """Return the natural frequencies of a layer by their name; None for zero.

    Args:
        kind: ``"shared"``, ``"per_pair"``, ``"none"`` or ``"identity"``.
        channels: c of the layer.
        initial: omega before training, radians per unit step, >= 0 and finite.
        learn: whether omega is trained.

    Raises:
        UserError: ``initial`` is negative or not finite.
    """
    if kind in ("none", "identity"):
        return None
    return NaturalFrequencies(channels // 2 if kind == "per_pair" else None, initial, learn)
