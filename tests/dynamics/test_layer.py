"""The Kuramoto layer: T steps under one stimulus, the norm of the stimulus, and the trace."""

import pytest
import torch
from torch import nn

from sslkuramoto.dynamics.coupling import AttentionCoupling, ConvCoupling
from sslkuramoto.dynamics.energy import energy, energy_code
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies, kuramoto_step_by_definition
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.dynamics.sphere import norm, normalise
from sslkuramoto.errors import UserError

GAMMA = torch.tensor(0.9, dtype=torch.float64)


def layer(n: int = 2, c: int = 6, kernel: int = 3, *, omega=1.0, norm="group", project=True, **other) -> KuramotoLayer:
    frequencies = None if omega is None else NaturalFrequencies(None, omega, learn=True)
    built = KuramotoLayer(
        other.pop("coupling", None) or ConvCoupling(c, kernel),
        channels=c,
        oscillator_dim=n,
        frequencies=frequencies,
        norm=norm,
        project=project,
        **other,
    )
    return built.double().requires_grad_(False)


@pytest.mark.parametrize("coupling", ["conv", "attention"])
def test_the_first_sixteen_states_of_a_long_run_are_those_of_a_short_one_to_the_last_bit(coupling, normal):
    net = layer(c=8, coupling=AttentionCoupling(8, 2) if coupling == "attention" else None)
    for dtype in (torch.float32, torch.float64):
        net.to(dtype)
        x, c = normal(2, 8, 5, 4).to(dtype), normal(2, 8, 5, 4).to(dtype)
        short, short_trace = net(x, c, step_size=GAMMA.to(dtype), num_steps=16, trace=True)
        _, long_trace = net(x, c, step_size=GAMMA.to(dtype), num_steps=64, trace=True)
        assert torch.equal(long_trace.states[:16], short_trace.states)
        assert torch.equal(long_trace.states[15], short)
        assert not torch.equal(long_trace.states[63], short)


@pytest.mark.parametrize("project", [True, False])
def test_every_state_is_made_of_unit_vectors_and_only_the_direction_of_the_start_matters(project, normal):
    net = layer(n=3, omega=None, project=project)
    x, c = normal(2, 6, 4, 5), normal(2, 6, 4, 5)
    _, trace = net(x, c, step_size=GAMMA, num_steps=5, trace=True)
    for state in trace.states:
        torch.testing.assert_close(norm(state, 3), torch.ones_like(norm(state, 3)), rtol=0, atol=1e-14)
    scaled, _ = net(7 * x, c, step_size=GAMMA, num_steps=5)
    torch.testing.assert_close(scaled, trace.states[-1], rtol=0, atol=1e-11)


def test_the_trace_holds_the_energy_of_each_state_and_what_the_published_code_logs(normal):
    net = layer()
    x, c = normal(2, 6, 4, 5), normal(2, 6, 4, 5)
    _, trace = net(x, c, step_size=GAMMA, num_steps=3, trace=True)
    states, stimulus = [normalise(x, 2), *trace.states], net.norm(c)
    for t, state in enumerate(states):
        torch.testing.assert_close(trace.energy[t], energy(state, net.coupling(state), stimulus))
    assert torch.equal(trace.energy_code[0], torch.zeros(2, dtype=torch.float64))
    for t, state in enumerate(states[:-1]):  # before the update: the last state is never logged
        torch.testing.assert_close(trace.energy_code[t + 1], energy_code(state, net.coupling(state), stimulus))
    assert trace.energy.shape == trace.energy_code.shape == (4, 2)


def test_a_trace_changes_no_state_and_is_absent_unless_asked_for(normal):
    net, x, c = layer(), normal(2, 6, 4, 5), normal(2, 6, 4, 5)
    plain, nothing = net(x, c, step_size=GAMMA, num_steps=3)
    traced, _ = net(x, c, step_size=GAMMA, num_steps=3, trace=True)
    assert nothing is None
    assert torch.equal(plain, traced)


def test_a_trace_of_energies_holds_no_state_and_the_same_energies(normal):
    net = layer()
    x, c = normal(2, 6, 4, 5), normal(2, 6, 4, 5)
    last, whole = net(x, c, step_size=GAMMA, num_steps=3, trace=True)
    same, energies = net(x, c, step_size=GAMMA, num_steps=3, trace="energy")
    assert torch.equal(last, same)
    assert energies.states.shape == (0, 2, 6, 4, 5)
    assert torch.equal(energies.energy, whole.energy)
    assert torch.equal(energies.energy_code, whole.energy_code)


def test_the_layer_is_its_step_repeated(normal):
    net, x, c = layer(), normal(2, 6, 4, 5), normal(2, 6, 4, 5)
    found, _ = net(x, c, step_size=GAMMA, num_steps=4)
    state, stimulus = normalise(x, 2), net.norm(c)
    for _ in range(4):
        drive = net.coupling(state) + stimulus
        state = kuramoto_step_by_definition(state, drive, net.frequencies(), GAMMA, 2, True)
    torch.testing.assert_close(found, state, rtol=0, atol=1e-12)


def test_no_stimulus_is_a_stimulus_of_zero_without_norm(normal):
    net, x = layer(norm="none"), normal(2, 6, 4, 5)
    with_zero, zero_trace = net(x, torch.zeros_like(x), step_size=GAMMA, num_steps=3, trace=True)
    without, trace = net(x, None, step_size=GAMMA, num_steps=3, trace=True)
    assert torch.equal(with_zero, without)
    assert torch.equal(trace.energy, zero_trace.energy)


@pytest.mark.parametrize("n", [2, 3])
def test_the_group_norm_treats_each_oscillator_channel_over_its_coordinates_and_sites(n, normal):
    net, c = layer(n=n, omega=None, norm="group"), normal(2, 6, 4, 5)
    groups = c.view(2, 6 // n, -1)
    mean, variance = groups.mean(2, keepdim=True), groups.var(2, keepdim=True, unbiased=False)
    torch.testing.assert_close(net.norm(c), ((groups - mean) / (variance + 1e-5).sqrt()).view(c.shape))
    assert net.norm.weight.shape == (6,)  # one factor per channel, not per group


def test_scale_and_bias_act_per_channel_and_none_is_the_identity(normal):
    net, c = layer(norm="scale_bias"), normal(2, 6, 4, 5)
    assert torch.equal(net.norm(c), c)
    net.norm.weight[2], net.norm.bias[4] = 3.0, -1.0
    wanted = c.clone()
    wanted[:, 2] *= 3
    wanted[:, 4] -= 1
    torch.testing.assert_close(net.norm(c), wanted)
    assert isinstance(layer(norm="none").norm, nn.Identity)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"n": 1}, "oscillator_dim=1: needs project=false"),
        ({"n": 4}, "channels=6: must be divisible by oscillator_dim=4"),
        ({"n": 3}, "oscillator_dim=3: must be even with natural frequencies"),
    ],
)
def test_oscillators_that_do_not_fit_are_an_error(options, line):
    with pytest.raises(UserError, match=line):
        layer(**options)
