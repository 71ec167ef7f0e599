"""What the theory of AKOrN says of the whole dynamics, on every coupling that it holds for (docs/methods/kuramoto.md).

The step alone, two oscillators and the scalar model are in test_kuramoto_step.py and test_phases.py, random symmetric
matrices in test_energy.py. Here are the couplings that networks have, at N = 1, 2, 3 and 4, in float64.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AttentionCoupling, DenseCoupling, SymmetricConvCoupling, coupling_of
from sslkuramoto.dynamics.energy import energy
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies, kuramoto_step, rotate_planes
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.dynamics.position import Rotations
from sslkuramoto.dynamics.sphere import dot, norm, normalise, tangent
from sslkuramoto.randomness import borrowed_global, generator

GRID, CHANNELS = (4, 5), 24  # 24 = 24 * 1 = 12 * 2 = 8 * 3 = 6 * 4
EVERY = ("conv", "attention", "attention-rope", "attention-gta", "conv_symmetric", "dense_symmetric")
SYMMETRIC = ("conv_symmetric", "dense_symmetric")
SCALAR = (*SYMMETRIC, "attention", "attention-rope", "attention-gta")
GAMMA = torch.tensor(0.8, dtype=torch.float64)


def built(kind: str, *, heads: int = 2, scale: float = 1.0) -> Any:
    """A coupling with random weights, all multiplied by ``scale``; rotations of positions are left as they begin."""
    name, _, positions = kind.partition("-")
    with borrowed_global(generator("cpu", "weights", kind)):
        coupling = coupling_of(
            name,  # pyright: ignore[reportArgumentType]
            CHANNELS,
            kernel_size=3,
            heads=heads,
            positions=positions or "none",  # pyright: ignore[reportArgumentType]
            grid=GRID,
        )
    for key, value in coupling.named_parameters():
        if "matrices" not in key:
            value.data.mul_(scale)
    return coupling.double().requires_grad_(False)


def scalar(kind: str, n: int, normal: Callable[..., Tensor]) -> Any:
    """A coupling that multiplies whole oscillators by numbers, J_ij = k_ij I, without bias. Attention has one head."""
    coupling, m, eye = built(kind, heads=1), CHANNELS // n, torch.eye(n, dtype=torch.float64)
    if isinstance(coupling, DenseCoupling):
        sites = GRID[0] * GRID[1]
        numbers = normal(m, sites, m, sites) / (m * sites) ** 0.5
        coupling.free.copy_(torch.einsum("asbt,ij->aisbjt", numbers, eye).reshape(coupling.free.shape))
    elif isinstance(coupling, SymmetricConvCoupling):
        numbers = normal(m, m, 3, 3) / (3 * m**0.5)
        coupling.free.copy_(torch.einsum("abyx,ij->aibjyx", numbers, eye).reshape(coupling.free.shape))
    else:
        for projection in (coupling.to_qkv, coupling.to_out):
            numbers = normal(projection.out_channels // n, m) / m**0.5
            projection.weight.copy_(torch.kron(numbers, eye)[..., None, None])
            projection.bias.zero_()
    return coupling


def layer(coupling: nn.Module, n: int, *, omega: float | None = None, **other: Any) -> KuramotoLayer:
    return KuramotoLayer(
        coupling,  # pyright: ignore[reportArgumentType]
        channels=CHANNELS,
        oscillator_dim=n,
        frequencies=None if omega is None else NaturalFrequencies(None, omega, learn=False),
        norm="none",
        project=n > 1,
        **other,
    ).double()


def start(n: int, normal: Callable[..., Tensor], b: int = 2) -> tuple[Tensor, Tensor]:
    """Unit oscillators and a stimulus, both "b c h w"."""
    return normalise(normal(b, CHANNELS, *GRID), n), normal(b, CHANNELS, *GRID)


def turned(x: Tensor, angle: float) -> Tensor:
    """Return exp(t Omega) x: each plane of two channels turned by minus ``angle``."""
    angles = torch.tensor(angle, dtype=torch.float64)
    return angles.cos() * x + angles.sin() * rotate_planes(x, torch.ones_like(angles))


# T1: a step is an arc of a great circle


@pytest.mark.parametrize(("n", "omega"), [(2, None), (2, 0.7), (3, None), (4, None), (4, 0.7)])
@pytest.mark.parametrize("kind", EVERY)
def test_every_step_turns_by_the_arc_tangent_of_gamma_times_the_length_of_the_velocity(kind, n, omega, normal) -> None:
    coupling, (x, c) = built(kind), start(n, normal)
    net = layer(coupling, n, omega=omega)
    _, trace = net(x, c, step_size=GAMMA, num_steps=4, trace=True)
    for before, after in pairwise([x, *trace.states]):
        velocity = tangent(before, coupling(before) + c, n)
        if net.frequencies is not None:
            velocity = velocity + rotate_planes(before, net.frequencies())
        assert dot(before, velocity, n).abs().max() < 1e-13
        angle = torch.atan2(norm(tangent(before, after, n), n), dot(before, after, n))
        torch.testing.assert_close(angle, torch.arctan(GAMMA * norm(velocity, n)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", SYMMETRIC)
def test_for_n_2_and_couplings_by_numbers_a_small_step_is_the_euler_step_of_the_scalar_model(
    kind, normal, matrix_of
) -> None:
    """theta_i' = -omega + sum_j k_ij sin(theta_j - theta_i) + |c_i| sin(arg c_i - theta_i), error O(gamma^2)."""
    coupling, (x, c), omega = scalar(kind, 2, normal), start(2, normal, b=1), 0.7
    numbers = matrix_of(coupling, (CHANNELS, *GRID)).view(12, 2, 20, 12, 2, 20)[:, 0, :, :, 0, :].reshape(240, 240)

    def phase(state: Tensor) -> Tensor:
        first, second = state.view(12, 2, 20).unbind(1)
        return torch.atan2(second, first).reshape(240)

    theta, push = phase(x), c.view(12, 2, 20).norm(dim=1).reshape(240)
    force = -omega + (numbers * torch.sin(theta[None] - theta[:, None])).sum(1) + push * torch.sin(phase(c) - theta)
    wrong = []
    for gamma in (0.02, 0.01):
        size = torch.tensor(gamma, dtype=torch.float64)
        after = phase(layer(coupling, 2, omega=omega)(x, c, step_size=size, num_steps=1)[0])
        moved = torch.remainder(after - theta + torch.pi, 2 * torch.pi) - torch.pi
        torch.testing.assert_close(moved, torch.arctan(gamma * force), rtol=0, atol=1e-7)  # omega is kept in float32
        wrong.append((moved - gamma * force).abs().max().item())
    assert wrong[0] / wrong[1] == pytest.approx(8, rel=0.05)  # arctan: the error is even O(gamma^3)


# T2: in continuous time the energy falls at the rate of the squared drive


def rate_of_energy(coupling: nn.Module, x: Tensor, c: Tensor, velocity: Tensor) -> Tensor:
    """Return dE/dt of each example for dx/dt = velocity."""
    (_, rate) = torch.autograd.functional.jvp(lambda state: energy(state, coupling(state), c), x, velocity)
    return rate


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_without_frequencies_the_energy_falls_at_the_rate_of_the_projected_drive_squared(kind, n, normal) -> None:
    coupling, (x, c) = built(kind), start(n, normal)
    velocity = tangent(x, coupling(x) + c, n)
    wanted = -velocity.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(rate_of_energy(coupling, x, c, velocity), wanted, rtol=1e-11, atol=0)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_a_shared_frequency_does_not_change_that_rate_without_stimulus_and_with_couplings_by_numbers(
    kind, n, normal
) -> None:
    coupling, (x, c) = scalar(kind, n, normal), start(n, normal)
    still = tangent(x, coupling(x), n)
    turning = rotate_planes(x, torch.tensor(1.3, dtype=torch.float64))
    wanted = -still.square().sum(dim=(1, 2, 3))
    found = rate_of_energy(coupling, x, torch.zeros_like(c), still + turning)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=0)
    with_stimulus = tangent(x, coupling(x) + c, n)
    other = rate_of_energy(coupling, x, c, with_stimulus + turning) + with_stimulus.square().sum(dim=(1, 2, 3))
    assert other.abs().min() > 0.1, "Omega c = 0 is needed"


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_the_commutator_of_a_symmetric_coupling_and_the_frequencies_is_symmetric_and_has_trace_zero(
    kind, n, normal, matrix_of
) -> None:
    """So it is positive semidefinite, as appendix G asks, only where it is zero: where they commute."""
    shape = (CHANNELS, *GRID)

    class Turn(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return rotate_planes(x, torch.tensor(0.9, dtype=torch.float64))

    turn = matrix_of(Turn(), shape)
    torch.testing.assert_close(turn, -turn.T, rtol=0, atol=0)
    for coupling, commutes in ((built(kind), False), (scalar(kind, n, normal), True)):
        matrix = matrix_of(coupling, shape)
        commutator = matrix @ turn - turn @ matrix
        torch.testing.assert_close(commutator, commutator.T, rtol=0, atol=1e-14)
        assert abs(commutator.trace().item()) < 1e-12
        assert bool(commutator.abs().max() < 1e-14) is commutes
        assert bool(torch.linalg.eigvalsh(commutator)[0] < -1e-3) is not commutes


# T3: in discrete time the energy does not rise below a step size that is known beforehand


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_the_energy_never_rises_at_the_step_size_that_norms_of_the_couplings_allow(kind, n, normal, matrix_of) -> None:
    """gamma (max_i (sum_j |J_ij| + |c_i|) + max(0, -lambda_min(J))) = 2: no state is needed to know it."""
    coupling, (x, c), m = built(kind), start(n, normal), CHANNELS // n
    matrix = matrix_of(coupling, (CHANNELS, *GRID))
    blocks = matrix.view(m, n, 20, m, n, 20).permute(0, 2, 3, 5, 1, 4)
    longest = (torch.linalg.matrix_norm(blocks, ord=2).sum(dim=(2, 3)) + norm(c, n).flatten(2).amax(0)).max()
    gamma = 2 / (longest - torch.linalg.eigvalsh(matrix)[0].clamp_max(0))
    _, trace = layer(coupling, n)(x, c, step_size=gamma, num_steps=100, trace=True)
    assert (trace.energy.diff(dim=0) <= 1e-11).all()
    assert (trace.energy[-1] < trace.energy[0] - 1).all()


@pytest.mark.parametrize("kind", SYMMETRIC)
def test_a_step_far_beyond_that_size_can_raise_the_energy(kind, normal) -> None:
    coupling, (x, c) = built(kind, scale=-3.0), start(2, normal)
    _, trace = layer(coupling, 2)(x, c, step_size=torch.tensor(50.0).double(), num_steps=30, trace=True)
    assert (trace.energy.diff(dim=0) > 0.1).any()


# T4 and T5: symmetry under a common rotation


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_a_common_rotation_leaves_the_energy_without_stimulus_as_it_is(kind, n, normal) -> None:
    coupling, (x, c) = scalar(kind, n, normal), start(n, normal)
    rotated, nothing = turned(x, 1.1), torch.zeros_like(c)
    before, after = (energy(state, coupling(state), nothing) for state in (x, rotated))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    assert (energy(rotated, coupling(rotated), c) - energy(x, coupling(x), c)).abs().min() > 0.1


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_rotating_exactly_and_then_stepping_never_raises_the_energy_and_eulers_step_is_off_by_gamma_squared(
    kind, n, normal, matrix_of
) -> None:
    coupling, (x, _), omega = scalar(kind, n, normal), start(n, normal), 1.5
    lowest = torch.linalg.eigvalsh(matrix_of(coupling, (CHANNELS, *GRID)))[0]
    nothing, state, energies = torch.zeros_like(x), x, []
    for _ in range(60):
        energies.append(energy(state, coupling(state), nothing))
        state = turned(state, omega * 0.3)
        y = coupling(state)
        gamma = 2 / (dot(state, y, n).max() + (-lowest).clamp_min(0))
        state = kuramoto_step(state, y, omega=None, step_size=gamma, oscillator_dim=n)
    assert (torch.stack(energies).diff(dim=0) <= 1e-11).all()
    rate, apart = -tangent(x, coupling(x), n).square().sum(dim=(1, 2, 3)), []
    for size in (0.002, 0.001):
        step = torch.tensor(size, dtype=torch.float64)
        after = kuramoto_step(x, coupling(x), omega=torch.full_like(step, omega), step_size=step, oscillator_dim=n)
        change = energy(after, coupling(after), nothing) - energy(x, coupling(x), nothing)
        apart.append((change - size * rate).abs().mean().item())
    assert apart[0] / apart[1] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("kind", SCALAR)
def test_the_dynamics_commute_with_a_common_rotation_without_stimulus(kind, n, normal) -> None:
    """Of attention with one head too: its scores do not change, and rotations by position turn the same planes."""
    net, (x, c) = layer(scalar(kind, n, normal), n, omega=0.6), start(n, normal)
    straight, _ = net(x, None, step_size=GAMMA, num_steps=4)
    first, _ = net(turned(x, 0.9), None, step_size=GAMMA, num_steps=4)
    torch.testing.assert_close(first, turned(straight, 0.9), rtol=0, atol=1e-11)
    pulled, _ = net(turned(x, 0.9), c, step_size=GAMMA, num_steps=4)
    assert not torch.allclose(pulled, turned(net(x, c, step_size=GAMMA, num_steps=4)[0], 0.9), atol=1e-2)


# T6: more steps continue fewer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", EVERY)
def test_the_first_sixteen_of_128_states_are_those_of_a_run_of_sixteen_to_the_last_bit(kind, n, dtype, normal) -> None:
    net, (x, c) = layer(built(kind), n).to(dtype), (value.to(dtype) for value in start(n, normal))
    gamma = GAMMA.to(dtype)
    short = net(x, c, step_size=gamma, num_steps=16, trace=True)[1]
    long = net(x, c, step_size=gamma, num_steps=128, trace=True)[1]
    assert torch.equal(long.states[:16], short.states)
    assert torch.equal(long.energy[:17], short.energy)
    assert len(long.states) == 128


# T7: oscillators stay on the sphere


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 5e-7), (torch.float64, 1e-15)])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", EVERY)
def test_every_state_is_on_the_sphere(kind, n, dtype, atol, normal) -> None:
    net, (x, c) = layer(built(kind, scale=3.0), n).to(dtype), (value.to(dtype) for value in start(n, normal))
    _, trace = net(x, c, step_size=GAMMA.to(dtype), num_steps=12, trace=True)
    for state in trace.states:
        torch.testing.assert_close(norm(state, n), torch.ones_like(norm(state, n)), rtol=0, atol=atol)


@pytest.mark.parametrize("kind", EVERY)
def test_for_n_1_nothing_is_tangent_and_without_projection_a_drive_beyond_one_over_gamma_flips_the_sign(
    kind, normal
) -> None:
    coupling, (x, c) = built(kind), start(1, normal)
    y = 2 * (coupling(x) + c)
    assert torch.equal(x.abs(), torch.ones_like(x))
    held = kuramoto_step(x, y, omega=None, step_size=GAMMA, oscillator_dim=1)
    assert torch.equal(held, x)
    moved = kuramoto_step(x, y, omega=None, step_size=GAMMA, oscillator_dim=1, project=False)
    flipped = moved.sign() != x.sign()
    assert torch.equal(flipped, GAMMA * x * y < -1)
    assert 0.05 < flipped.double().mean() < 0.5


# T8: sites without positions, and coordinates that only count as differences


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_dynamics_of_attention_without_positions_commute_with_permutations_of_the_sites(n, normal) -> None:
    order = torch.randperm(20, generator=generator("cpu", "order"))

    def permuted(state: Tensor) -> Tensor:
        return state.flatten(2)[:, :, order].view(state.shape)

    x, c = start(n, normal)
    for kind in EVERY:
        net = layer(built(kind), n)
        given, wanted = (net(f(x), f(c), step_size=GAMMA, num_steps=3)[0] for f in (permuted, lambda state: state))
        difference = (given - permuted(wanted)).abs().max()
        if kind == "attention":
            assert difference < 1e-12
        elif n > 1:  # signs may be the same by chance
            assert difference > 1e-2, kind


@pytest.mark.parametrize("shift", [(0, 1), (2, 0), (1, 2)])
@pytest.mark.parametrize("positions", ["rope", "gta"])
def test_rotations_as_they_begin_depend_on_differences_of_coordinates_only(positions, shift, normal) -> None:
    """A window of a larger grid, placed elsewhere: the same coupling. Tables are made in float32, hence 1e-5."""
    far, whole = built(f"attention-{positions}"), (GRID[0] + 2, GRID[1] + 2)
    near, (x, _) = built(f"attention-{positions}"), start(2, normal)
    for name, table in far.rotations.items():
        large = Rotations(CHANNELS // 2, whole, inverse=name == "output").matrices.detach().double()
        window = large.view(*whole, *large.shape[1:])[shift[0] : shift[0] + GRID[0], shift[1] : shift[1] + GRID[1]]
        table.matrices.copy_(window.flatten(0, 1))
    assert isinstance(near, AttentionCoupling)
    torch.testing.assert_close(far(x), near(x), rtol=0, atol=1e-5)
    for table in far.rotations.values():
        table.matrices.add_(0.3 * normal(*table.matrices.shape))  # trained: any matrices
    assert (far(x) - near(x)).abs().max() > 1e-2


# T9: the published code without frequencies


@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("kind", EVERY)
def test_adding_the_state_to_the_velocity_is_the_step_size_gamma_over_one_plus_gamma(kind, n, gamma, normal) -> None:
    coupling, (x, c) = built(kind), start(n, normal)
    size = torch.tensor(gamma, dtype=torch.float64)
    given = layer(coupling, n, identity=True)(x, c, step_size=size, num_steps=8, trace=True)[1]
    wanted = layer(coupling, n)(x, c, step_size=size / (1 + size), num_steps=8, trace=True)[1]
    torch.testing.assert_close(given.states, wanted.states, rtol=0, atol=1e-12)
    torch.testing.assert_close(given.energy, wanted.energy, rtol=0, atol=1e-10)
