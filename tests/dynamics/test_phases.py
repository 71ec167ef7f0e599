"""n = 2: the scalar Kuramoto model (Kuramoto 1984; AKOrN Eq. 1).

theta_i' = -omega + sum_j K_ij sin(theta_j - theta_i) + |c_i| sin(arg c_i - theta_i): the code's plane turns backwards.
"""

import math
from itertools import pairwise

import pytest
import torch

from sslkuramoto.dynamics.kuramoto import kuramoto_step


def real(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def vectors(theta: torch.Tensor) -> torch.Tensor:
    """Phases of m oscillators -> states "1 2m 1 1"."""
    return torch.stack([theta.cos(), theta.sin()], dim=1).view(1, -1, 1, 1)


def phases(x: torch.Tensor) -> torch.Tensor:
    return torch.atan2(x.view(-1, 2)[:, 1], x.view(-1, 2)[:, 0])


def between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The angle from b to a in [-pi, pi)."""
    return torch.remainder(a - b + math.pi, 2 * math.pi) - math.pi


def coupled(couplings: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Scalar couplings K_ij: y_i = sum_j K_ij x_j."""
    return (couplings @ x.view(-1, 2)).view(x.shape)


def test_a_step_turns_each_phase_by_the_arc_tangent_of_the_force_of_the_scalar_model(normal):
    for trial in range(20):
        m = 2 + trial % 5
        theta, couplings, drive, omega = math.pi * normal(m), normal(m, m), normal(m, 2), normal(m).abs()
        gamma = 0.1 + trial % 3
        x = vectors(theta)
        y = coupled(couplings, x) + drive.view(x.shape)
        after = phases(kuramoto_step(x, y, omega=omega, step_size=real(gamma), oscillator_dim=2))
        strength, direction = drive.norm(dim=1), torch.atan2(drive[:, 1], drive[:, 0])
        force = -omega + (couplings * torch.sin(theta[None] - theta[:, None])).sum(1)
        force = force + strength * torch.sin(direction - theta)
        torch.testing.assert_close(between(after, theta), torch.arctan(gamma * force), rtol=0, atol=1e-13)


def test_small_steps_follow_the_differential_equation_with_the_order_of_euler(normal):
    m, time = 5, 1.0
    theta0, couplings, omega = math.pi * normal(m), normal(m, m) / m, normal(m).abs()

    def velocity(theta):
        return -omega + (couplings * torch.sin(theta[None] - theta[:, None])).sum(1)

    exact, h = theta0.clone(), time / 200  # classical Runge-Kutta, error about 1e-9
    for _ in range(200):
        k1 = velocity(exact)
        k2 = velocity(exact + h / 2 * k1)
        k3 = velocity(exact + h / 2 * k2)
        exact = exact + h / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(exact + h * k3))
    errors = []
    for steps in (100, 200, 400):
        x = vectors(theta0)
        for _ in range(steps):
            x = kuramoto_step(x, coupled(couplings, x), omega=omega, step_size=real(time / steps), oscillator_dim=2)
        errors.append(between(phases(x), exact).abs().max().item())
    assert errors[0] < 0.05
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2, rel=0.1)  # halving the step halves the error


def run_two(difference: float, coupling: float, steps: int, gamma: float = 0.1) -> list[float]:
    """Two oscillators with frequencies of this difference; return the phase difference after each step, unwrapped."""
    couplings = torch.tensor([[0.0, coupling], [coupling, 0.0]], dtype=torch.float64)
    omega = torch.tensor([0.2, 0.2 + difference], dtype=torch.float64)
    x, seen = vectors(torch.tensor([0.3, 0.1], dtype=torch.float64)), [0.2]
    for _ in range(steps):
        x = kuramoto_step(x, coupled(couplings, x), omega=omega, step_size=real(gamma), oscillator_dim=2)
        theta = phases(x)
        seen.append(seen[-1] + between(theta[0] - theta[1], real(seen[-1])).item())
    return seen


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_two_oscillators_lock_at_the_arc_sine_of_their_frequency_difference(share):
    coupling = 0.7
    difference = share * 2 * coupling
    # theta_0' - theta_1' = difference - 2 K sin(theta_0 - theta_1); the fixed point is the same for any step size,
    # because both phases then turn by the same arc tangent
    seen = run_two(difference, coupling, 700)
    assert seen[-1] == pytest.approx(math.asin(share), abs=1e-9)


def test_two_oscillators_drift_apart_when_their_frequencies_differ_by_more_than_twice_the_coupling():
    coupling, gamma, steps = 0.7, 0.04, 1500
    difference = 1.5 * 2 * coupling
    seen = run_two(difference, coupling, steps, gamma)
    assert all(later > earlier for earlier, later in pairwise(seen))
    beat = math.sqrt(difference**2 - (2 * coupling) ** 2)  # mean rate of the Adler equation
    assert (seen[-1] - seen[0]) / (gamma * steps) == pytest.approx(beat, rel=0.02)


def test_identical_oscillators_coupled_alike_synchronise(normal):
    m = 6
    x = vectors(0.4 * math.pi * torch.tanh(normal(m)))  # within a half circle
    couplings = torch.full((m, m), 1 / m, dtype=torch.float64)
    spread = []
    for _ in range(200):
        x = kuramoto_step(x, coupled(couplings, x), omega=real(0.3), step_size=real(0.5), oscillator_dim=2)
        spread.append(1 - x.view(m, 2).mean(0).norm().item())
    assert all(b <= a + 1e-15 for a, b in pairwise(spread))
    assert spread[-1] < 1e-12
