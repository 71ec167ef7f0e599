"""One Kuramoto step: geometry on the sphere, its options, and the explicit backward pass."""

import math

import pytest
import torch

from sslkuramoto.dynamics.kuramoto import (
    NaturalFrequencies,
    kuramoto_step,
    kuramoto_step_by_definition,
    rotate_planes,
)
from sslkuramoto.dynamics.sphere import dot, norm, normalise, tangent
from sslkuramoto.errors import UserError


def real(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def frequencies(kind: str, n: int, m: int, normal) -> torch.Tensor | None:
    return {"none": None, "shared": normal().abs(), "per_pair": normal(m * n // 2).abs()}[kind]


SWITCHES = [
    pytest.param(n, omega, project, identity, id=f"n{n}-{omega}-{'proj' if project else 'noproj'}{'-id' * identity}")
    for n, kinds in ((2, ("none", "shared", "per_pair")), (3, ("none",)), (4, ("none", "shared", "per_pair")))
    for omega in kinds
    for project in (True, False)
    for identity in ((False, True) if omega == "none" else (False,))
]


@pytest.mark.parametrize(("n", "omega", "project", "identity"), SWITCHES)
def test_the_step_equals_the_equations_and_ends_on_the_sphere(n, omega, project, identity, oscillators, normal):
    x, y, gamma = oscillators(n), 3 * normal(2, 3 * n, 4, 5), real(0.7)
    omega = frequencies(omega, n, 3, normal)
    out = kuramoto_step(x, y, omega=omega, step_size=gamma, oscillator_dim=n, project=project, identity=identity)
    for b, m, h, w in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 3)):
        v, drive = x[b, m * n : (m + 1) * n, h, w], y[b, m * n : (m + 1) * n, h, w]
        velocity = drive - v.dot(drive) * v if project else drive.clone()
        velocity = velocity + v if identity else velocity
        if omega is not None:
            turn = torch.zeros(n, n, dtype=torch.float64)
            for p in range(n // 2):
                rate = omega if omega.numel() == 1 else omega[m * n // 2 + p]
                turn[2 * p, 2 * p + 1], turn[2 * p + 1, 2 * p] = rate, -rate
            velocity = velocity + turn @ v
        moved = v + gamma * velocity
        torch.testing.assert_close(out[b, m * n : (m + 1) * n, h, w], moved / moved.norm())
    torch.testing.assert_close(norm(out, n), torch.ones_like(norm(out, n)), rtol=0, atol=1e-15 * 4)
    by_definition = kuramoto_step_by_definition(x, y, omega, gamma, n, project, identity)
    torch.testing.assert_close(out, by_definition, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("n", "omega"), [(2, "shared"), (3, "none"), (4, "per_pair")])
def test_the_update_is_tangent_and_the_angle_moved_is_the_arc_tangent_of_its_length(n, omega, oscillators, normal):
    x, y, gamma = oscillators(n), 3 * normal(2, 3 * n, 4, 5), real(1.3)
    omega = frequencies(omega, n, 3, normal)
    velocity = tangent(x, y, n) + (rotate_planes(x, omega) if omega is not None else 0)
    assert dot(x, velocity, n).abs().max() < 1e-14
    out = kuramoto_step(x, y, omega=omega, step_size=gamma, oscillator_dim=n)
    sine = norm(tangent(x, out, n), n)
    angle = torch.atan2(sine, dot(x, out, n))
    torch.testing.assert_close(angle, torch.arctan(gamma * norm(velocity, n)), rtol=0, atol=1e-14)
    assert angle.max() < math.pi / 2


def test_natural_frequencies_alone_turn_each_plane_backwards_by_the_arc_tangent_of_omega(oscillators):
    x, omega = oscillators(2), torch.tensor([0.0, 0.3, 2.0], dtype=torch.float64)
    out = kuramoto_step(x, torch.zeros_like(x), omega=omega, step_size=real(0.5), oscillator_dim=2)

    def phases(v):
        return torch.atan2(v[:, 1::2], v[:, 0::2])

    moved = torch.remainder(phases(x) - phases(out) + math.pi, 2 * math.pi) - math.pi
    wanted = torch.arctan(0.5 * omega).view(1, 3, 1, 1).expand_as(moved)
    torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.5])
def test_adding_the_state_itself_is_a_clean_step_of_size_gamma_over_one_plus_gamma(n, gamma, oscillators, normal):
    x, y = oscillators(n), 3 * normal(2, 3 * n, 4, 5)
    with_state = kuramoto_step(x, y, omega=None, step_size=real(gamma), oscillator_dim=n, identity=True)
    clean = kuramoto_step(x, y, omega=None, step_size=real(gamma / (1 + gamma)), oscillator_dim=n)
    torch.testing.assert_close(with_state, clean, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_without_projection_the_step_size_becomes_gamma_over_one_plus_gamma_times_the_radial_drive(
    n, oscillators, normal
):
    x, y, gamma = oscillators(n), 1.5 * normal(2, 3 * n, 4, 5), 0.8
    out = kuramoto_step(x, y, omega=None, step_size=real(gamma), oscillator_dim=n, project=False)
    radial = dot(x, y, n)
    keeps_its_side = 1 + gamma * radial > 0
    own = (gamma / (1 + gamma * radial)).repeat_interleave(n, dim=1)
    clean = normalise(x + own * tangent(x, y, n), n)
    same = keeps_its_side.repeat_interleave(n, dim=1)
    assert 0.5 < same.double().mean() < 1  # both cases are met
    torch.testing.assert_close(out[same], clean[same], rtol=0, atol=1e-11)
    torch.testing.assert_close(out[~same], -clean[~same], rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", [2, 4])
def test_frequencies_of_zero_are_no_frequencies(n, oscillators, normal):
    x, y = oscillators(n), normal(2, 3 * n, 4, 5)
    bare = kuramoto_step(x, y, omega=None, step_size=real(1), oscillator_dim=n)
    for zero in (real(0), torch.zeros(3 * n // 2, dtype=torch.float64)):
        assert torch.equal(bare, kuramoto_step(x, y, omega=zero, step_size=real(1), oscillator_dim=n))


def test_one_shared_frequency_equals_the_same_frequency_in_each_plane(oscillators, normal):
    x, y = oscillators(4), normal(2, 12, 4, 5)
    shared = kuramoto_step(x, y, omega=real(0.4), step_size=real(1), oscillator_dim=4)
    each = kuramoto_step(x, y, omega=real(0.4).expand(6), step_size=real(1), oscillator_dim=4)
    assert torch.equal(shared, each)


@pytest.mark.parametrize(("n", "omega", "project", "identity"), SWITCHES)
def test_first_and_second_derivatives_equal_finite_differences(n, omega, project, identity, oscillators, normal):
    x, y, gamma = oscillators(n, 1, 2, 1, 1), normal(1, 2 * n, 1, 1), real(0.7)
    omega = frequencies(omega, n, 2, normal)
    given = [v.requires_grad_() for v in (x, y, gamma, *([] if omega is None else [omega]))]

    def step(x, y, gamma, omega=None):
        return kuramoto_step(x, y, omega=omega, step_size=gamma, oscillator_dim=n, project=project, identity=identity)

    assert torch.autograd.gradcheck(step, given)
    assert torch.autograd.gradgradcheck(step, given)


@pytest.mark.parametrize(("n", "omega", "project", "identity"), SWITCHES)
def test_gradients_equal_those_of_the_equations_and_are_skipped_where_not_wanted(
    n, omega, project, identity, oscillators, normal
):
    x, y, gamma = oscillators(n), normal(2, 3 * n, 4, 5), real(0.7)
    omega = frequencies(omega, n, 3, normal)
    cotangent = normal(2, 3 * n, 4, 5)
    given = [v.requires_grad_() for v in (x, y, gamma, *([] if omega is None else [omega]))]
    out = kuramoto_step(x, y, omega=omega, step_size=gamma, oscillator_dim=n, project=project, identity=identity)
    plain = kuramoto_step_by_definition(x, y, omega, gamma, n, project, identity)
    wanted = torch.autograd.grad(plain, given, cotangent)
    for found, expected in zip(torch.autograd.grad(out, given, cotangent, retain_graph=True), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    for value, expected in zip(given, wanted, strict=True):  # each one alone
        alone = [v.detach().requires_grad_(v is value) for v in given]
        frequency = None if omega is None else alone[3]
        out = kuramoto_step(
            alone[0],
            alone[1],
            omega=frequency,
            step_size=alone[2],
            oscillator_dim=n,
            project=project,
            identity=identity,
        )
        out.backward(cotangent)
        for v, original in zip(alone, given, strict=True):
            assert (v.grad is not None) == (original is value)
            if v.grad is not None:
                torch.testing.assert_close(v.grad, expected, rtol=1e-11, atol=1e-12)


def test_a_drive_in_bfloat16_moves_float32_states_and_gets_a_bfloat16_gradient(oscillators, normal):
    x, y = oscillators(2).float(), normal(2, 6, 4, 5).bfloat16().requires_grad_()
    out = kuramoto_step(x, y, omega=torch.tensor(0.5), step_size=torch.tensor(1.0), oscillator_dim=2)
    assert out.dtype == torch.float32
    whole = kuramoto_step(x, y.float(), omega=torch.tensor(0.5), step_size=torch.tensor(1.0), oscillator_dim=2)
    assert torch.equal(out, whole)
    out.sum().backward()
    assert y.grad is not None
    assert y.grad.dtype == torch.bfloat16
    assert y.grad.isfinite().all()


def test_states_and_drives_that_are_not_contiguous_are_read_right(oscillators, normal):
    x, y = oscillators(2), normal(2, 6, 4, 5)
    strided = (v.to(memory_format=torch.channels_last) for v in (x, y))
    given = {"omega": real(0.5), "step_size": real(1), "oscillator_dim": 2}
    assert torch.equal(kuramoto_step(*strided, **given), kuramoto_step(x, y, **given))


def test_the_step_changes_neither_state_nor_drive(oscillators, normal):
    x, y = oscillators(2), normal(2, 6, 4, 5)
    kept = x.clone(), y.clone()
    kuramoto_step(x, y, omega=real(0.5), step_size=real(1), oscillator_dim=2)
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])


@pytest.mark.parametrize(("planes", "shape"), [(None, ()), (6, (6,))])
def test_natural_frequencies_start_at_their_initial_value_and_are_lengths_of_vectors(planes, shape):
    module = NaturalFrequencies(planes, 0.5, learn=True)
    assert module().shape == shape
    torch.testing.assert_close(module(), torch.full(shape, 0.5))
    with torch.no_grad():
        module.vector.copy_(torch.tensor([-3.0, 4.0]).expand_as(module.vector))
    torch.testing.assert_close(module(), torch.full(shape, 5.0))


def test_a_frequency_of_zero_has_gradient_zero_and_fixed_frequencies_have_none():
    module = NaturalFrequencies(3, 0.0, learn=True)
    module().sum().backward()
    assert torch.equal(module.vector.grad, torch.zeros(3, 2))
    assert not NaturalFrequencies(None, 1.0, learn=False).vector.requires_grad


def test_a_negative_initial_frequency_is_an_error():
    with pytest.raises(UserError, match="frequency_init=-1"):
        NaturalFrequencies(None, -1.0, learn=True)
