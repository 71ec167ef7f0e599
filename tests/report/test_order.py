"""How far oscillators agree: the order parameter and angles, by theory and by a loop."""

import math

import pytest
import torch

from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.report.pictures.order import angles_to_mean, histograms_picture, order_parameter, order_picture


def trace(n: int, layers: int = 2, steps: int = 3) -> tuple[LayerTrace, ...]:
    draw = torch.Generator().manual_seed(0)
    states = [torch.randn(steps, 2, 2 * n, 6, 6, generator=draw) for _ in range(layers)]
    return tuple(LayerTrace(state, torch.zeros(steps + 1, 2), torch.zeros(steps + 1, 2)) for state in states)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_order_parameter_is_the_length_of_the_mean_over_sites_averaged_over_oscillators(n):
    states = trace(n)[0].states
    found = order_parameter(states, n)
    for t, b in ((0, 0), (2, 1)):
        lengths = []
        for m in range(2):
            sites = [states[t, b, m * n : (m + 1) * n, y, x] for y in range(6) for x in range(6)]
            lengths.append(torch.stack([site / site.norm() for site in sites]).mean(0).norm())
        torch.testing.assert_close(found[t, b], torch.stack(lengths).mean())


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_it_is_one_where_all_agree_whatever_their_lengths_and_zero_where_they_cancel(n):
    one = torch.zeros(1, 1, n, 4, 4)
    one[:, :, 0] = torch.rand(4, 4, generator=torch.Generator().manual_seed(1)) + 0.5
    torch.testing.assert_close(order_parameter(one, n), torch.ones(1, 1))
    one[..., ::2, :] *= -1
    torch.testing.assert_close(order_parameter(one, n), torch.zeros(1, 1))


def test_directions_drawn_at_random_have_the_order_of_chance():
    """The squared length of a mean of s random unit vectors is 1 / s on average."""
    states = torch.randn(1, 1, 2 * 400, 10, 10, generator=torch.Generator().manual_seed(0))
    assert order_parameter(states, 2).item() == pytest.approx(math.sqrt(math.pi / 4 / 100), rel=0.05)


def test_angles_to_the_mean_are_those_of_a_field_that_is_made_of_them():
    angle = torch.tensor([[0.0, 0.4], [-0.4, 0.0]])
    field = torch.stack([angle.cos(), angle.sin(), torch.zeros(2, 2)])
    torch.testing.assert_close(angles_to_mean(field), angle.abs(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_pictures_show_a_panel_a_layer_and_say_their_numbers(n):
    drawn = order_picture(trace(n), n)
    assert drawn.count(">Layer") == 2
    first = order_parameter(trace(n)[0].states, n).mean(1)
    assert f"Layer 1: {first[0]:.3g} to {first[-1]:.3g}." in drawn
    phases = histograms_picture(trace(n), n)
    assert bool(phases) is (n > 1), "one dimension has no angle"
    if n > 1:
        assert (">phase (degrees)<" in phases) is (n == 2)
        assert ">step 1<" in phases
        assert ">step 3<" in phases
