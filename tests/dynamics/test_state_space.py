"""Geodesic balls of states: steps keep the sphere, projections are the nearest points of the ball, angles are exact."""

import math

import pytest
import torch

from sslkuramoto.dynamics.sphere import norm
from sslkuramoto.dynamics.state_space import EVERYWHERE, Circles, Spheres
from sslkuramoto.randomness import generator

SPACES = {"n=2": Spheres(2), "n=3": Spheres(3), "n=4": Spheres(4), "phases": Circles(0.1)}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def fields(count: int) -> list[torch.Tensor]:
    return list(torch.randn(count, 5, 12, 2, 2, generator=generator("cpu", "fields")))


@every_space
def test_a_step_turns_each_oscillator_by_its_angle_and_none_without_a_gradient(space) -> None:
    states, gradient = space.start(fields(2)[0]), fields(2)[1]
    torch.testing.assert_close(
        space.angles(space.moved(states, gradient, 0.3), states), torch.full_like(space.angles(states, states), 0.3)
    )
    still = space.moved(states, torch.zeros_like(gradient), 0.3)
    assert float(space.angles(still, states).max()) < 1e-6


@every_space
@pytest.mark.parametrize("radius", [0.0, 0.2, 1.5, 3.0])
def test_states_come_back_into_the_ball_and_those_inside_stay(space, radius) -> None:
    centres, states = map(space.start, fields(2))
    found = space.within(states, centres, radius)
    assert float(space.angles(found, centres).max()) <= radius + 1e-5
    assert torch.equal(space.within(found, centres, radius + 1e-4), found)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_on_a_sphere_the_edge_is_the_nearest_point_of_the_ball(n) -> None:
    """Along the great circle through the centre: the two angles add up to that of the state."""
    space, radius = Spheres(n), 0.4
    centres, states = map(space.start, fields(2))
    found = space.within(states, centres, radius)
    torch.testing.assert_close(norm(found, n), torch.ones_like(norm(found, n)))
    outside = space.angles(states, centres) > radius
    left = (space.angles(states, centres) - radius)[outside]
    torch.testing.assert_close(space.angles(states, found)[outside], left, atol=1e-5, rtol=1e-5)


@every_space
def test_a_ball_of_pi_holds_every_state(space) -> None:
    centres, states = map(space.start, fields(2))
    if isinstance(space, Circles):  # phases of at most pi from the centre are all phases
        states = centres + (states - centres).clamp(-math.pi / space.scale, math.pi / space.scale)
    torch.testing.assert_close(space.within(states, centres, EVERYWHERE), states)


@pytest.mark.parametrize("n", [2, 3])
def test_an_oscillator_opposite_its_centre_comes_back_into_the_ball(n) -> None:
    space = Spheres(n)
    (centres,) = map(space.start, fields(1))
    torch.testing.assert_close(space.angles(-centres, centres), torch.full((5, 12 // n, 2, 2), math.pi))
    for opposite in (-centres, space.start(-centres + 1e-7)):
        found = space.within(opposite, centres, 2.0)
        assert float(space.angles(found, centres).max()) <= 2 + 1e-5
        torch.testing.assert_close(norm(found, n), torch.ones_like(norm(found, n)))


def test_a_vanishing_gradient_still_has_a_direction() -> None:
    space = Spheres(2)
    states, gradient = space.start(fields(2)[0]), fields(2)[1]
    torch.testing.assert_close(space.moved(states, 1e-30 * gradient, 0.3), space.moved(states, gradient, 0.3))
