"""Distances to the nearest mistake: the curve against brute force, the median's interval, and refused options."""

import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.robustness.distance import Distance, accuracy_at, curve
from sslkuramoto.statistics import median_interval

FMN = [{"name": "fmn"}]


def test_the_curve_falls_and_equals_a_count_of_images_at_every_radius():
    distances = torch.tensor([0.0, 0.3, 0.1, torch.inf, 0.3, 0.75])
    found = curve(distances, 1.0)
    assert found["accuracy"] == sorted(found["accuracy"], reverse=True)
    assert found["eps"][0] == 0
    assert found["eps"][-1] == 1
    for eps, accuracy in zip(found["eps"], found["accuracy"], strict=True):
        assert accuracy == pytest.approx(sum(each > eps for each in distances.tolist()) / 6)
    assert accuracy_at(distances, 0.2) == pytest.approx(4 / 6)


def test_the_interval_of_a_median_has_the_ranks_of_a_fair_coin():
    assert median_interval(list(range(1, 101))) == (50.5, 40, 61)  # ranks 40 and 61 of 100: tables of the sign test
    assert median_interval([3.0]) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attacks": []}, "attacks: name at least one"),
        ({"attacks": FMN, "largest": 0.0}, r"largest=0\.0: must be above 0"),
        ({"attacks": FMN, "largest": 0.2}, r"grid: 0\.25 is above largest=0\.2"),
        ({"attacks": FMN, "grid": (0.1, 0.1)}, "must not contain the same radius twice"),
    ],
)
def test_impossible_options_are_refused_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        Distance(**options)
    assert "\n" not in str(error.value)
