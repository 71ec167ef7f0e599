"""The poster's equation of motion: against double loops, closed forms, and the theory of its energy."""

import math

import pytest
import torch

from sslkuramoto.dynamics.binding import PairCoupling, coherence, descending_step
from sslkuramoto.dynamics.energy import energy
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.dynamics.sphere import norm, normalise
from sslkuramoto.encoders.relational import Relational
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

D, B = 6, 12
DIMS = [2, 3, 4]
every_dim = pytest.mark.parametrize("n", DIMS)


def normal(*shape: int, key: str = "state") -> torch.Tensor:
    return torch.randn(shape, generator=generator("cpu", key, *shape), dtype=torch.float64)


def coupling_of(n: int, *, scale: float = 1.0, **options: bool) -> PairCoupling:
    with borrowed_global(generator("cpu", "coupling", n)):
        made = PairCoupling(D * n, **options).double()
    with torch.no_grad():
        made.within.mul_(scale)
        if made.across is not None:
            made.across.mul_(scale)
    return made.requires_grad_(False)


def layer_of(coupling: PairCoupling, n: int, *, omega: float | None = None) -> KuramotoLayer:
    frequencies = None if omega is None else NaturalFrequencies(D * n // 2, omega, False)
    return KuramotoLayer(
        coupling, channels=D * n, oscillator_dim=n, frequencies=frequencies, norm="none", project=True
    ).double()


def block(matrix: torch.Tensor, d: int, other: int, n: int) -> torch.Tensor:
    return matrix[d * n : (d + 1) * n, other * n : (other + 1) * n]


@every_dim
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_step_is_that_of_the_posters_equation_written_as_loops(n: int, symmetric: bool) -> None:
    coupling, gamma = coupling_of(n, symmetric=symmetric), torch.tensor(0.3, dtype=torch.float64)
    omega = 2**0.5 if n % 2 == 0 else None  # its 2-vector is (1, 1), which float32 holds exactly
    x, c = normalise(normal(B, D * n, 2, 1), n), normal(B, D * n, 2, 1, key="stimulus")
    found, _ = layer_of(coupling, n, omega=omega)(x, c, step_size=gamma, num_steps=1)
    inner, outer = coupling.matrices()
    skew = torch.zeros(n, n, dtype=torch.float64)
    for first in range(0, n if omega else 0, 2):
        skew[first, first + 1], skew[first + 1, first] = omega, -omega
    wanted = torch.empty_like(x)
    for b in range(B):
        for i in range(2):
            for d in range(D):
                own = x[b, d * n : (d + 1) * n, i, 0]
                y = c[b, d * n : (d + 1) * n, i, 0].clone()
                for other in range(D):
                    y += block(inner, d, other, n) @ x[b, other * n : (other + 1) * n, i, 0]
                    y += block(outer, d, other, n) @ x[b, other * n : (other + 1) * n, 1 - i, 0]
                moved = own + gamma * (skew @ own + y - (own @ y) * own)
                wanted[b, d * n : (d + 1) * n, i, 0] = moved / moved.norm()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@every_dim
def test_the_energy_is_the_posters_with_its_half(n: int) -> None:
    coupling = coupling_of(n, symmetric=True)
    x, c = normalise(normal(B, D * n, 2, 1), n), normal(B, D * n, 2, 1, key="stimulus")
    inner, outer = coupling.matrices()
    (x1, x2), (c1, c2) = x.squeeze(3).unbind(2), c.squeeze(3).unbind(2)
    quadratic = (x1 @ inner * x1 + x2 @ inner * x2 + x1 @ outer * x2 + x2 @ outer * x1).sum(1)
    wanted = -0.5 * quadratic - (c1 * x1 + c2 * x2).sum(1)
    torch.testing.assert_close(energy(x, coupling(x), c), wanted)
    _, trace = layer_of(coupling, n)(x, c, step_size=torch.tensor(0.1).double(), num_steps=3, trace=True)
    torch.testing.assert_close(trace.energy[0], wanted)


@every_dim
@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("between", [True, False])
def test_in_the_symmetric_case_the_energy_falls_at_each_of_25_steps_for_every_pair(
    n: int, scale: float, between: bool
) -> None:
    coupling = coupling_of(n, scale=scale, symmetric=True, between=between)
    x, c = normal(300, D * n, 2, 1), normal(300, D * n, 2, 1, key="stimulus")
    gamma = descending_step(coupling, c, n).min()
    _, trace = layer_of(coupling, n)(x, c, step_size=gamma, num_steps=25, trace="energy")
    assert trace.energy.shape == (26, 300)
    assert (trace.energy.diff(dim=0) <= 1e-12).all()  # rounding, where all have come to rest
    assert (trace.energy[:6].diff(dim=0) < 0).all()


def test_each_pair_may_take_the_step_that_its_own_drive_allows() -> None:
    coupling, x = coupling_of(2, symmetric=True), normalise(normal(40, 2 * D, 2, 1), 2)
    c = normal(40, 2 * D, 2, 1, key="stimulus") * torch.linspace(0, 20, 40)[:, None, None, None]
    steps = descending_step(coupling, c, 2)
    assert steps[0] > 2 * steps[-1]
    for each in range(40):
        one = layer_of(coupling, 2)
        _, trace = one(x[each : each + 1], c[each : each + 1], step_size=steps[each], num_steps=25, trace="energy")
        assert (trace.energy.diff(dim=0) < 0).all()


@every_dim
def test_the_bound_on_the_step_is_the_one_of_the_whole_matrix(n: int) -> None:
    """gamma = 2 / (max_i (sum_j |J_ij| + |c_i|) + max(0, -lambda_min(J))) with J over both objects at once."""
    coupling, c = coupling_of(n, symmetric=True), normal(B, D * n, 2, 1, key="stimulus")
    inner, outer = coupling.matrices()
    whole = torch.cat([torch.cat([inner, outer], dim=1), torch.cat([outer, inner], dim=1)])
    pull = [sum(torch.linalg.matrix_norm(block(whole, i, j, n), ord=2) for j in range(2 * D)) for i in range(2 * D)]
    lengths = norm(c, n).squeeze(3).transpose(1, 2).flatten(1)  # b 2*d, object by object
    longest = (torch.stack(pull) + lengths).amax(dim=1)
    wanted = 2 / (longest - torch.linalg.eigvalsh(whole)[0].clamp_max(0))
    torch.testing.assert_close(descending_step(coupling, c, n), wanted)


def test_a_step_far_beyond_the_bound_can_raise_the_energy() -> None:
    coupling, x = coupling_of(2, symmetric=True, scale=-3.0), normal(100, 2 * D, 2, 1)
    gamma = 50 * descending_step(coupling, torch.zeros_like(x), 2).min()
    _, trace = layer_of(coupling, 2)(x, None, step_size=gamma, num_steps=25, trace="energy")
    assert (trace.energy.diff(dim=0) > 0).any()


@every_dim
def test_coherence_squared_is_two_plus_twice_the_inner_product(n: int) -> None:
    x = normalise(normal(B, D * n, 2, 1), n)
    one, two = x.view(B, D, n, 2).unbind(3)
    rho = coherence(x, n)
    torch.testing.assert_close(rho**2, 2 + 2 * (one * two).sum(2))
    assert rho.shape == (B, D)
    assert 0 <= rho.min() <= rho.max() <= 2


def test_coherence_is_two_in_phase_and_has_no_gradient_where_oscillators_are_opposed() -> None:
    x = torch.tensor([[1.0, -1.0], [0.0, 0.0]]).view(1, 2, 2, 1).requires_grad_()
    rho = coherence(x, 2)
    rho.sum().backward()
    assert rho.item() < 1e-9
    assert torch.equal(x.grad, torch.zeros_like(x))
    assert coherence(torch.tensor([[1.0, 1.0], [0.0, 0.0]]).view(1, 2, 2, 1), 2).item() == 2


@every_dim
def test_swapping_the_two_objects_swaps_the_states_and_leaves_the_coherence(n: int) -> None:
    coupling = coupling_of(n)
    x, c = normal(B, D * n, 2, 1), normal(B, D * n, 2, 1, key="stimulus")
    one = layer_of(coupling, n, omega=0.4 if n % 2 == 0 else None)
    plain, swapped = (
        one(state, drive, step_size=torch.tensor(0.3).double(), num_steps=20)[0]
        for state, drive in ((x, c), (x.flip(2), c.flip(2)))
    )
    torch.testing.assert_close(swapped, plain.flip(2), rtol=0, atol=1e-9)
    torch.testing.assert_close(coherence(swapped, n), coherence(plain, n), rtol=0, atol=1e-9)


@every_dim
def test_turning_every_oscillator_by_its_own_rotation_is_absorbed_by_the_weights(n: int) -> None:
    """So planes of two coordinates are all skew-symmetric matrices: Q Omega Q^T is one of them in other coordinates."""
    coupling, gamma = coupling_of(n), torch.tensor(0.3).double()
    turns = torch.linalg.qr(normal(D, n, n, key="turns"))[0]
    turn = torch.block_diag(*turns)
    x, c = normal(B, D * n, 2, 1), normal(B, D * n, 2, 1, key="stimulus")
    turned = coupling_of(n)
    turned.within.copy_(turn @ coupling.within @ turn.T)
    turned.across.copy_(turn @ coupling.across @ turn.T)
    plain, _ = layer_of(coupling, n)(x, c, step_size=gamma, num_steps=10)
    moved = [torch.einsum("ij,bjow->biow", turn, each) for each in (x, c)]
    other, _ = layer_of(turned, n)(*moved, step_size=gamma, num_steps=10)
    torch.testing.assert_close(other, torch.einsum("ij,bjow->biow", turn, plain), rtol=0, atol=1e-9)
    torch.testing.assert_close(coherence(other, n), coherence(plain, n), rtol=0, atol=1e-9)


def two_oscillators(strength: float, difference: float) -> tuple[KuramotoLayer, PairCoupling]:
    """One oscillator an object, coupled by J_out = strength; planes turn at one frequency for both objects."""
    coupling = PairCoupling(2).double().requires_grad_(False)
    coupling.within.zero_()
    coupling.across.copy_(strength * torch.eye(2))
    made = KuramotoLayer(
        coupling,
        channels=2,
        oscillator_dim=2,
        frequencies=NaturalFrequencies(1, difference, False).double(),
        norm="none",
        project=True,
    )
    return made, coupling


@pytest.mark.parametrize("omega", [0.0, 0.8])
def test_two_oscillators_approach_each_other_as_the_closed_form_says(omega: float) -> None:
    """The difference phi of their phases obeys phi' = -2 K sin phi, so tan(phi/2) = tan(phi_0/2) exp(-2 K t)."""
    strength, step, steps, start = 0.5, 1e-3, 2000, 2.5
    made, _ = two_oscillators(strength, omega)
    phases = torch.tensor([0.3, 0.3 + start], dtype=torch.float64)
    x = torch.stack([phases.cos(), phases.sin()]).view(1, 2, 2, 1)
    out, _ = made(x, None, step_size=torch.tensor(step).double(), num_steps=steps)
    phi = 2 * math.atan(math.tan(start / 2) * math.exp(-2 * strength * step * steps))
    wanted = math.sqrt(2 + 2 * math.cos(phi))
    assert coherence(out, 2).item() == pytest.approx(wanted, abs=2e-3)
    later, _ = made(x, None, step_size=torch.tensor(0.1).double(), num_steps=400)
    assert coherence(later, 2).item() == pytest.approx(2, abs=1e-9), "they lock in phase"


@pytest.mark.parametrize("angle", [0.4, 2.0])
def test_two_oscillators_that_are_pulled_apart_lock_at_the_angle_of_the_closed_form(angle: float) -> None:
    """Pulled by unit vectors at +-a and by each other with K, theta_2 = -theta_1: sin(a - t) = K sin(2 t)."""
    strength = 0.3
    made, _ = two_oscillators(strength, 0.0)
    c = torch.tensor([[math.cos(angle), math.cos(angle)], [math.sin(angle), -math.sin(angle)]]).double()
    x = torch.tensor([[1.0, 1.0], [0.1, -0.1]]).double().view(1, 2, 2, 1)
    out, _ = made(x, c.view(1, 2, 2, 1), step_size=torch.tensor(0.2).double(), num_steps=2000)
    low, high = 0.0, math.pi  # bisection: at 0 the pull is towards a, and at pi too
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.sin(angle - middle) > strength * math.sin(2 * middle) else (low, middle)
    assert coherence(out, 2).item() == pytest.approx(2 * abs(math.cos(low)), abs=1e-6)


def test_without_a_coupling_between_them_an_object_does_not_feel_the_other() -> None:
    coupling = coupling_of(2, between=False)
    assert coupling.across is None
    assert coupling.matrices()[1].count_nonzero() == 0
    x, c = normal(B, 2 * D, 2, 1), normal(B, 2 * D, 2, 1, key="stimulus")
    one, gamma = layer_of(coupling, 2), torch.tensor(0.3).double()
    plain, _ = one(x, c, step_size=gamma, num_steps=5)
    changed = torch.cat([x[:, :, :1], -x[:, :, 1:]], dim=2)
    other, _ = one(changed, c, step_size=gamma, num_steps=5)
    assert torch.equal(plain[:, :, 0], other[:, :, 0])
    assert not torch.allclose(plain[:, :, 1], other[:, :, 1])


def network(**options: object) -> Relational:
    with borrowed_global(generator("cpu", "relational")):
        return Relational(size=16, channels=4, hidden=8, dimensions=6, **options).double().eval()


def test_the_network_states_the_step_below_which_its_energy_falls_for_every_pair() -> None:
    pictures = torch.rand(50, 2, 3, 16, 16, generator=generator("cpu", "pictures"), dtype=torch.float64)
    encoder = network(symmetric=True, natural_frequency=False)
    allowed = encoder.descending_step(pictures)
    assert allowed.shape == (50,)
    encoder.step_size.fill_(allowed.min())
    with torch.no_grad():
        trace = encoder(pictures, draw=generator("cpu", 0), trace="energy", num_steps=25).trace
    assert trace is not None
    assert (trace[0].energy.diff(dim=0) < 0).all()


@pytest.mark.parametrize("options", [{"symmetric": True}, {"natural_frequency": False}])
def test_the_bound_is_refused_where_it_is_not_known_to_hold(options: dict) -> None:
    with pytest.raises(UserError, match="needs symmetric=true and natural_frequency=false"):
        network(**options).descending_step(torch.zeros(1, 2, 3, 16, 16).double())
