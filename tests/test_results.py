from statistics import NormalDist

import pytest
import torch
from scipy.stats import binomtest

from sslkuramoto.noise_draws import accuracies, share_over_draws
from sslkuramoto.statistics import wilson


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 29), (81, 263), (15, 148), (360, 360)])
def test_wilson_equals_scipy(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_equals_the_published_example():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_ends_are_where_the_score_test_turns():
    low, high = wilson(0.3, 50)
    for end in (low, high):
        assert abs(0.3 - end) / (end * (1 - end) / 50) ** 0.5 == pytest.approx(NormalDist().inv_cdf(0.975))


def test_a_mean_over_draws_counts_images_not_draws():
    correct = torch.tensor([[True, True, False, False], [True, False, False, False]])
    metric = share_over_draws(correct)
    assert (metric.value, metric.n, metric.draws) == (0.375, 4, 2)
    assert (metric.low, metric.high) == wilson(0.375, 4)
    assert metric.std_over_draws == pytest.approx(0.25 / 2**0.5)


def test_a_vote_of_all_draws_has_no_deviation_from_draw_to_draw():
    found = accuracies(torch.tensor([[0, 1, 0], [0, 0, 0]]), torch.tensor([0, 1, 1]))
    assert found["accuracy"].std_over_draws > 0
    assert found["accuracy_majority"].std_over_draws is None
    assert found["accuracy_all"].std_over_draws is None
