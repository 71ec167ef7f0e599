"""Surrogate derivatives of the Winfree step: the results stay, the gradient changes as stated, and comes back."""

import pytest
import torch
from torch import nn

from sslkuramoto.dynamics.surrogate import OF_WINFREE, SURROGATES, surrogate_backward, surrogates_for
from sslkuramoto.dynamics.winfree import winfree_step
from sslkuramoto.dynamics.winfree_surrogate import SLOPES, OpenRectifier, free_step, winfree_layers
from sslkuramoto.encoders import ENCODERS, AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

GAMMA = torch.tensor(0.3, dtype=torch.float64)


def winfree(**options):
    with borrowed_global(generator("cpu", "winfree to attack")):
        return ENCODERS.build("winfree", {**ENCODERS.small("winfree"), **options}).eval()


def images(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, 8, 8, generator=generator("cpu", "images"))


@pytest.mark.parametrize(("name", "slope"), SLOPES.items())
def test_an_open_rectifier_is_relu_with_a_slope_where_relu_is_flat(name, slope, normal):
    x, g = normal(2, 3, 4, 5).requires_grad_(), normal(2, 3, 4, 5)
    out = OpenRectifier(slope)(x)
    assert torch.equal(out, x.relu())
    (found,) = torch.autograd.grad(out, x, g)
    torch.testing.assert_close(found, torch.where(x > 0, g, slope * g))


def test_a_free_step_ends_in_the_same_phase_with_derivative_one_in_its_own(normal):
    theta, field, omega, g = normal(4, 2, 3, 4, 5)
    theta, field = theta.requires_grad_(), field.requires_grad_()
    options = {"omega": omega, "sensitivity": torch.cos, "step_size": GAMMA}
    plain, free = winfree_step(theta, field, **options), free_step(theta, field, **options)
    assert torch.equal(plain, free)
    own, of_field = torch.autograd.grad(plain, (theta, field), g)
    torch.testing.assert_close(own, g * (1 - GAMMA * theta.sin() * field))
    torch.testing.assert_close(of_field, g * GAMMA * theta.cos())
    found = torch.autograd.grad(free, (theta, field), g)
    torch.testing.assert_close(found[0], g)
    torch.testing.assert_close(found[1], of_field)


def test_inside_the_context_a_network_has_the_other_gradient_and_afterwards_its_own():
    encoder, x = winfree(), images().requires_grad_()
    start = encoder.sample_initial(x, generator("cpu", 0))

    def run():
        pooled = encoder(x, initial=start).pooled
        (gradient,) = torch.autograd.grad((pooled * torch.arange(8)).sum(), x)
        return pooled.detach(), gradient

    pooled, gradient = run()
    seen = {}
    for name in surrogates_for(encoder):
        with surrogate_backward(encoder, name):
            inside, seen[name] = run()
        assert torch.equal(inside, pooled)
        assert torch.equal(seen[name], gradient) == (name == "autograd"), name
        assert torch.equal(run()[1], gradient)
    with pytest.raises(ZeroDivisionError), surrogate_backward(encoder, "free_phase"):
        raise ZeroDivisionError
    assert all(layer.advance is winfree_step for layer in winfree_layers(encoder))
    assert all(isinstance(layer.rectifier, nn.ReLU) for layer in winfree_layers(encoder))


def test_surrogates_of_the_rectifier_need_one_and_each_kind_of_step_has_its_own():
    assert surrogates_for(winfree()) == OF_WINFREE
    plain = winfree(rectify=False)
    assert surrogates_for(plain) == ("autograd", "free_phase")
    refused = "surrogate open_rectifier: needs other layers; allowed here: autograd, free_phase"
    with pytest.raises(UserError, match=refused), surrogate_backward(plain, "open_rectifier"):
        pass
    akorn = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1)
    assert not {*surrogates_for(akorn)} & {*OF_WINFREE[1:]}
    assert {*SURROGATES} & {*OF_WINFREE} == {"autograd"}
