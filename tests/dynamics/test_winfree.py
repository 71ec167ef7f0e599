"""What the theory says of Winfree steps (docs/methods/winfree.md): W1 to W8 but for the sizes of networks, float64."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AttentionCoupling, DenseCoupling, SymmetricConvCoupling
from sslkuramoto.dynamics.kuramoto import kuramoto_step
from sslkuramoto.dynamics.winfree import (
    Cosine,
    LearnedInfluence,
    LearnedSensitivity,
    SineInfluence,
    angles,
    group_grid,
    influence_of,
    interaction_energy,
    interaction_energy_code,
    interleaved,
    on_circle,
    padded,
    spread,
    winfree_step,
    wrap,
)
from sslkuramoto.dynamics.winfree_layer import FrequencyTransition, PhaseEmbedding, PhaseTransition, WinfreeLayer
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

GRID, CHANNELS = (4, 5), 3
GAMMA = torch.tensor(0.3, dtype=torch.float64)


def built(part, *arguments, **options):
    with borrowed_global(generator("cpu", "weights", part.__name__, str(arguments))):
        return part(*arguments, **options).double().requires_grad_(False)


def circle(a: Tensor, b: Tensor) -> Tensor:
    """The largest distance on the circle."""
    return wrap(a - b).abs().max()


def plain(coupling: nn.Module, *, size: int = 1, channels: int = CHANNELS, **parts) -> WinfreeLayer:
    """A layer of Eq. 5: S = cos, I = sin, the field is c i."""
    parts = {"sensitivity": Cosine(), "influence": SineInfluence(size), "rectify": False, **parts}
    return WinfreeLayer(coupling, channels=channels, group_size=size, **parts).double().requires_grad_(False)


# W1: phases stay on the circle


def test_wrapped_phases_are_the_same_points_of_the_circle_and_have_derivative_one(normal):
    theta = (50 * normal(1000)).requires_grad_()
    wrapped = wrap(theta)
    assert (wrapped.abs() <= math.pi).all()
    torch.testing.assert_close(wrapped.sin(), theta.sin(), rtol=0, atol=1e-13)
    torch.testing.assert_close(wrapped.cos(), theta.cos(), rtol=0, atol=1e-13)
    turns = (theta - wrapped) / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), rtol=0, atol=1e-12)
    (slope,) = torch.autograd.grad(wrapped.sum(), theta)
    torch.testing.assert_close(slope, torch.ones_like(slope), rtol=0, atol=1e-12)
    assert wrap(torch.tensor(-torch.pi, dtype=torch.float64)).abs() == math.pi


@pytest.mark.parametrize("rectify", [False, True])
def test_phases_stay_in_half_open_turn_however_fast_they_run(rectify, normal):
    layer = plain(built(AttentionCoupling, 8, 2), channels=8, rectify=rectify)
    theta, omega = 9 * normal(2, 8, *GRID), 30 * normal(2, 8, *GRID)
    last, trace = layer(theta, omega, step_size=GAMMA, num_steps=5, trace=True)
    assert last.abs().max() <= math.pi
    assert circle(angles(trace.states[-1]), last) < 1e-14
    lengths = trace.states.unflatten(2, (-1, 2)).norm(dim=3)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-14)


# W2: Eq. 3 with q = 1 is separable


def test_with_q_1_the_pairwise_force_is_the_product_of_sensitivity_and_influence(normal):
    a, b = normal(1000), normal(1000)
    torch.testing.assert_close((b - a).sin() + (b + a).sin(), 2 * a.cos() * b.sin(), rtol=0, atol=1e-14)


def test_a_step_is_the_euler_step_of_equation_3_with_q_1(normal):
    coupling = built(DenseCoupling, CHANNELS, GRID)
    theta, omega = wrap(normal(1, CHANNELS, *GRID)), normal(1, CHANNELS, *GRID)
    flat, matrix = theta.flatten(), coupling.weight
    pairs = (flat[None] - flat[:, None]).sin() + (flat[None] + flat[:, None]).sin()
    wanted = flat + GAMMA * (omega.flatten() + (matrix * pairs).sum(1) / 2)
    found, _ = plain(coupling)(theta, omega, step_size=GAMMA, num_steps=1)
    assert circle(found.flatten(), wanted) < 1e-13


def test_the_kuramoto_step_of_dimension_2_and_the_winfree_step_agree_where_both_are_one_force(normal):
    """Under a common field along 90 degrees both models have the same force, sin(90 - theta) = cos theta."""
    theta, gamma = wrap(normal(1, 4, 2, 2)), torch.tensor(1e-3, dtype=torch.float64)
    up = interleaved(torch.zeros_like(theta), torch.ones_like(theta))
    kuramoto = kuramoto_step(on_circle(theta), up, omega=None, step_size=gamma, oscillator_dim=2)
    winfree = winfree_step(theta, torch.ones_like(theta), omega=None, sensitivity=torch.cos, step_size=gamma)
    assert circle(angles(kuramoto), winfree) < 1e-9


# W3: the energy of Eq. 16


def bound(matrix: Tensor) -> Tensor:
    """2 / (largest singular value + largest sum of a row), the bound of docs/methods/winfree.md on the step size."""
    return 2 / (torch.linalg.matrix_norm(matrix, 2) + matrix.abs().sum(1).max())


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_at_the_bound_of_the_step_size_the_energy_of_a_symmetric_coupling_never_rises(kind, size, normal, matrix_of):
    grid = group_grid(GRID, size)
    coupling = built(DenseCoupling, CHANNELS, grid) if kind == "dense" else built(SymmetricConvCoupling, CHANNELS, 3)
    matrix = matrix_of(coupling, (CHANNELS, *grid))
    torch.testing.assert_close(matrix, matrix.T)
    for _ in range(20):
        theta = math.pi * normal(8, CHANNELS, *GRID)
        _, trace = plain(coupling, size=size)(theta, None, step_size=bound(matrix), num_steps=25, trace=True)
        assert (trace.energy.diff(dim=0) <= 1e-12).all()
        assert (trace.energy[-1] < trace.energy[0]).all()


def test_ten_times_above_the_bound_the_energy_rises_sometimes(normal, matrix_of):
    coupling = built(DenseCoupling, CHANNELS, GRID)
    size = 10 * bound(matrix_of(coupling, (CHANNELS, *GRID)))
    _, trace = plain(coupling)(normal(64, CHANNELS, *GRID), None, step_size=size, num_steps=25, trace=True)
    assert (trace.energy.diff(dim=0) > 1e-3).any()


def test_the_force_is_minus_the_gradient_of_the_energy_and_frequencies_add_their_own_term(normal):
    """Eq. 17, 19 and 24: dE/dt = sum omega_i dE_i - sum dE_i^2."""
    coupling = built(DenseCoupling, CHANNELS, GRID)
    theta = normal(1, CHANNELS, *GRID).requires_grad_()
    energy = interaction_energy(theta.sin(), coupling(theta.sin()))
    (slope,) = torch.autograd.grad(energy.sum(), theta)
    force = theta.cos() * coupling(theta.sin())
    torch.testing.assert_close(force, -slope, rtol=0, atol=1e-13)
    omega = normal(1, CHANNELS, *GRID)
    rate = (slope * (omega + force)).sum()
    torch.testing.assert_close(rate, (omega * slope).sum() - slope.square().sum())


def test_a_trace_scores_every_state_and_logs_the_code_s_energy_before_each_step(normal):
    coupling, theta = built(DenseCoupling, CHANNELS, GRID), wrap(normal(2, CHANNELS, *GRID))
    _, trace = plain(coupling)(theta, None, step_size=GAMMA, num_steps=4, trace=True)
    states = [theta, *angles(trace.states)]
    for state, energy in zip(states, trace.energy, strict=True):
        influence = state.sin().flatten(1)
        torch.testing.assert_close(energy, -0.5 * torch.einsum("bi,ij,bj->b", influence, coupling.weight, influence))
    assert (trace.energy_code[0] == 0).all()
    torch.testing.assert_close(trace.energy_code[1:], 2 * trace.energy[:-1])
    only = plain(coupling)(theta, None, step_size=GAMMA, num_steps=4, trace="energy")[1]
    assert torch.equal(only.energy, trace.energy)
    assert only.states.shape == (0, *trace.states.shape[1:])


def test_the_code_s_energy_is_twice_that_of_the_paper(normal):
    influence, field = normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    torch.testing.assert_close(interaction_energy_code(influence, field), 2 * interaction_energy(influence, field))


# W4: the transition is linear in exp(i theta)


def test_a_transition_without_bias_commutes_with_a_turn_of_all_phases(normal):
    move, theta = built(PhaseTransition, CHANNELS, 5), normal(2, CHANNELS, *GRID)
    for turn in (0.3, 2.0, -3.0):
        assert circle(move(theta + turn), move(theta) + turn) < 1e-11
    biased = built(PhaseTransition, CHANNELS, 5, bias=True)
    assert circle(biased(theta + 2.0), biased(theta) + 2.0) > 0.1


def test_a_transition_is_the_angle_of_a_convolution_of_complex_numbers(normal):
    move, theta = built(PhaseTransition, CHANNELS, 5, bias=True), normal(2, CHANNELS, *GRID)
    z = torch.complex(theta.cos(), theta.sin())
    bias = torch.complex(move.bias, move.bias)
    wanted = torch.nn.functional.conv2d(z, move.weight.to(z.dtype), bias, padding=1).angle()
    assert circle(move(theta), wanted) < 1e-13


def test_a_phase_embedding_sees_its_own_channel_only_and_no_turn_of_two_pi(normal):
    embed, theta = built(PhaseEmbedding, CHANNELS), normal(1, CHANNELS, *GRID)
    torch.testing.assert_close(embed(theta + 2 * math.pi), embed(theta))
    weight = embed.weight[:, :, 0, 0]
    wanted = weight[:, 0, None, None] * theta.cos() + weight[:, 1, None, None] * theta.sin() + embed.bias[:, None, None]
    torch.testing.assert_close(embed(theta), wanted)


def test_frequencies_of_the_next_layer_are_not_negative_and_see_phases_and_frequencies(normal):
    move = built(FrequencyTransition, CHANNELS, 5).eval()
    theta, omega = normal(2, CHANNELS, *GRID), normal(2, CHANNELS, *GRID)
    found = move(theta, omega)
    assert found.shape == (2, 5, *GRID)
    assert found.min() == 0
    assert not torch.equal(found, move(theta + 1, omega))
    assert not torch.equal(found, move(theta, omega + 1))


# W5 and W6: groups


@pytest.mark.parametrize("kind", ["sin", "sin_mlp", "mlp"])
def test_groups_of_one_site_are_point_by_point(kind, normal):
    influence, theta = built(influence_of, kind, CHANNELS, 1, 2), normal(2, CHANNELS, *GRID)
    found = influence(theta)
    assert found.shape == theta.shape
    for y in range(GRID[0]):
        site = influence(theta[:, :, y : y + 1, 2:3])
        torch.testing.assert_close(site, found[:, :, y : y + 1, 2:3])


@pytest.mark.parametrize("kind", ["sin", "sin_mlp", "mlp"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_group_sees_its_own_block_and_sites_beyond_the_edge_show_zeros(kind, size, normal):
    influence, theta = built(influence_of, kind, CHANNELS, size, 2), normal(1, CHANNELS, *GRID)
    found = influence(theta)
    assert found.shape[2:] == (math.ceil(4 / size), math.ceil(5 / size))
    other = theta.clone()
    other[:, :, :size, :size] += 1
    moved = (influence(other) - found).abs().amax(dim=(0, 1)) > 1e-9
    assert moved[0, 0]
    assert moved.sum() == 1
    if kind == "sin":
        last = padded(theta.sin(), size)[..., -size:, -size:].sum(dim=(2, 3)) / size**2
        torch.testing.assert_close(found[..., -1, -1], last)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_field_of_groups_is_repeated_at_all_their_sites_and_cut_at_the_edge(size, normal):
    field = normal(2, CHANNELS, *group_grid(GRID, size))
    sites = spread(field, size, GRID)
    assert sites.shape == (2, CHANNELS, *GRID)
    for y in range(GRID[0]):
        for x in range(GRID[1]):
            assert torch.equal(sites[:, :, y, x], field[:, :, y // size, x // size])


def test_one_step_of_a_layer_with_groups_is_the_published_formula(normal):
    """theta <- wrap(theta + gamma (omega + S(theta) repeat(ReLU(GroupNorm(c I(theta))))))."""
    sensitivity, influence = built(LearnedSensitivity, 8, 2), built(LearnedInfluence, 8, 2, 2, with_cos=True)
    coupling = built(AttentionCoupling, 8, 2, "fixed_rope")
    layer = plain(coupling, size=2, channels=8, sensitivity=sensitivity, influence=influence, rectify=True)
    theta, omega = wrap(normal(2, 8, *GRID)), normal(2, 8, *GRID)
    field = torch.nn.functional.group_norm(coupling(influence(theta)), 8).relu()
    field = torch.nn.functional.interpolate(field, scale_factor=2)[..., :4, :5]
    wanted = theta + GAMMA * (omega + sensitivity(theta) * field)
    found, _ = layer(theta + 4 * math.pi, omega, step_size=GAMMA, num_steps=1)
    assert circle(found, wanted) < 1e-12


def test_a_group_larger_than_the_grid_and_channels_that_do_not_fit_the_norm_are_one_line():
    layer = plain(built(SymmetricConvCoupling, 8, 3), size=5, channels=8)
    with pytest.raises(UserError, match="group_size=5: is larger than the grid of 4 x 5 sites"):
        layer(torch.zeros(1, 8, *GRID).double(), None, step_size=GAMMA, num_steps=1)
    with pytest.raises(UserError, match="channels=12: GroupNorm has 8 groups"):
        plain(built(SymmetricConvCoupling, 12, 3), channels=12, rectify=True)


# W8: which turns the dynamics commute with


def test_the_dynamics_see_the_absolute_phase(normal):
    layer, theta = plain(built(DenseCoupling, CHANNELS, GRID)), normal(1, CHANNELS, *GRID)
    straight, _ = layer(theta, None, step_size=GAMMA, num_steps=3)
    turned, _ = layer(theta + 1.0, None, step_size=GAMMA, num_steps=3)
    assert circle(turned, straight + 1.0) > 0.1


@pytest.mark.parametrize("rectify", [False, True])
def test_the_dynamics_commute_with_the_reflection_of_phases_together_with_the_sign_of_frequencies(rectify, normal):
    layer = plain(built(AttentionCoupling, 8, 2), channels=8, rectify=rectify)
    theta, omega = normal(2, 8, *GRID), normal(2, 8, *GRID)
    straight, _ = layer(theta, omega, step_size=GAMMA, num_steps=6)
    mirrored, _ = layer(math.pi - theta, -omega, step_size=GAMMA, num_steps=6)
    assert circle(mirrored, math.pi - straight) < 1e-11


# what a rectified field does, and what longer runs do


def test_a_longer_run_begins_with_the_states_of_a_shorter_one(normal):
    layer = plain(built(AttentionCoupling, 8, 2, "fixed_rope"), channels=8, rectify=True)
    theta, omega = normal(2, 8, *GRID), normal(2, 8, *GRID).abs()
    short = layer(theta, omega, step_size=GAMMA, num_steps=3, trace=True)[1].states
    long = layer(theta, omega, step_size=GAMMA, num_steps=9, trace=True)[1].states
    assert torch.equal(long[:3], short)


def test_a_rectified_field_is_never_negative_so_phases_with_frequencies_at_least_their_force_never_turn_back(normal):
    layer = plain(built(AttentionCoupling, 8, 2), channels=8, rectify=True)
    theta = wrap(normal(2, 8, *GRID))
    field = layer.rectified(layer.coupling(layer.influence(theta)))
    assert field.min() == 0
    _, trace = layer(theta, torch.full_like(theta, 5.0), step_size=GAMMA / 30, num_steps=5, trace=True)
    for before, after in pairwise([theta, *angles(trace.states)]):
        assert (wrap(after - before) > 0).all()
