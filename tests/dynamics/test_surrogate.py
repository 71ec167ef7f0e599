"""Surrogate derivatives of the Kuramoto step: the states stay equal, exact rules equal autograd, the others differ."""

import pytest
import torch
from torch import nn

from sslkuramoto.dynamics.coupling import ConvCoupling
from sslkuramoto.dynamics.kuramoto import kuramoto_step
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.dynamics.sphere import dot, norm, tangent
from sslkuramoto.dynamics.surrogate import (
    SURROGATES,
    TANGENT_ONLY,
    _Replaced,
    kuramoto_layers,
    norm_power,
    surrogate_backward,
    surrogate_step,
    surrogates_for,
    turned,
)
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

GAMMA = torch.tensor(0.7, dtype=torch.float64)


def options(n, omega=None, project=True, identity=False, gamma=GAMMA):
    return {"omega": omega, "step_size": gamma, "oscillator_dim": n, "project": project, "identity": identity}


def pulled(step, x, drive, cotangent, **given):
    """Return the step's gradients with respect to state and drive."""
    x, drive = x.detach().requires_grad_(), drive.detach().requires_grad_()
    return torch.autograd.grad(step(x, drive, **given), (x, drive), cotangent)


def by_rule(rule):
    return lambda x, drive, **given: _Replaced.apply(rule, x, drive, given)


CASES = [
    pytest.param(n, omega, project, identity, id=f"n{n}-{omega}{'' if project else '-noproj'}{'-id' * identity}")
    for n, omega, project, identity in (
        (2, None, True, False), (2, 0.6, True, False), (2, 0.6, False, False), (2, None, True, True),
        (4, None, True, False), (4, 0.6, True, False), (3, None, True, True), (4, None, False, True),
    )
]  # fmt: skip


@pytest.mark.parametrize(("n", "omega", "project", "identity"), CASES)
def test_the_power_one_of_the_norm_is_autograd(n, omega, project, identity, oscillators, normal):
    x, y, g = oscillators(n), 3 * normal(2, 3 * n, 4, 5), normal(2, 3 * n, 4, 5)
    given = options(n, None if omega is None else torch.tensor(omega, dtype=torch.float64), project, identity)
    for found, wanted in zip(
        pulled(by_rule(norm_power(1.0)), x, y, g, **given), pulled(kuramoto_step, x, y, g, **given), strict=True
    ):
        if identity:  # u is (1 + gamma) times as long: another radial part of the gradient, which no unit state feels
            found, wanted = tangent(x, found, n), tangent(x, wanted, n)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("n", "omega", "project", "identity"), [case for case in CASES if case.values[2]])
def test_the_arc_tangents_own_derivative_is_autograd_in_the_tangent_space(
    n, omega, project, identity, oscillators, normal
):
    """The decomposition along the turn and across it, with a = arctan' = cos^2 and b = cos, is the exact derivative."""
    exact = turned(lambda angle: angle.cos() ** 2, torch.cos)
    x, y, g = oscillators(n), 3 * normal(2, 3 * n, 4, 5), normal(2, 3 * n, 4, 5)
    given = options(n, None if omega is None else torch.tensor(omega, dtype=torch.float64), project, identity)
    found, wanted = pulled(by_rule(exact), x, y, g, **given), pulled(kuramoto_step, x, y, g, **given)
    torch.testing.assert_close(tangent(x, found[0], n), tangent(x, wanted[0], n), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("name", SURROGATES)
def test_the_state_is_the_same_to_the_last_bit_and_the_gradient_another(name, n, oscillators, normal):
    x, y, g = (v.float() for v in (oscillators(n), 3 * normal(2, 3 * n, 4, 5), normal(2, 3 * n, 4, 5)))
    given = options(n, torch.tensor(0.6), gamma=torch.tensor(0.7))
    step = surrogate_step(name)
    assert torch.equal(step(x, y, **given), kuramoto_step(x, y, **given))
    leaf = y.clone().requires_grad_()
    assert torch.equal(step(x, leaf, **given), kuramoto_step(x, y, **given)), "also with a graph"
    for found, own in zip(pulled(step, x, y, g, **given), pulled(kuramoto_step, x, y, g, **given), strict=True):
        assert found.isfinite().all()
        assert torch.equal(found, own) == (name == "autograd")
        if name != "autograd":
            assert (found - own).norm() > 0.05 * own.norm()


def test_saturation_shrinks_the_gradient_of_the_step_and_not_that_of_the_surrogates(oscillators, normal):
    """n = 2: autograd decays as 1 / F^2, root_arctan as 1 / F, linear_arctan never (docs/methods/robustness.md)."""
    x, g = oscillators(2), normal(2, 6, 4, 5)
    across = tangent(x, normal(2, 6, 4, 5), 2)
    across = across / norm(across, 2).repeat_interleave(2, dim=1)
    size = {}
    for name in ("autograd", "root_arctan", "linear_arctan"):
        for force in (1e2, 1e3):
            _, to_drive = pulled(surrogate_step(name), x, force * across, g, **options(2))
            size[name, force] = float(to_drive.norm())
    assert size["autograd", 1e2] / size["autograd", 1e3] == pytest.approx(100, rel=0.05)
    assert size["root_arctan", 1e2] / size["root_arctan", 1e3] == pytest.approx(10, rel=0.05)
    assert size["linear_arctan", 1e2] / size["linear_arctan", 1e3] == pytest.approx(1, rel=0.05)


def test_powers_of_the_norm_weigh_oscillators_by_the_length_of_their_update(oscillators, normal):
    x, y, g = oscillators(2), 3 * normal(2, 6, 4, 5), normal(2, 6, 4, 5)
    size = norm(x + GAMMA * tangent(x, y, 2), 2).repeat_interleave(2, dim=1)
    _, own = pulled(kuramoto_step, x, y, g, **options(2))
    for name, power in (("half_norm", 0.5), ("no_norm", 1.0)):
        _, found = pulled(surrogate_step(name), x, y, g, **options(2))
        torch.testing.assert_close(found, own * size**power, rtol=1e-10, atol=1e-12)


def test_straight_through_takes_the_step_for_linear(oscillators, normal):
    x, y, g = oscillators(4), 3 * normal(2, 12, 4, 5), normal(2, 12, 4, 5)
    _, found = pulled(surrogate_step("straight_through"), x, y, g, **options(4))
    torch.testing.assert_close(found, GAMMA * tangent(x, g, 4))


@pytest.mark.parametrize(("name", "factor"), [("half_gamma", 0.5), ("small_gamma", 0.25)])
def test_a_smaller_gamma_is_the_gradient_of_the_smaller_step(name, factor, oscillators, normal):
    x, y, g = oscillators(4), 3 * normal(2, 12, 4, 5), normal(2, 12, 4, 5)
    found = pulled(surrogate_step(name), x, y, g, **options(4))
    wanted = pulled(kuramoto_step, x, y, g, **options(4, gamma=factor * GAMMA))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_the_exponential_map_turns_by_the_length_of_the_velocity(oscillators, normal):
    """At the tangent vector w = phi d that ends in the same state, exp_x has the derivative of the surrogate."""
    x, y, g = oscillators(3), 3 * normal(2, 9, 4, 5), normal(2, 9, 4, 5)
    v = tangent(x, y, 3)
    speed = norm(v, 3).repeat_interleave(3, dim=1)
    w = (v / speed * torch.arctan(GAMMA * speed)).detach().requires_grad_()
    length = dot(w, w, 3).sqrt().repeat_interleave(3, dim=1)
    end = length.cos() * x + length.sin() / length * w
    torch.testing.assert_close(end, kuramoto_step(x, y, **options(3)))
    (wanted,) = torch.autograd.grad(end, w, g)
    _, found = pulled(surrogate_step("exponential"), x, y, g, **options(3))
    torch.testing.assert_close(found, GAMMA * tangent(x, wanted, 3), rtol=1e-9, atol=1e-10)


def layer(n=2, project=True):
    with borrowed_global(generator("cpu", "surrogate layer")):
        coupling = ConvCoupling(4 * n, 3)
    return KuramotoLayer(
        coupling, channels=4 * n, oscillator_dim=n, frequencies=None, norm="none", project=project
    ).double()


def test_inside_the_context_a_network_has_the_other_gradient_and_afterwards_its_own(oscillators, normal):
    network = nn.ModuleList([layer(), layer()])
    x, stimulus = oscillators(2, m=4), normal(2, 8, 4, 5).requires_grad_()

    def run():
        state = x
        for each in network:
            state, _ = each(state, stimulus, step_size=GAMMA, num_steps=2)
        (gradient,) = torch.autograd.grad(state.square().flatten(1)[:, :17].sum(), stimulus)
        return state.detach(), gradient

    state, gradient = run()
    seen = {}
    for name in SURROGATES:
        with surrogate_backward(network, name):
            inside, seen[name] = run()
        assert torch.equal(inside, state)
        assert torch.equal(seen[name], gradient) == (name == "autograd"), name
        assert torch.equal(run()[1], gradient)
    names = [name for name in SURROGATES if name != "exponential"]  # for n = 2 that is linear_arctan
    torch.testing.assert_close(seen["exponential"], seen["linear_arctan"])
    for i, one in enumerate(names):
        for other in names[:i]:
            assert not torch.allclose(seen[one], seen[other]), (one, other)
    with pytest.raises(ZeroDivisionError), surrogate_backward(network, "no_norm"):
        raise ZeroDivisionError
    assert all(each.advance is kuramoto_step for each in kuramoto_layers(network))


def test_surrogates_of_the_arc_tangent_need_a_projected_drive_and_all_a_kuramoto_layer():
    bare = layer(project=False)
    assert set(SURROGATES) - set(surrogates_for(bare)) == TANGENT_ONLY
    assert surrogates_for(layer()) == SURROGATES
    refused = "surrogate root_arctan: needs project=true; allowed here: autograd, half_norm"
    with pytest.raises(UserError, match=refused), surrogate_backward(bare, "root_arctan"):
        pass
    assert surrogates_for(nn.Conv2d(3, 3, 1)) == ()
    with pytest.raises(UserError, match="no oscillator layer"), surrogate_backward(nn.Conv2d(3, 3, 1), "autograd"):
        pass
