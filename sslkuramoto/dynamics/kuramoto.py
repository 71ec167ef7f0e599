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

from sslkuramoto.dynamics.sphere import components, length, normalise, sum_of_products, tangent
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
    identity: bool = False,
) -> Float[Tensor, "b c h w"]:
    """The step as the equations read, from plain differentiable operations; :func:`kuramoto_step` must equal it."""
    velocity = tangent(x, drive, n) if project else drive
    if omega is not None:
        velocity = velocity + rotate_planes(x, omega)
    if identity:
        velocity = velocity + x
    return normalise(x + step_size * velocity, n)


class _Step(torch.autograd.Function):
    """The same step in a few passes over memory, with its derivative written out.

    With u = x + gamma dx, out = u / |u| and incoming gradient g:

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
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the definition
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
    """Return for each plane of an oscillator its first coordinate and its rate, broadcastable over "b m h w"."""
    if omega.numel() == 1:
        return [(k, omega.reshape(())) for k in range(0, n, 2)]
    return [(2 * p, rate.reshape(-1, 1, 1)) for p, rate in enumerate(omega.view(-1, n // 2).unbind(1))]


def _differentiable_backward(
    ctx: Any, grad: Tensor, x: Tensor, drive: Tensor, omega: Tensor | None, step_size: Tensor
) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[:4]
    given = zip((x, drive, omega, step_size), needs, strict=True)
    inputs = [value for value, need in given if need and value is not None]
    out = kuramoto_step_by_definition(x, drive, omega, step_size, ctx.n, ctx.project, ctx.identity)
    found = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
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
    """Advance all oscillators by one step of Eq. 4-5.

    Args:
        x: unit oscillators.
        drive: y_i = c_i + sum_j J_ij x_j.
        omega: natural frequencies, shape () or (c/2,); None means zero (n may then be odd).
        step_size: gamma > 0, shape ().
        oscillator_dim: n.
        project: whether the drive is projected on the tangent space (False is the ablation of AKOrN table 5).
        identity: add x itself to the update, as the published code does where it switches frequencies off. The step is
            then the clean one with step size gamma / (1 + gamma), up to rounding.

    Returns:
        Unit oscillators of the same shape.
    """
    x, drive = x.contiguous(), drive.contiguous().to(x.dtype)
    return _Step.apply(x, drive, omega, step_size.to(x.dtype), oscillator_dim, project, identity)


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
        if not 0 <= initial < float("inf"):
            raise UserError(f"frequency_init={initial}: must be >= 0 and finite (the length of a vector)")
        shape = (2,) if planes is None else (planes, 2)
        self.vector = nn.Parameter(torch.full(shape, initial / 2**0.5), requires_grad=learn)

    def forward(self) -> Float[Tensor, "..."]:
        """Return omega, shape () or (planes,)."""
        return torch.linalg.vector_norm(self.vector, dim=-1)
