"""The energy equals double loops, is invariant under common rotations, and falls (AKOrN, arXiv 2410.13821, Eq. 3).

The energy never rises if gamma (max_i <x_i, y_i> + max(0, -lambda_min(J))) <= 2. For J + mu I >= 0, which changes the
energy by a constant only, E is concave, so that its change is at most -sum_i <y_i', x_i+ - x_i>. Each term is >= 0 when
gamma <x_i, y_i'> <= 2.
"""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sslkuramoto.dynamics.coupling import ConvCoupling
from sslkuramoto.dynamics.energy import energy, energy_code
from sslkuramoto.dynamics.kuramoto import kuramoto_step, rotate_planes
from sslkuramoto.dynamics.sphere import dot, normalise


def real(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def symmetric_conv(n: int, m: int, kernel: int, normal) -> ConvCoupling:
    """A convolution with J(-offset) = J(offset)^T and no bias: its matrix is symmetric, zero padding included."""
    conv = ConvCoupling(m * n, kernel).double().requires_grad_(False)
    weight = normal(m * n, m * n, kernel, kernel) / (kernel * (m * n) ** 0.5)
    conv.weight.copy_((weight + weight.transpose(0, 1).flip(2, 3)) / 2)
    conv.bias.zero_()
    return conv


def bound(x: Tensor, y: Tensor, matrix: Tensor, n: int) -> float:
    """The energy falls for gamma <= 2 / bound, with bound = max_i <x_i, y_i> + max(0, -lambda_min(J))."""
    lowest = torch.linalg.eigvalsh(matrix)[0].item()
    return dot(x, y, n).max().item() + max(0.0, -lowest)


@pytest.mark.parametrize("n", [2, 3])
def test_energies_equal_double_loops_over_the_matrix_of_the_convolution(n, oscillators, normal, matrix_of):
    m, h, w = 2, 3, 2
    conv = ConvCoupling(m * n, 3).double().requires_grad_(False)
    x, c = oscillators(n, 2, m, h, w), normal(2, m * n, h, w)
    matrix, shape = matrix_of(conv, (m * n, h, w)), (m * n, h, w)
    places = torch.arange(m * n * h * w).view(m, n, h, w).permute(0, 2, 3, 1).reshape(-1, n)  # oscillator -> entries
    bias = conv.bias.view(-1, 1, 1).expand(shape).reshape(-1)
    for image in range(2):
        state, stimulus = x[image].reshape(-1), c[image].reshape(-1)
        pairs, single, offset = 0.0, 0.0, 0.0
        for i in places:
            for j in places:
                pairs += (state[i] @ matrix[i][:, j] @ state[j]).item()
            single += (stimulus[i] @ state[i]).item()
            offset += (bias[i] @ state[i]).item()
        found, logged = energy(x, conv(x), c)[image], energy_code(x, conv(x), c)[image]
        assert found.item() == pytest.approx(-0.5 * (pairs + offset) - single, rel=1e-10)
        assert logged.item() == pytest.approx(-(pairs + offset) - single, rel=1e-10)


def test_the_logged_energy_is_twice_the_coupling_part_plus_the_stimulus_part(oscillators, normal):
    x, coupled, c = oscillators(2), normal(2, 6, 4, 5), normal(2, 6, 4, 5)
    zero = torch.zeros_like(c)
    parts = 2 * energy(x, coupled, zero) + energy(x, zero, c)
    torch.testing.assert_close(energy_code(x, coupled, c), parts)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_energy_never_rises_within_the_bound_for_random_symmetric_block_couplings(n, normal):
    violations, moved = 0, 0
    for trial in range(40):
        m = 2 + trial % 7
        matrix = normal(m * n, m * n)
        matrix = (matrix + matrix.T) / 2 - (trial % 3) * torch.eye(m * n, dtype=torch.float64)
        c = 2 * normal(1, m * n, 1, 1)

        def coupled(x, matrix=matrix):
            return (matrix @ x.flatten()).view(x.shape)

        x = normalise(normal(1, m * n, 1, 1), n)
        for _ in range(10):
            y = coupled(x) + c
            factor = bound(x, y, matrix, n)
            if factor <= 0:
                break
            after = kuramoto_step(x, y, omega=None, step_size=real(2 / factor), oscillator_dim=n)
            before = energy(x, coupled(x), c)
            violations += int((energy(after, coupled(after), c) > before + 1e-10 * (1 + before.abs())).item())
            moved += 1
            x = after
    assert violations == 0
    assert moved > 300


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("kernel", [3, 5])
def test_energy_falls_under_symmetric_convolutions_with_any_stimulus(n, kernel, oscillators, normal, matrix_of):
    m, h, w = 2, 4, 3
    conv, c = symmetric_conv(n, m, kernel, normal), normal(1, m * n, h, w)
    matrix = matrix_of(conv, (m * n, h, w))
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-15)
    lengths = torch.linalg.matrix_norm(matrix, ord=2) + c.view(m, n, -1).norm(dim=1).max()
    lowest = torch.linalg.eigvalsh(matrix)[0].item()
    # |<x_i, y_i>| <= |y_i| <= |J| sqrt(number of oscillators) + |c_i| holds for every state
    factor = lengths * (m * h * w) ** 0.5 + max(0.0, -lowest)
    x, energies = oscillators(n, 1, m, h, w), []
    for _ in range(60):
        energies.append(energy(x, conv(x), c).item())
        x = kuramoto_step(x, conv(x) + c, omega=None, step_size=2 / factor, oscillator_dim=n)
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(energies))
    assert energies[-1] < energies[0] - 0.1


def scalar_conv(n: int, m: int, normal) -> ConvCoupling:
    """A convolution whose blocks are multiples of the identity: J_ij = k_ij I."""
    conv = ConvCoupling(m * n, 3).double().requires_grad_(False)
    weight = torch.einsum("abyx,ij->aibjyx", normal(m, m, 3, 3), torch.eye(n, dtype=torch.float64))
    conv.weight.copy_(weight.reshape(m * n, m * n, 3, 3))
    conv.bias.zero_()
    return conv


def rotated(x: Tensor, angle: float) -> Tensor:
    """Return exp(t Omega) x with a shared omega: each plane rotated by minus ``angle``."""
    one = real(1.0)
    return torch.cos(real(angle)) * x + torch.sin(real(angle)) * rotate_planes(x, one)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("angle", [0.3, 2.0])
def test_a_common_rotation_keeps_the_energy_and_commutes_with_the_step(n, angle, oscillators, normal):
    conv, x, m = scalar_conv(n, 3, normal), oscillators(n), 3
    nothing = torch.zeros_like(x)
    assert x.shape[1] == m * n
    turned = rotated(x, angle)
    torch.testing.assert_close(energy(turned, conv(turned), nothing), energy(x, conv(x), nothing))
    given = {"omega": real(0.7), "step_size": real(1.1), "oscillator_dim": n}
    one = rotated(kuramoto_step(x, conv(x), **given), angle)
    other = kuramoto_step(turned, conv(turned), **given)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_a_stimulus_breaks_the_rotational_symmetry(oscillators, normal):
    conv, x, c = scalar_conv(2, 3, normal), oscillators(2), normal(2, 6, 4, 5)
    turned = rotated(x, 1.0)
    assert (energy(turned, conv(turned), c) - energy(x, conv(x), c)).abs().min() > 0.1


@pytest.mark.parametrize("n", [2, 4])
def test_rotating_exactly_and_then_stepping_never_raises_the_energy_without_stimulus(n, normal):
    m = 5
    couplings = normal(m, m)
    couplings = (couplings + couplings.T) / 2
    matrix = torch.kron(couplings, torch.eye(n, dtype=torch.float64))
    x, energies = normalise(normal(1, m * n, 1, 1), n), []
    nothing = torch.zeros_like(x)
    for _ in range(50):
        coupled = (matrix @ x.flatten()).view(x.shape)
        energies.append(energy(x, coupled, nothing).item())
        x = rotated(x, 0.4)
        y = (matrix @ x.flatten()).view(x.shape)
        gamma = real(2 / max(bound(x, y, matrix, n), 1e-9))
        x = kuramoto_step(x, y, omega=None, step_size=gamma, oscillator_dim=n)
    assert all(later <= earlier + 1e-11 for earlier, later in pairwise(energies))
