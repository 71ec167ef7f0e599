"""Couplings with J = J^T: as matrices, and the energy that they never raise."""

import pytest
import torch

from sslkuramoto.dynamics.coupling import DenseCoupling, SymmetricConvCoupling, coupling_of
from sslkuramoto.dynamics.energy import energy
from sslkuramoto.dynamics.kuramoto import kuramoto_step
from sslkuramoto.dynamics.sphere import normalise
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

GRID = (4, 5)


def built(kind, channels=6) -> torch.nn.Module:
    with borrowed_global(generator("cpu", "weights")):
        return coupling_of(kind, channels, kernel_size=3, heads=2, grid=GRID).double()


def matrix(coupling, channels=6) -> torch.Tensor:
    """Return J: the coupling applied to every unit vector."""
    size = channels * GRID[0] * GRID[1]
    units = torch.eye(size, dtype=torch.float64).view(size, channels, *GRID)
    return coupling(units).flatten(1).T


@pytest.mark.parametrize("kind", ["conv_symmetric", "dense_symmetric"])
@torch.no_grad()
def test_the_matrix_of_a_symmetric_coupling_is_symmetric_and_of_others_not(kind) -> None:
    found = matrix(built(kind))
    torch.testing.assert_close(found, found.T)
    assert found.abs().max() > 0.05
    plain = built("conv")
    plain.bias.zero_()
    assert not torch.allclose(matrix(plain), matrix(plain).T, atol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", ["conv_symmetric", "dense_symmetric"])
@torch.no_grad()
def test_small_steps_never_raise_the_energy(kind, n) -> None:
    """Discrete descent: gamma (max <x, y> + max(0, -smallest eigenvalue)) <= 2, any stimulus, no frequencies."""
    coupling, draw = built(kind), generator("cpu", kind, n)
    coupling.free.mul_(3)
    smallest = torch.linalg.eigvalsh(matrix(coupling))[0].item()
    x = normalise(torch.randn(8, 6, *GRID, generator=draw, dtype=torch.float64), n)
    c = torch.randn(8, 6, *GRID, generator=draw, dtype=torch.float64)
    before = energy(x, coupling(x), c)
    for _ in range(20):
        y = coupling(x) + c
        along = (x * y).view(8, 6 // n, n, *GRID).sum(2).max().clamp_min(0).item()
        gamma = torch.tensor(2 / (along + max(0.0, -smallest)), dtype=torch.float64)
        x = kuramoto_step(x, y, omega=None, step_size=gamma, oscillator_dim=n, project=n > 1)
        after = energy(x, coupling(x), c)
        if n > 1:
            assert (after <= before + 1e-9).all()
        before = after
    assert torch.allclose(x.view(8, 6 // n, n, *GRID).norm(dim=2), torch.ones(1, dtype=torch.float64))


def test_a_dense_coupling_is_for_one_grid_and_an_even_kernel_is_refused() -> None:
    with pytest.raises(UserError, match="a grid of 3 x 3 sites: this dense coupling is for 4 x 5"):
        DenseCoupling(2, GRID)(torch.zeros(1, 2, 3, 3))
    with pytest.raises(UserError, match="kernel_size=4: must be odd"):
        SymmetricConvCoupling(2, 4)
    with pytest.raises(UserError, match="dense_symmetric: is for one size of grid"):
        coupling_of("dense_symmetric", 4, kernel_size=3, heads=2)
