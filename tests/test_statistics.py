"""Tests and corrections of statistics.py against counting by hand."""

from itertools import pairwise, product
from math import comb

import pytest
import torch

from sslkuramoto.randomness import generator
from sslkuramoto.statistics import at_least, chance_above, holm, sign_test, spread_steps


def test_sign_test_counts_the_outcomes_of_fair_coins():
    assert sign_test(0, 0) == 1.0
    assert sign_test(5, 0) == pytest.approx(1 / 32)
    assert sign_test(3, 1) == pytest.approx((comb(4, 3) + comb(4, 4)) / 16)
    assert sign_test(0, 7) == pytest.approx(1.0)
    assert sign_test(700, 600) == pytest.approx(sum(comb(1300, k) for k in range(700, 1301)) / 2**1300)


def test_at_least_sums_the_outcomes_of_loaded_coins():
    outcomes = [sum(outcome) for outcome in product((0, 1), repeat=6)]
    expected = sum(0.3**heads * 0.7 ** (6 - heads) for heads in outcomes if heads >= 4)
    assert at_least(4, 6, 0.3) == pytest.approx(expected)


@pytest.mark.parametrize("n", [64, 1000, 1100, 10_000])
def test_at_least_is_known_for_as_many_images_as_a_data_set_has(n):
    assert at_least(0, n, 0.05) == pytest.approx(1)
    assert at_least(n // 20 + 1, n, 0.05) == pytest.approx(0.45, abs=0.06)
    assert at_least(n, n, 0.05) == pytest.approx(0.05**n)


def test_holm_multiplies_the_kth_smallest_by_what_is_left_and_never_lets_it_fall():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert [p < 0.01 for p in holm([0.004, *[0.5] * 11])] == [False] * 12
    assert [p < 0.01 for p in holm([0.004, 0.5, 0.001])] == [True, False, True], "0.01 / 3, 0.01 / 2, 0.01"


def test_the_chance_to_lie_above_is_the_share_of_all_pairs_in_each_column():
    draw = generator("cpu", "auc")
    values = torch.randint(0, 6, (12, 20), generator=draw).double()
    first = torch.rand(12, 20, generator=draw) < 0.4
    first[0], first[1] = True, False
    first[:, 0], first[:, 1] = True, False
    found = chance_above(values, first)
    assert found[:2].isnan().all(), "a column of one kind"
    for column in range(2, 20):
        pairs = [
            1.0 if high > low else 0.5 * (low == high)
            for high in values[first[:, column], column].tolist()
            for low in values[~first[:, column], column].tolist()
        ]
        assert found[column].item() == pytest.approx(sum(pairs) / len(pairs))
    torch.testing.assert_close(chance_above(values, ~first), 1 - found, equal_nan=True)
    assert (chance_above(values + 10 * first, first)[2:] == 1).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 9, 16, 64, 500])
@pytest.mark.parametrize("limit", [1, 2, 8, 64])
def test_spread_steps_are_distinct_evenly_spread_and_hold_both_ends(steps, limit):
    found = spread_steps(steps, limit)
    assert len(found) == len(set(found)) == min(steps, limit)
    assert found[0] == 0
    if len(found) > 1:
        assert found[-1] == steps - 1
        gaps = [b - a for a, b in pairwise(found)]
        assert max(gaps) - min(gaps) <= 1 or max(gaps) - (steps - 1) / (len(found) - 1) < 1
