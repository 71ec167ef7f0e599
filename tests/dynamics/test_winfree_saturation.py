"""What saturates in a Winfree step (docs/methods/winfree.md): derivatives, closed fields, wrap, locking; float64."""

import math

import pytest
import torch

from sslkuramoto.dynamics.surrogate import surrogate_backward
from sslkuramoto.dynamics.winfree import winfree_step, wrap
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.randomness import borrowed_global, generator

GRID = (4, 5)
GAMMA = torch.tensor(0.3, dtype=torch.float64)


def test_the_derivatives_of_a_layer_s_step_are_those_of_the_page_and_a_closed_field_has_none(normal):
    """With frozen influences: d theta+ / d omega = gamma, / d f = gamma S, / d theta = 1 + gamma S' f; f' is 1 or 0."""
    theta, omega, drive = (normal(2, 8, *GRID).requires_grad_() for _ in range(3))
    field = torch.nn.functional.group_norm(drive, 8)
    field.retain_grad()
    after = winfree_step(theta, field.relu(), omega=omega, sensitivity=torch.cos, step_size=GAMMA)
    after.sum().backward()
    open_ = (field > 0).double()
    torch.testing.assert_close(omega.grad, GAMMA.expand_as(omega))
    torch.testing.assert_close(field.grad, GAMMA * theta.cos() * open_)
    torch.testing.assert_close(theta.grad, 1 - GAMMA * theta.sin() * field.relu())
    assert 0.2 < open_.mean() < 0.8


def test_the_wrap_masks_no_gradient_although_the_phase_jumps_there():
    theta = torch.tensor([math.pi - 0.01], dtype=torch.float64).requires_grad_()
    one = torch.ones(1, 1, 1, 1).double()
    after = winfree_step(theta.view(1, 1, 1, 1), one, omega=one, sensitivity=lambda x: 0 * x, step_size=GAMMA)
    assert after.item() < 0 < theta.item()
    assert torch.autograd.grad(after.cos().sum(), theta, retain_graph=True)[0].item() == pytest.approx(
        -after.sin().item()
    )
    assert torch.autograd.grad(after.sum(), theta)[0].item() == pytest.approx(1.0)


@pytest.mark.parametrize(("omega", "field"), [(0.3, 1.0), (0.0, 2.0), (1.5, 2.0)])
def test_a_locked_phase_forgets_its_start_by_the_factor_of_the_page_and_follows_its_frequency(omega, field):
    one = torch.ones(1, 1, 1, 1).double()
    start, rate = (0.5 * one).requires_grad_(), (omega * one).requires_grad_()
    pull = math.sqrt(field**2 - omega**2)
    theta, slopes = start, []
    for step in range(300):
        theta = winfree_step(theta, field * one, omega=rate, sensitivity=torch.cos, step_size=GAMMA / 3)
        if step in (198, 199):
            slopes.append(torch.autograd.grad(theta, start, retain_graph=True)[0].item())
    assert theta.item() == pytest.approx(math.acos(-omega / field), abs=1e-6)
    assert slopes[1] / slopes[0] == pytest.approx(1 - GAMMA.item() / 3 * pull, rel=1e-6)
    assert torch.autograd.grad(theta, rate)[0].item() == pytest.approx(1 / pull, rel=1e-5)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3])
def test_a_transition_s_derivative_grows_as_its_vector_shrinks(size):
    """theta' is the angle of z = W * exp(i theta): d theta' / d z has length 1 / |z|; it can explode, not vanish."""
    z = torch.tensor([0.6 * size, 0.8 * size], dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(torch.atan2(z[1], z[0]), z)
    assert slope.norm().item() == pytest.approx(1 / size)


@pytest.mark.parametrize(("omega", "locks"), [(0.5, True), (0.99, True), (1.2, False)])
def test_one_phase_under_a_constant_field_locks_where_its_frequency_is_at_most_the_field(omega, locks):
    """theta' = omega + F cos theta has the stable point cos theta = -omega / F, sin theta > 0, if omega < F."""
    theta, one = torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()
    moves = []
    for _ in range(4000):
        after = winfree_step(theta, one, omega=omega * one, sensitivity=torch.cos, step_size=GAMMA / 3)
        moves.append(wrap(after - theta).abs().item())
        theta = after
    if locks:
        assert moves[-1] < 1e-6
        assert theta.item() == pytest.approx(math.acos(-omega), abs=1e-4)
    else:
        assert min(moves) > 0.01


@pytest.mark.parametrize("closed", ["field", "frequency"])
def test_the_image_acts_through_the_frequencies_and_a_closed_frequency_is_opened_by_no_surrogate(closed):
    with borrowed_global(generator("cpu", "saturation")):
        encoder = ENCODERS.build("winfree", {**ENCODERS.small("winfree"), "layers": 1}).eval()
    part = encoder.layers[0].norm if closed == "field" else encoder.stem[1]
    torch.nn.init.constant_(part.bias, -100.0)
    image = torch.rand(1, 3, 8, 8, generator=generator("cpu", "image")).requires_grad_()
    start = encoder.sample_initial(image, generator("cpu", 0))
    for surrogate in ("autograd", "open_rectifier"):
        with surrogate_backward(encoder, surrogate):
            (slope,) = torch.autograd.grad(encoder(image, initial=start).pooled.square().sum(), image)
        assert bool(slope.any()) is (closed == "field")
