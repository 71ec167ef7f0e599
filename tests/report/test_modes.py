"""The two peaks of phases: found where a distribution is made of two, and mapped to their sites."""

import math
from itertools import pairwise

import pytest
import torch

from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.dynamics.winfree import on_circle
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.report.pictures.modes import modes_picture, nearness, phases_of, two_peaks
from sslkuramoto.report.pictures.oscillators import load_phases, record_phases


def near(*degrees: float, spread: float = 15.0, n: int = 4000) -> torch.Tensor:
    """Phases around some angles, equally many around each."""
    noise = torch.randn(len(degrees), n, generator=torch.Generator().manual_seed(0)) * spread
    return torch.deg2rad(torch.tensor(degrees)[:, None] + noise).flatten()


@pytest.mark.parametrize(("one", "other"), [(90.0, 270.0), (10.0, 100.0), (350.0, 170.0)])
def test_two_peaks_are_found_at_their_angles_also_across_zero(one, other):
    found = two_peaks(near(one, other))
    assert found is not None
    apart = [min(abs((angle - peak + 180) % 360 - 180) for peak in found) for angle in (one, other)]
    assert max(apart) < 8


def test_the_higher_peak_comes_first():
    found = two_peaks(torch.cat([near(200.0), near(200.0), near(20.0)]))
    assert found[0] == pytest.approx(200, abs=8)
    assert found[1] == pytest.approx(20, abs=8)


@pytest.mark.parametrize(
    "phases", [near(90.0), near(90.0, 130.0), near(90.0, 180.0, spread=60.0), near(0.0, spread=900.0)]
)
def test_one_peak_peaks_that_touch_and_a_flat_distribution_are_no_two_peaks(phases):
    assert two_peaks(phases) is None


def test_nearness_is_one_at_the_peak_and_falls_with_the_distance_on_the_circle():
    phases = torch.deg2rad(torch.tensor([350.0, 10.0, 20.0, 50.0, 170.0])).view(1, 1, 1, 5)
    at = nearness(phases, 350.0)[0, 0]
    assert at[0] == pytest.approx(1.0)
    assert (at.diff() < 0).all()
    assert at[2] == pytest.approx(math.exp((math.cos(math.radians(30)) - 1) / math.radians(30) ** 2))


def test_the_maps_show_where_each_peak_is_and_nothing_without_two():
    theta = torch.full((2, 3, 4, 6, 6), math.pi / 2)
    theta[..., 3:] = -math.pi / 2
    theta = theta + 0.1 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(0))
    states = torch.stack([on_circle(step) for step in theta])
    trace = (LayerTrace(states, torch.zeros(3, 3), torch.zeros(3, 3)),)
    assert torch.allclose(phases_of(states), theta, atol=1e-5)
    picture, peaks = modes_picture(trace, torch.rand(3, 3, 6, 6))
    assert sorted(round(peak / 90) * 90 for peak in peaks) == [90, 270]
    assert "for 3 images (two rows each) over 2 steps of 1 layers" in picture
    picture, peaks = modes_picture(trace, torch.randint(0, 5, (3, 6, 6)))
    assert "for 3 boards" in picture
    alike = (LayerTrace(torch.ones(2, 3, 8, 6, 6), torch.zeros(3, 3), torch.zeros(3, 3)),)
    assert modes_picture(alike, torch.rand(3, 3, 6, 6)) == ("", None)


def test_the_maps_follow_the_peaks_over_the_steps_of_every_layer():
    """Figure 7: phases that come to the two peaks step by step; eight of more steps are shown."""
    at_last = torch.full((1, 1, 4, 4), math.pi / 2)
    at_last[..., 2:] = -math.pi / 2
    steps = [at_last * (step + 1) / 8 for step in range(8)]
    trace = [LayerTrace(torch.stack([on_circle(step) for step in steps]), torch.zeros(9, 1), torch.zeros(9, 1))] * 2
    picture, peaks = modes_picture(trace, torch.rand(1, 3, 4, 4))
    assert sorted(round(peak / 90) * 90 for peak in peaks) == [90, 270]
    assert "for 1 images (two rows each) over 8 steps of 2 layers" in picture
    left = [nearness(step, 90.0)[0, :, 0].mean() for step in steps]
    assert all(before < after for before, after in pairwise(left))


@pytest.mark.parametrize("name", ["winfree", "board_winfree"])
def test_phases_of_a_winfree_network_are_recorded_and_read_back_as_unit_vectors(name, tmp_path):
    with borrowed_global(generator("cpu", "weights")):
        encoder = ENCODERS.build(name, ENCODERS.small(name))
    x = torch.rand(3, 3, 8, 8) if name == "winfree" else torch.randint(0, 5, (3, 4, 4))
    record_phases(tmp_path, encoder, x, encoder.oscillator_dim, generator("cpu", 0))
    trace, dim, inputs, _ = load_phases(tmp_path)
    assert dim == 2
    assert torch.equal(inputs.to(x.dtype), x)
    lengths = trace[0].states.unflatten(2, (-1, 2)).norm(dim=3)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=2e-3)
