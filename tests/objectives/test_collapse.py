from math import pi

import pytest
import torch

from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.objectives.collapse import effective_rank, feature_std
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Measure


def test_feature_std_is_one_for_random_directions_and_zero_for_one():
    directions = torch.randn(4000, 64, generator=generator("cpu", "directions"))
    assert float(feature_std(directions)) == pytest.approx(1.0, abs=0.01)
    assert float(feature_std(directions * torch.rand(4000, 1))) == pytest.approx(1.0, abs=0.01), "lengths do not count"
    assert float(feature_std(torch.ones(8, 4))) == pytest.approx(0.0, abs=1e-6)


def test_feature_std_of_a_circle_is_that_of_its_cosine():
    angle = torch.arange(1000) * 2 * pi / 1000
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert float(feature_std(circle)) == pytest.approx(1.0, abs=1e-3)  # sqrt(2) * sqrt(1 / 2)


def test_effective_rank_counts_equal_singular_values():
    for rank in (1, 2, 5):
        basis = torch.cat([torch.eye(rank, 8), -torch.eye(rank, 8)])  # centred
        assert float(effective_rank(basis + 3.0)) == pytest.approx(rank, rel=1e-4)
    assert float(effective_rank(torch.ones(6, 4))) == 1.0


def test_effective_rank_is_the_exponential_of_the_entropy():
    features = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    share = torch.tensor([0.75, 0.25])
    assert float(effective_rank(features)) == pytest.approx(float((-(share * share.log()).sum()).exp()), rel=1e-5)


@pytest.mark.parametrize("initial", ["random", "stimulus", "fixed"])
def test_a_fresh_akorn_is_far_from_what_stops_a_run(initial):
    images = DATA.build("digits", {"limit": 64}, "train").images / 255
    for channels in (4, 16):
        with borrowed_global(generator("cpu", channels)):
            encoder = ENCODERS.build("akorn", {"channels": channels, "kernel_sizes": (3, 3), "initial": initial})
        with torch.no_grad():
            features = encoder(images, draw=generator("cpu", 1)).pooled
        assert float(feature_std(features)) > 3 * Measure().stop_on_collapse > 0


def test_feature_std_is_the_standard_deviation_of_normalised_coordinates():
    features = torch.randn(50, 7, generator=generator("cpu", "features"))
    rows = [row / row.norm() for row in features]
    means = [sum(float(row[j]) for row in rows) / 50 for j in range(7)]
    stds = [(sum((float(row[j]) - means[j]) ** 2 for row in rows) / 49) ** 0.5 for j in range(7)]
    assert float(feature_std(features)) == pytest.approx(sum(stds) / 7 * 7**0.5)
