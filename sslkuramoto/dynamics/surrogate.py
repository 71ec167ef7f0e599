"""The Kuramoto step with a surrogate derivative: the forward pass is unchanged bit for bit, the backward pass replaced.

This is the backward pass differentiable approximation of Athalye, Carlini and Wagner (2018, arXiv 1802.00420), for a
step that may mask its gradients; docs/methods/robustness.md derives why it may.

Let v = dx be the velocity at x, F = |v|, u = x + gamma v, s = |u| and out = u / s. The step turns x by the angle
phi = arctan(gamma F). Let v be tangent, d = v / F its direction, and t = cos(phi) d - sin(phi) x the unit tangent at
out in the plane of x and d. Then

    d out / d v  =  gamma [ a t d^T + b (I - x x^T - d d^T) ],   a = 1 / s^2 = arctan'(gamma F),   b = 1 / s
    d out / d x  =  t d^T + b (I - x x^T - d d^T)   where v is transported along with x

For n = 2 only the first term in the brackets exists: for gamma F >> 1 the derivative of a step decays as 1 / F^2.

Shapes: b batch, c channels, n oscillator dimension, h w grid, m oscillators per site.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sslkuramoto.dynamics.kuramoto import kuramoto_step, rotate_planes
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.dynamics.sphere import EPS, dot, norm, tangent
from sslkuramoto.dynamics.winfree_surrogate import FREE_PHASE, SLOPES, OpenRectifier, free_step, winfree_layers
from sslkuramoto.errors import UserError

Surrogate = Literal[
    "autograd",
    "half_norm",
    "no_norm",
    "straight_through",
    "root_arctan",
    "linear_arctan",
    "exponential",
    "half_gamma",
    "small_gamma",
    "leaky_rectifier",
    "open_rectifier",
    "free_phase",
]
EVERY_SURROGATE: tuple[Surrogate, ...] = get_args(Surrogate)
OF_WINFREE: tuple[Surrogate, ...] = ("autograd", "leaky_rectifier", "open_rectifier", "free_phase")
"""Those of Winfree steps (:mod:`~sslkuramoto.dynamics.winfree_surrogate`)."""
SURROGATES: tuple[Surrogate, ...] = tuple(name for name in EVERY_SURROGATE if name not in OF_WINFREE[1:])
"""Those of Kuramoto steps."""
TANGENT_ONLY = frozenset({"root_arctan", "linear_arctan", "exponential"})


class _Step(NamedTuple):
    """The quantities of one step from which a rule computes gradients.

    Attributes:
        x: unit oscillators before the step.
        v: velocity dx.
        gamma: step size, shape ().
        out: unit oscillators after the step.
        n: dimension of an oscillator.
    """

    x: Float[Tensor, "b c h w"]
    v: Float[Tensor, "b c h w"]
    gamma: Tensor
    out: Float[Tensor, "b c h w"]
    n: int

    def along(self, scalars: Float[Tensor, "b m h w"], vectors: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Multiply each oscillator of ``vectors`` by its scalar."""
        b, c, h, w = vectors.shape
        return (scalars.unsqueeze(2) * vectors.view(b, c // self.n, self.n, h, w)).view(b, c, h, w)

    def tangent(self, g: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the part of a gradient ``g`` that is tangent to the sphere at ``out``."""
        return g - self.along(dot(g, self.out, self.n), self.out)


Pulled = tuple[Tensor, Tensor]  # gradient with respect to x at fixed v, and gradient with respect to v
Rule = Callable[[_Step, Tensor], Pulled]  # from a step and the gradient with respect to its result


def norm_power(p: float) -> Rule:
    """Replace the factor r = 1 / s of the normalisation's derivative by r^p; p = 1 is the exact derivative."""

    def rule(step: _Step, g: Tensor) -> Pulled:
        size = norm(step.x + step.gamma * step.v, step.n)
        pulled = step.along(size**-p, step.tangent(g))
        return pulled, step.gamma * pulled

    return rule


def straight_through(step: _Step, g: Tensor) -> Pulled:
    """Treat the normalisation as the identity."""
    return g, step.gamma * g


def smaller_gamma(factor: float) -> Rule:
    """Differentiate a step with ``factor`` times the step size, which saturates less."""

    def rule(step: _Step, g: Tensor) -> Pulled:
        gamma = factor * step.gamma
        u = step.x + gamma * step.v
        size = norm(u, step.n)
        nearer = step._replace(out=step.along(1 / size, u))
        pulled = step.along(1 / size, nearer.tangent(g))
        return pulled, gamma * pulled

    return rule


def turned(a: Callable[[Tensor], Tensor], b: Callable[[Tensor], Tensor]) -> Rule:
    """Replace the coefficients a and b of d out / d v by functions of the angle phi; v must be tangent."""

    def rule(step: _Step, g: Tensor) -> Pulled:
        speed = norm(step.v, step.n)
        angle = torch.arctan(step.gamma * speed)
        d = step.along(1 / speed.clamp_min(EPS), step.v)
        t = step.along(angle.cos(), d) - step.along(angle.sin(), step.x)
        turning = dot(g, t, step.n)
        across = step.tangent(g) - step.along(turning, t)
        turn = step.along(turning, d)
        over = step.along(angle.cos(), across)
        return turn + over, step.gamma * (step.along(a(angle), turn) + step.along(b(angle), across))

    return rule


_RULES: dict[str, Rule] = {
    "half_norm": norm_power(0.5),
    "no_norm": norm_power(0.0),
    "straight_through": straight_through,
    "root_arctan": turned(torch.cos, torch.cos),
    "linear_arctan": turned(torch.ones_like, torch.cos),
    "exponential": turned(torch.ones_like, lambda angle: torch.sinc(angle / torch.pi)),
    "half_gamma": smaller_gamma(0.5),
    "small_gamma": smaller_gamma(0.25),
}


class _Replaced(torch.autograd.Function):
    """The Kuramoto step with the derivative that a rule gives, with respect to states and drives only."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, x: Tensor, drive: Tensor, options: dict[str, Any]) -> Tensor:
        out = kuramoto_step(x, drive, **options)
        ctx.rule, ctx.options = rule, options
        ctx.save_for_backward(x, drive, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        x, drive, out = ctx.saved_tensors
        n, gamma, omega = ctx.options["oscillator_dim"], ctx.options["step_size"].detach(), ctx.options["omega"]
        if ctx.options["identity"]:  # adding x to the velocity only reduces the step size
            gamma = gamma / (1 + gamma)
        with torch.enable_grad():
            x, drive = x.detach().requires_grad_(), drive.detach().to(x.dtype).requires_grad_()
            v = tangent(x, drive, n) if ctx.options["project"] else drive
            v = v if omega is None else v + rotate_planes(x, omega.detach())
        with torch.no_grad():
            to_x, to_v = ctx.rule(_Step(x.detach(), v.detach(), gamma, out, n), g.contiguous())
        through_x, to_drive = torch.autograd.grad(v, (x, drive), to_v, allow_unused=True)
        return None, to_x if through_x is None else to_x + through_x, to_drive, None


def surrogate_step(name: Surrogate) -> Callable[..., Tensor]:
    """Return :func:`~sslkuramoto.dynamics.kuramoto.kuramoto_step` with a surrogate derivative.

    The surrogates are for attacks, not for training: step size and frequencies receive no gradient.

    Args:
        name: one of :data:`SURROGATES`.

            - ``autograd``: the exact derivative.
            - ``half_norm``, ``no_norm``: the factor r of the normalisation's derivative becomes r^(1/2) or 1.
            - ``straight_through``: the normalisation counts as the identity.
            - ``root_arctan``, ``linear_arctan``: arctan'(u) = 1 / (1 + u^2), which saturates, becomes
              1 / sqrt(1 + u^2) or 1.
            - ``exponential``: the derivative of the exponential map that ends in the same state. For n = 2 it equals
              ``linear_arctan``.
            - ``half_gamma``, ``small_gamma``: the derivative of a step of half or a quarter of the step size.

    Returns:
        A function with the arguments and the result of ``kuramoto_step``.
    """
    if name == "autograd":
        return kuramoto_step
    rule = _RULES[name]

    def step(x: Tensor, drive: Tensor, **options: Any) -> Tensor:
        return _Replaced.apply(rule, x.contiguous(), drive.contiguous(), options)

    return step


def kuramoto_layers(encoder: nn.Module) -> list[KuramotoLayer]:
    """Return all Kuramoto layers of an encoder, in the order of its modules."""
    return [part for part in encoder.modules() if isinstance(part, KuramotoLayer) and part.update == "kuramoto"]


def surrogates_for(encoder: nn.Module) -> tuple[Surrogate, ...]:
    """Return the surrogates that are defined for an encoder; none for an encoder without oscillator layers.

    Those that replace arctan' need a tangent velocity, that is a projected drive; those of the rectifier need one.
    """
    layers, others = kuramoto_layers(encoder), winfree_layers(encoder)
    if others:
        rectified = all(layer.rectify for layer in others)
        return tuple(name for name in OF_WINFREE if rectified or name not in SLOPES)
    projected = all(layer.project for layer in layers)
    return tuple(name for name in SURROGATES if layers and (projected or name not in TANGENT_ONLY))


def surrogates_of_kind(encoder: nn.Module) -> tuple[Surrogate, ...]:
    """Return the surrogates of an encoder's kind of step, whether or not they are defined for its options."""
    return OF_WINFREE if winfree_layers(encoder) else SURROGATES


def lacking(encoder: nn.Module) -> str:
    """Return what an encoder lacks where surrogates of its kind of step are not defined for it."""
    return "the field is not rectified" if winfree_layers(encoder) else "the drive is not projected"


@contextmanager
def surrogate_backward(encoder: nn.Module, name: Surrogate) -> Iterator[None]:
    """Within this context, all oscillator layers of an encoder have a surrogate derivative; no result changes.

    Args:
        encoder: a module with Kuramoto or Winfree layers.
        name: the surrogate, see :func:`surrogate_step` and :mod:`~sslkuramoto.dynamics.winfree_surrogate`.

    Raises:
        UserError: the encoder has no such layer, or the surrogate is undefined for its layers.
    """
    layers, others = kuramoto_layers(encoder), winfree_layers(encoder)
    allowed = surrogates_for(encoder)
    if not layers and not others:
        raise UserError("surrogate backward: the network has no oscillator layer whose derivative could be replaced")
    if name not in allowed:
        needs = "project=true" if name in TANGENT_ONLY and layers else "other layers"
        raise UserError(f"surrogate {name}: needs {needs}; allowed here: {', '.join(allowed)}")
    before = [(layer, layer.advance) for layer in (*layers, *others)]
    rectifiers = [(layer, layer.rectifier) for layer in others]
    for layer in layers:
        layer.advance = surrogate_step(name)
    for layer in others:
        layer.advance = free_step if name == FREE_PHASE else layer.advance
        layer.rectifier = OpenRectifier(SLOPES[name]) if name in SLOPES else layer.rectifier
    try:
        yield
    finally:
        for layer, step in before:
            layer.advance = step
        for layer, rectifier in rectifiers:
            layer.rectifier = rectifier
