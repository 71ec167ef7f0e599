"""Phase oscillators on the torus: one Winfree step, its energy, and the parts of it that may be learned.

"Winfree Oscillatory Neural Network" (WONN, arXiv 2605.20922), Eq. 3, 5, 6, 16 and 20; Winfree 1967:

    i_p     = I({theta_j : j in group p})              the influence of a group of N x N oscillators
    f_p     = sum_q c_pq i_q                           the field, computed by the caller
    theta_i <- wrap(theta_i + gamma [omega_i + S(theta_i) f_p(i)])

With S = cos and I = sin it is Eq. 3 with q = 1, for sin(b - a) + sin(b + a) = 2 cos a sin b. docs/methods/winfree.md
derives when the energy falls.

Shapes: b batch, c channels (each one oscillator per site), h w grid, u v grid of groups (u = h / N, rounded up).
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SensitivityKind = Literal["cos", "mlp"]
InfluenceKind = Literal["sin", "sin_mlp", "mlp"]


def wrap(theta: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the same phases in (-pi, pi]; the derivative is 1 everywhere.

    Example:
        >>> import torch
        >>> torch.rad2deg(wrap(torch.deg2rad(torch.tensor([190.0, -350.0, 90.0])))).round()
        tensor([-170.,   10.,   90.])
    """
    return torch.atan2(theta.sin(), theta.cos())


def at_least_single(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return a tensor in float32, or in its own dtype if that is finer.

    bfloat16 has steps of 0.016 near pi: phases in it would not feel a step of 0.1 times a small frequency.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def interleaved(first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2*c h w"]:
    """Return both maps with their channels in turn: the two numbers of an oscillator are consecutive channels."""
    return torch.stack([first, second], dim=2).flatten(1, 2)


def on_circle(theta: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2*c h w"]:
    """Return x_i = (cos theta_i, sin theta_i), unit oscillators of dimension 2 as all traces hold them.

    Source: WONN (arXiv 2605.20922), Eq. 20.
    """
    return interleaved(theta.cos(), theta.sin())


def angles(x: Float[Tensor, "*t b m h w"]) -> Float[Tensor, "*t b m//2 h w"]:
    """Return the phases in (-pi, pi] of oscillators of dimension 2: the inverse of :func:`on_circle`."""
    cos, sin = x.unflatten(-3, (-1, 2)).unbind(-3)
    return torch.atan2(sin, cos)


def winfree_step(
    theta: Float[Tensor, "b c h w"],
    field: Float[Tensor, "b c h w"],
    *,
    omega: Float[Tensor, "b c h w"] | None,
    sensitivity: Callable[[Tensor], Tensor],
    step_size: Tensor,
) -> Float[Tensor, "b c h w"]:
    """Advance all phases by one Winfree step, theta <- wrap(theta + gamma [omega + S(theta) f]).

    Args:
        theta: phases in radians.
        field: f, what the coupling makes of the influences, at each site.
        omega: natural frequencies in radians per unit step; None for zero.
        sensitivity: S, from phases to how strongly each reacts to the field.
        step_size: gamma > 0, shape ().

    Returns:
        Phases in (-pi, pi].

    Source: WONN (arXiv 2605.20922), Eq. 5.

    Example:
        A phase at 0 under the constant field 1 approaches 90 degrees, where S = cos vanishes.

        >>> import torch
        >>> theta, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
        >>> for _ in range(200):
        ...     theta = winfree_step(theta, one, omega=None, sensitivity=torch.cos, step_size=torch.tensor(0.1))
        >>> torch.rad2deg(theta).flatten().round()
        tensor([90.])
    """
    velocity = sensitivity(theta) * field
    velocity = velocity if omega is None else omega + velocity
    return wrap(theta + (step_size * velocity).to(theta.dtype))


def interaction_energy(influence: Float[Tensor, "b c u v"], field: Float[Tensor, "b c u v"]) -> Float[Tensor, "b"]:
    """Return E = -1/2 sum_p f_p i_p, which is -1/2 sum_pq c_pq i_p i_q where f = c i.

    For symmetric constant c, no frequencies, S = cos, I = sin and a small step it never rises.

    Args:
        influence: i of each group.
        field: f of each group.

    Source: WONN (arXiv 2605.20922), Eq. 16.

    Example:
        Two oscillators, c_12 = c_21 = 1: the energy is lowest when both phases are 90 degrees, or both -90.

        >>> import torch
        >>> theta = torch.tensor([torch.pi / 2, torch.pi / 2]).view(1, 2, 1, 1)
        >>> interaction_energy(theta.sin(), theta.sin().flip(1))
        tensor([-1.])
    """
    return -0.5 * (field * influence).sum(dim=(1, 2, 3))


def interaction_energy_code(influence: Float[Tensor, "b c u v"], field: Float[Tensor, "b c u v"]) -> Float[Tensor, "b"]:
    """Return -sum_p f_p i_p, which the published code logs before each update.

    Differs: Eq. 16 has a factor 1/2, this quantity has none.
    """
    return -(field * influence).sum(dim=(1, 2, 3))


def padded(x: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c y x"]:
    """Return the map with zeros at its right and lower edge, so that groups of ``size`` x ``size`` sites cover it."""
    h, w = x.shape[2:]
    return F.pad(x, (0, -w % size, 0, -h % size)) if h % size or w % size else x


def group_grid(grid: tuple[int, int], size: int) -> tuple[int, int]:
    """Return the grid of groups of ``size`` x ``size`` sites; those at the edge may hang over it."""
    return -(-grid[0] // size), -(-grid[1] // size)


def spread(field: Float[Tensor, "b c u v"], size: int, grid: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Return the field of each group at all of its sites: repeated, then cut to the grid."""
    if size == 1:
        return field
    sites = field.repeat_interleave(size, dim=2).repeat_interleave(size, dim=3)
    return sites[:, :, : grid[0], : grid[1]]


class LearnedSensitivity(nn.Module):
    """S as a small network for each channel: (sin theta, cos theta), r hidden numbers with ReLU, one output.

    Args:
        channels: c.
        hidden: r.

    Source: WONN (arXiv 2605.20922), section 2.2; the sizes are those of the published code.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2 * channels, hidden * channels, 1, groups=channels),
            nn.ReLU(),
            nn.Conv2d(hidden * channels, channels, 1, groups=channels),
        )

    def forward(self, theta: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return S(theta)."""
        return self.net(interleaved(theta.sin(), theta.cos()))


class LearnedInfluence(nn.Module):
    """I of a group as a small network for each channel: what its N x N sites show, hidden numbers with ReLU, one
    output.

    Args:
        channels: c.
        size: N, side of a group in sites.
        hidden: r; there are r N^2 hidden numbers for each channel and each number that a site shows.
        with_cos: whether a site shows (sin theta, cos theta), or sin theta alone.

    Source: WONN (arXiv 2605.20922), Eq. 6; the sizes are those of the published code, whose "trigonometric" influence
        of image networks is the one with sin theta alone, also learned.
    """

    def __init__(self, channels: int, size: int, hidden: int, with_cos: bool) -> None:
        super().__init__()
        self.size, self.with_cos = size, with_cos
        shown = 2 if with_cos else 1
        width = shown * hidden * size**2 * channels
        self.net = nn.Sequential(
            nn.Conv2d(shown * channels, width, size, stride=size, groups=channels),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1, groups=channels),
        )

    def forward(self, theta: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c u v"]:
        """Return I of each group; sites beyond the edge show zeros."""
        shown = interleaved(theta.sin(), theta.cos()) if self.with_cos else theta.sin()
        return self.net(padded(shown, self.size))


class SineInfluence(nn.Module):
    """I of a group as the mean of sin theta over its N x N sites; for N = 1 it is sin theta.

    Args:
        size: N, side of a group in sites. Sites beyond the edge count as zeros.

    Source: Winfree 1967; WONN (arXiv 2605.20922), Eq. 3. The mean for N > 1 is ours.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, theta: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c u v"]:
        """Return I of each group."""
        sine = theta.sin()
        return sine if self.size == 1 else F.avg_pool2d(padded(sine, self.size), self.size)


class Cosine(nn.Module):
    """S = cos."""

    def forward(self, theta: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return cos theta."""
        return theta.cos()


def sensitivity_of(kind: SensitivityKind, channels: int, hidden: int) -> nn.Module:
    """Return S by its name: ``"cos"`` (:class:`Cosine`) or ``"mlp"`` (:class:`LearnedSensitivity`)."""
    return Cosine() if kind == "cos" else LearnedSensitivity(channels, hidden)


def influence_of(kind: InfluenceKind, channels: int, size: int, hidden: int) -> nn.Module:
    """Return I by its name: ``"sin"`` is :class:`SineInfluence`, the others are :class:`LearnedInfluence`."""
    return SineInfluence(size) if kind == "sin" else LearnedInfluence(channels, size, hidden, with_cos=kind == "mlp")
