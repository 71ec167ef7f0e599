"""Where the states of oscillators lie, and geodesic balls around them: unit spheres of AKOrN, circles of phases.

Steps follow geodesics, x <- cos(a) x + sin(a) u with u a unit tangent; see Absil, Mahony and Sepulchre 2008,
"Optimization Algorithms on Matrix Manifolds", section 5.4. The ball holds, for each oscillator on its own, all states
within some angle.

Shapes: b batch, c channels (c = m n), m oscillators a site, n oscillator dimension, h w grid.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.dynamics.sphere import dot, norm, normalise, tangent

EVERYWHERE = math.pi
"""Radius, in radians, of a ball that holds every state."""
SHORTEST = 1e-4  # tangent part of a unit vector; a shorter one is rounding


@dataclass(frozen=True)
class Spheres:
    """Unit vectors of n consecutive channels, of which an initial field gives the directions.

    Attributes:
        n: dimension of an oscillator, >= 2.
    """

    n: int

    def start(self, given: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the states that a network makes of an initial field: unit oscillators."""
        return normalise(given, self.n)

    def moved(
        self, states: Float[Tensor, "b c h w"], gradient: Float[Tensor, "b c h w"], angle: float
    ) -> Float[Tensor, "b c h w"]:
        """Turn each oscillator by ``angle`` radians towards the tangent part of its gradient, if it has one."""
        # the largest value becomes 1: squares of 1e-20, of a saturated network, vanish in float32
        largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
        along = normalise(tangent(states, gradient / largest.where(largest > 0, 1.0), self.n), self.n)
        return normalise(math.cos(angle) * states + math.sin(angle) * along, self.n)

    def within(
        self, states: Float[Tensor, "b c h w"], centres: Float[Tensor, "b c h w"], radius: float
    ) -> Float[Tensor, "b c h w"]:
        """Turn oscillators farther than ``radius`` radians from their centres back along the great circles to them."""
        beside = tangent(centres, states, self.n)
        along = normalise(tangent(centres, normalise(beside, self.n), self.n), self.n)  # twice: less rounding
        edge = math.cos(radius) * centres + math.sin(radius) * along
        # opposite its centre an oscillator has no direction but rounding, and goes back to the centre
        edge = edge.where(self._each(norm(beside, self.n) > SHORTEST), centres)
        return states.where(self._each(self.angles(states, centres) <= radius), edge)

    def angles(self, states: Float[Tensor, "b c h w"], others: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m h w"]:
        """Return the geodesic distance of each oscillator from another state, in radians, in [0, pi].

        It is atan2 of the tangent and the radial part, which is exact for small angles too.
        """
        return torch.atan2(norm(tangent(others, states, self.n), self.n), dot(states, others, self.n))

    def _each(self, chosen: Tensor) -> Tensor:
        """Repeat what holds for an oscillator for each of its channels."""
        return chosen.repeat_interleave(self.n, dim=1)


@dataclass(frozen=True)
class Circles:
    """Phases, ``scale`` radians for each unit of an initial field.

    A ball is the interval of phases around its centre, without wrapping: one of radius pi holds every phase.

    Attributes:
        scale: radians for each unit, > 0.
    """

    scale: float

    def start(self, given: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the field itself, in its own units."""
        return given

    def moved(
        self, states: Float[Tensor, "b c h w"], gradient: Float[Tensor, "b c h w"], angle: float
    ) -> Float[Tensor, "b c h w"]:
        """Turn each phase by ``angle`` radians in the direction of its gradient, if it has one."""
        return states + angle / self.scale * gradient.sign()

    def within(
        self, states: Float[Tensor, "b c h w"], centres: Float[Tensor, "b c h w"], radius: float
    ) -> Float[Tensor, "b c h w"]:
        """Cut the differences of phases from their centres at ``radius`` radians."""
        return centres + (states - centres).clamp(-radius / self.scale, radius / self.scale)

    def angles(self, states: Float[Tensor, "b c h w"], others: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m h w"]:
        """Return the distance of each phase from another one on the circle, in radians, in [0, pi]."""
        turned = self.scale * (states - others)
        return torch.atan2(turned.sin(), turned.cos()).abs()


StateSpace = Spheres | Circles
"""Where all oscillators of a network start."""
