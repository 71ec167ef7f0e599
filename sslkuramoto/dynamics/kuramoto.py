"""One Kuramoto step of vector oscillators, forward and backward.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), Eq. 2, 4 and 5:

    y   = c_i + sum_j J_ij x_j                        the drive (computed by the caller)
    dx  = Omega_i x_i + Proj_{x_i}(y_i)
    x+  = Pi[x_i + gamma dx_i]

Omega rotates planes of two consecutive channels: (x0, x1) -> omega (x1, -x0), so a plane's angle falls at rate omega.
The step moves along a great circle by arctan(gamma |dx|), exactly; for n = 2 and a small gamma it is the explicit Euler
step of the scalar Kuramoto model.

Shapes: b batch, c channels (c = m n), m oscillators a site, n oscillator dimension, h w grid, p = n / 2 planes.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.sphere import EPS, components, normalise, tangent
from sslkuramoto.errors import UserError


def rotate_planes(x: Float[Tensor, "b c h w"], omega: Float[Tensor, "..."]) -> Float[Tensor, "b c h w"]:
    """Return Omega x for ``omega`` of shape () (one for all) or (c/2,) (one a plane), in radians per unit step."""
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
) -> Float[Tensor, "b c h w"]:
    """The step as the equations read, from plain differentiable operations; :func:`kuramoto_step` must equal it."""
    velocity = tangent(x, drive, n) if project else drive
    if omega is not None:
        velocity = velocity + rotate_planes(x, omega)
    return normalise(x + step_size * velocity, n)


class _Step(torch.autograd.Function):
    """The same step in a few passes over memory, with its derivative written out.

    With u = x + gamma dx, out = u / |u| and incoming gradient g:

        g_u = (g - <g, out> out) / |u|,   g_y = gamma (g_u - <g_u, x> x),
        g_x = (1 - gamma <x, y>) g_u - gamma <g_u, x> y + gamma Omega^T g_u.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, drive: Tensor, omega: Tensor | None, step_size: Tensor, n: int, project: bool
    ) -> Tensor:
        out = torch.empty_like(x)
        xs, ys, us = components(x, n), components(drive, n), components(out, n)
        shrink = None
        if project:
            shrink = xs[0] * ys[0]
            for a, b in zip(xs[1:], ys[1:], strict=True):
                shrink.addcmul_(a, b)
            shrink.mul_(step_size).neg_().add_(1)
        for a, b, u in zip(xs, ys, us, strict=True):
            torch.mul(b, step_size, out=u)
            u.add_(a) if shrink is None else u.addcmul_(a, shrink)
        if omega is not None:
            for plane, rate in enumerate(_plane_rates(omega * step_size, n)):
                us[2 * plane].addcmul_(xs[2 * plane + 1], rate)
                us[2 * plane + 1].addcmul_(xs[2 * plane], rate, value=-1)
        scale = us[0] * us[0]
        for u in us[1:]:
            scale.addcmul_(u, u)
        scale.clamp_(min=EPS**2).rsqrt_()
        for u in us:
            u.mul_(scale)
        ctx.save_for_backward(x, drive, omega, step_size, out, scale, shrink)
        ctx.n, ctx.project = n, project
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, drive, omega, step_size, out, scale, shrink = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the definition
            return _differentiable_backward(ctx, grad, x, drive, omega, step_size)
        n = ctx.n
        grad_u = grad.contiguous().clone()
        gs, xs, ys, os = components(grad_u, n), components(x, n), components(drive, n), components(out, n)
        radial = _dot(gs, os)
        for g, o in zip(gs, os, strict=True):
            g.addcmul_(radial, o, value=-1).mul_(scale)

        grad_omega = grad_step = None
        if ctx.needs_input_grad[3]:  # sum <g_u, dx> = sum <g_u, (u - x)> / gamma, and u = out / scale
            grad_step = (_dot(gs, os) / scale - _dot(gs, xs)).sum() / step_size
        if omega is not None and ctx.needs_input_grad[2]:
            planes = [gs[k] * xs[k + 1] - gs[k + 1] * xs[k] for k in range(0, n, 2)]
            per_plane = torch.stack([plane.sum(dim=(0, 2, 3)) for plane in planes], dim=1).reshape(-1) * step_size
            grad_omega = per_plane.sum().reshape(omega.shape) if omega.numel() == 1 else per_plane.reshape(omega.shape)

        grad_drive = torch.empty_like(grad_u)
        ds = components(grad_drive, n)
        along = None
        if shrink is not None:
            along = _dot(gs, xs)
            for d, g, a in zip(ds, gs, xs, strict=True):
                torch.addcmul(g, along, a, value=-1, out=d)
                d.mul_(step_size)
            along.mul_(step_size)
        else:
            torch.mul(grad_u, step_size, out=grad_drive)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(grad_u)
            hs = components(grad_x, n)
            for h, g, b in zip(hs, gs, ys, strict=True):
                if shrink is None or along is None:
                    h.copy_(g)
                else:
                    torch.mul(g, shrink, out=h).addcmul_(along, b, value=-1)
            if omega is not None:
                for plane, rate in enumerate(_plane_rates(omega * step_size, n)):
                    hs[2 * plane].addcmul_(gs[2 * plane + 1], rate, value=-1)
                    hs[2 * plane + 1].addcmul_(gs[2 * plane], rate)
        return grad_x, grad_drive, grad_omega, grad_step, None, None


def _dot(xs: tuple[Tensor, ...], ys: tuple[Tensor, ...]) -> Tensor:
    total = xs[0] * ys[0]
    for a, b in zip(xs[1:], ys[1:], strict=True):
        total.addcmul_(a, b)
    return total


def _plane_rates(omega: Tensor, n: int) -> list[Tensor]:
    """Split rates of shape () or (c/2,) into one broadcastable tensor a plane of the oscillator."""
    if omega.numel() == 1:
        return [omega.reshape(())] * (n // 2)
    return [rate.reshape(-1, 1, 1) for rate in omega.view(-1, n // 2).unbind(1)]


def _differentiable_backward(
    ctx: Any, grad: Tensor, x: Tensor, drive: Tensor, omega: Tensor | None, step_size: Tensor
) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad
    inputs = [value for value, need in zip((x, drive, omega, step_size), needs, strict=False) if need]
    out = kuramoto_step_by_definition(x, drive, omega, step_size, ctx.n, ctx.project)
    found = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
    return (*(next(found) if need else None for need in needs[:4]), None, None)


def kuramoto_step(
    x: Float[Tensor, "b c h w"],
    drive: Float[Tensor, "b c h w"],
    *,
    omega: Tensor | None,
    step_size: Tensor,
    oscillator_dim: int,
    project: bool = True,
) -> Float[Tensor, "b c h w"]:
    """Advance all oscillators by one step of Eq. 4-5.

    Args:
        x: unit oscillators.
        drive: y_i = c_i + sum_j J_ij x_j.
        omega: natural frequencies, shape () or (c/2,); None means zero (n may then be odd).
        step_size: gamma > 0, shape ().
        oscillator_dim: n.
        project: whether the drive is projected on the tangent space (False is the ablation of AKOrN table 5).

    Returns:
        Unit oscillators of the same shape.

    Differs: the published code adds x itself where the frequencies are switched off, which makes its step
        gamma / (1 + gamma); here "off" is zero, and that step size reproduces it.
    """
    x, drive = x.contiguous(), drive.contiguous().to(x.dtype)
    return _Step.apply(x, drive, omega, step_size.to(x.dtype), oscillator_dim, project)


class NaturalFrequencies(nn.Module):
    """omega >= 0 as the length of a learned 2-vector, one for the layer or one a plane of two channels.

    Args:
        planes: number of planes, c / 2; None means a single shared frequency.
        initial: omega at the start, radians per unit step, >= 0.
        learn: whether it is trained.

    Differs: the derivative of the length at the zero vector is taken as 0 (it is undefined there).
    """

    def __init__(self, planes: int | None, initial: float, learn: bool) -> None:
        super().__init__()
        if initial < 0:
            raise UserError(f"frequency_init={initial}: must be >= 0 (the length of a vector)")
        shape = (2,) if planes is None else (planes, 2)
        self.vector = nn.Parameter(torch.full(shape, initial / 2**0.5), requires_grad=learn)

    def forward(self) -> Float[Tensor, "..."]:
        """Return omega, shape () or (planes,)."""
        return torch.linalg.vector_norm(self.vector, dim=-1)
