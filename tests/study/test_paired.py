"""Paired tests, McNemar's exact test and Holm's correction, against their definitions."""

from dataclasses import replace
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pytest

from sslkuramoto import exchange
from sslkuramoto.errors import UserError
from sslkuramoto.exchange import exchange_p
from sslkuramoto.results import Result
from sslkuramoto.study import SeedValue, StudyCell, StudyTable, comparisons, mcnemar
from sslkuramoto.study.paired import PairedTest, paired_test


def by_hand(b: int, c: int) -> float:
    """Two-sided exact p: all splits of b + c as unlikely as this one or more."""
    shares = [comb(b + c, k) / 2 ** (b + c) for k in range(b + c + 1)]
    return sum(share for share in shares if share <= shares[b] * (1 + 1e-9))


@pytest.mark.parametrize(("b", "c"), [(0, 1), (1, 5), (5, 1), (3, 3), (0, 10), (12, 4)])
def test_p_is_the_binomial_sum(b: int, c: int):
    first, second = [1.0] * b + [0.0] * c + [1.0] * 4, [0.0] * b + [1.0] * c + [1.0] * 4
    test = mcnemar(first, second)
    assert (test.b, test.c, test.n) == (b, c, b + c + 4)
    assert test.p == pytest.approx(by_hand(b, c))
    assert test.difference == pytest.approx((b - c) / (b + c + 4))


def test_rows_that_agree_everywhere_have_p_one():
    assert mcnemar([1.0, 0.0], [1.0, 0.0]).p == 1


def test_an_image_is_right_when_most_draws_are_and_broken_at_half_as_in_attacks():
    test = mcnemar([0.55, 0.5, 0.5, 0.5], [0.5, 0.55, 0.55, 0.45])
    assert (test.b, test.c) == (1, 2)


@pytest.mark.parametrize(("b", "c"), [(0, 1), (1, 5), (5, 1), (3, 3), (0, 10), (12, 4), (0, 0)])
def test_of_shares_that_are_all_0_or_1_the_test_is_mcnemars(b: int, c: int):
    first, second = [1.0] * b + [0.0] * c + [1.0] * 4, [0.0] * b + [1.0] * c + [1.0] * 4
    test = paired_test([(first, second)])
    assert test.mcnemar == mcnemar(first, second)
    assert test.mcnemar is not None
    assert test.p == test.mcnemar.p == pytest.approx(by_hand(b, c) if b + c else 1)
    assert test.difference == pytest.approx((b - c) / (b + c + 4))


def every_exchange(first: np.ndarray, second: np.ndarray) -> float:
    """p by brute force: all 2^n exchanges of two rows [seeds, images] at images."""
    ahead = (first - second).sum(axis=0)
    sums = np.asarray(list(product((1, -1), repeat=len(ahead)))) @ ahead
    return float((abs(sums) >= abs(ahead.sum()) - 1e-9).mean())


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("draws", [20, 1500, None])
def test_p_is_the_share_of_all_exchanges_with_a_mean_difference_as_large(seeds: int, draws: int | None):
    rng = np.random.default_rng(seeds)
    first, second = rng.random((2, seeds, 10)) * np.array([[[1.0]], [[0.8]]])
    if draws is not None:
        first, second = np.rint(first * draws) / draws, np.rint(second * draws) / draws
    p = paired_test(list(zip(first.tolist(), second.tolist(), strict=True))).p
    wanted = every_exchange(first, second)
    assert 0.02 < wanted < 0.98
    assert p == pytest.approx(wanted, abs=1e-12 if draws else 0.004)


def test_images_of_a_group_are_exchanged_together():
    """Brute force over all exchanges of groups; the mean difference stays that over images, n counts groups."""
    rng = np.random.default_rng(3)
    groups = ["a", "b", "a", "c", "d", "d", "d", "e", "f", "b"]
    first, second = (rng.random((2, 2, 10)) < np.array([[[0.8]], [[0.4]]])).astype(float)
    test = paired_test(list(zip(first.tolist(), second.tolist(), strict=True)), groups)
    members = np.array([[group == name for group in groups] for name in "abcdef"], dtype=float)
    assert test.p == pytest.approx(every_exchange(first @ members.T, second @ members.T))
    assert 0.02 < test.p < 0.98
    assert test.n == 6
    assert test.difference == pytest.approx((first - second).mean())
    assert test.low < test.difference < test.high


def test_repeating_every_image_makes_nothing_more_certain_where_a_group_says_so():
    first, second = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    once, groups = paired_test([(first, second)]), [0, 1, 2, 3, 4, 5]
    again = paired_test([(first * 5, second * 5)], groups * 5)
    assert (again.p, again.n, again.difference) == (once.p, once.n, once.difference)
    assert (again.low, again.high) == pytest.approx((once.low, once.high))
    assert again.mcnemar is not None
    assert once.mcnemar is not None
    assert again.mcnemar.p == once.mcnemar.p
    assert paired_test([(first * 5, second * 5)]).p < once.p


def test_shares_that_went_through_32_bits_or_six_digits_are_still_tested_exactly():
    rng = np.random.default_rng(3)
    first, second = np.rint(rng.random((2, 1, 10)) * 20) / 20
    for rounded in (first.astype(np.float32), np.round(first, 6)):
        assert paired_test([(rounded[0].tolist(), second[0].tolist())]).p == pytest.approx(
            every_exchange(first, second), abs=1e-12
        )


def test_what_is_too_much_to_work_out_is_drawn_and_the_same_every_time(monkeypatch):
    rng = np.random.default_rng(4)
    ahead = (rng.integers(0, 21, 40) - rng.integers(0, 16, 40)) / 20
    exact = exchange_p(ahead)
    monkeypatch.setattr(exchange, "EXACT_WORK", 0)
    exchange._p_of.cache_clear()
    drawn = exchange_p(ahead)
    exchange._p_of.cache_clear()
    assert drawn == exchange_p(ahead) != exact
    assert drawn == pytest.approx(exact, abs=0.005)
    assert exchange_p(np.ones(40) + 1e-3 * np.arange(40)) == pytest.approx(1e-5)  # never 0
    assert exchange_p(np.ones(400)) < 1e-100  # whole numbers stay exact
    exchange._p_of.cache_clear()


def test_the_test_agrees_with_the_means_where_most_draws_say_the_opposite():
    """By votes the first row wins 40 to 24, by the means it loses 34.4 to 65.6 percent."""
    first, second = [0.55] * 40 + [0.0] * 24, [0.45] * 40 + [1.0] * 24
    test = paired_test([(first, second)])
    assert test.difference == pytest.approx(np.mean(first) - np.mean(second)) == pytest.approx(-0.3125)
    assert test.low < test.difference < test.high < 0
    assert test.p == pytest.approx(2 * sum(by_sum(40, 24)), rel=1e-6)
    assert test.p < 0.001
    assert test.mcnemar is not None
    assert (test.mcnemar.b, test.mcnemar.c) == (40, 24)


def by_sum(small: int, large: int) -> list[float]:
    """Chances of the exchanges of ``small`` steps of 1 and ``large`` of 10 whose sum is at most small - 10 large."""
    return [
        comb(small, i) * comb(large, j) / 2 ** (small + large)
        for i, j in product(range(small + 1), range(large + 1))
        if (2 * i - small) + 10 * (2 * j - large) <= small - 10 * large
    ]


def test_mcnemar_says_nothing_where_most_draws_say_the_same_of_both_rows_everywhere():
    test = paired_test([([0.9, 0.8, 0.7, 0.2], [0.8, 0.7, 0.6, 0.1])])
    assert test.mcnemar is None
    assert test.p == pytest.approx(2 / 2**4)
    alike = paired_test([([1.0, 0.0], [1.0, 0.0])]).mcnemar
    assert alike is not None
    assert (alike.b, alike.c, alike.p) == (0, 0, 1)


@pytest.mark.parametrize("kind", ["0 or 1", "shares", "small shares"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_is_that_of_a_bootstrap_over_images(kind: str, seeds: int):
    rng = np.random.default_rng(seeds)
    hard = rng.random(300)  # an image that is hard at one seed is hard at the next
    first, second = (np.clip(hard + rng.normal(0, 0.2, (seeds, 300)) + shift, 0, 1) for shift in (0.1, 0.0))
    if kind == "0 or 1":
        first, second = np.rint(first), np.rint(second)
    if kind == "small shares":
        first, second = first / 20, second / 20
    test = paired_test(list(zip(first.tolist(), second.tolist(), strict=True)))
    ahead = (first - second).mean(axis=0)
    means = ahead[rng.integers(0, 300, (4000, 300))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert (test.low, test.high) == pytest.approx((low, high), abs=0.08 * (high - low))


def test_the_interval_has_a_width_where_all_images_agree_and_holds_the_difference():
    for first, second in (([1.0] * 64, [1.0] * 64), ([1.0] * 64, [0.0] * 64), ([0.6] * 64, [0.4] * 64)):
        test = paired_test([(first, second)])
        assert -1 <= test.low <= test.difference <= test.high <= 1
        assert 0.01 < test.high - test.low < 0.15


def test_of_single_yes_or_no_the_interval_is_bonetts_and_prices():
    b, c, n = 11, 4, 64
    test = paired_test([([1.0] * b + [0.0] * c + [1.0] * (n - b - c), [0.0] * b + [1.0] * (n - b))])
    one, two = (b + 1) / (n + 2), (c + 1) / (n + 2)
    reach = 1.959964 * ((one + two - (one - two) ** 2) / (n + 2)) ** 0.5
    assert (test.low, test.high) == pytest.approx((one - two - reach, one - two + reach), abs=1e-6)


def value(seed: int, correct: list[float], index: list[int] | None = None, data=("abc", "test")) -> SeedValue:
    mean = sum(correct) / len(correct)
    images = {"fingerprint": data[0], "split": data[1], "index": index}
    return SeedValue(seed, mean, None, None, len(correct), 20, "fraction", Path("r.json"), correct, images)


def table(study, first: list[SeedValue], second: list[SeedValue]) -> StudyTable:
    loaded = study()
    cells = {(row, column): StudyCell() for row in loaded.rows for column in loaded.columns}
    cells["simclr", "clean"] = StudyCell(first)
    cells["steps", "clean"] = StudyCell(second)
    return StudyTable(loaded, cells, {})


def pooled(study, first: list[list[float]], second: list[list[float]]) -> tuple[PairedTest, dict[int, PairedTest]]:
    rows = ([value(seed, correct) for seed, correct in enumerate(row)] for row in (first, second))
    (test,) = comparisons(table(study, *rows))
    assert test.pooled is not None
    assert test.holm == test.pooled.p
    return test.pooled, test.per_seed


def test_pooled_counts_are_of_images_times_the_seeds_that_both_rows_have(study):
    first = [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]
    second = [[0.0, 1.0, 0.0, 0.0], [0.4, 0.0, 1.0, 1.0], [1.0] * 4]
    test, per_seed = pooled(study, first, second)
    assert test.mcnemar is not None
    assert (test.mcnemar.b, test.mcnemar.c, test.mcnemar.n, test.n) == (2, 1, 8, 4)
    assert test.difference == pytest.approx(((2 - 1) / 4 + (2 - 2.4) / 4) / 2)
    assert sorted(per_seed) == [0, 1]


def test_two_seeds_of_an_image_make_no_tie(study):
    """The first row has each image at one seed only, the second none: averages would call them all right, or none."""
    test, _ = pooled(study, [[1.0] * 6, [0.0] * 6], [[0.0] * 6, [0.0] * 6])
    assert test.mcnemar is not None
    assert (test.mcnemar.b, test.mcnemar.c, test.mcnemar.n) == (6, 0, 12)
    assert test.p == pytest.approx(2 / 2**6)


def test_seeds_that_repeat_each_other_make_nothing_more_certain(study):
    first, second = [1.0] * 5 + [0.0] + [1.0] * 4, [0.0] * 5 + [1.0] + [1.0] * 4
    test, _ = pooled(study, [first] * 3, [second] * 3)
    assert test.mcnemar is not None
    assert (test.mcnemar.b, test.mcnemar.c, test.mcnemar.n) == (15, 3, 30)
    assert test.p == pytest.approx(by_hand(5, 1))
    once, _ = pooled(study, [first], [second])
    assert (test.low, test.high) == pytest.approx((once.low, once.high))


def test_pooled_p_is_the_share_of_all_exchanges_of_the_rows_at_images(study):
    first = [[1.0, 1, 1, 1, 0, 0, 1], [1.0, 1, 0, 1, 0, 1, 1]]
    second = [[0.0, 0, 1, 0, 1, 0, 1], [0.0, 0, 0, 0, 0, 0, 1]]
    steps = [int(sum(a) - sum(b)) for a, b in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)]
    assert steps == [2, 2, 0, 2, -1, 1, 0]
    sums = [sum(sign * step for sign, step in zip(signs, steps, strict=True)) for signs in product((1, -1), repeat=7)]
    share = sum(abs(one) >= abs(sum(steps)) for one in sums) / len(sums)
    assert 0 < share < 1
    assert pooled(study, first, second)[0].p == pytest.approx(share)


def test_where_each_seed_has_images_of_its_own_every_image_counts_once(study):
    """As with data that the seed splits: 1 image of seed 0 and 3 of seed 1 are 4 images, not clusters of two seeds."""
    first = [value(0, [1.0]), value(1, [1.0, 1.0, 0.0], data=("abd", "test"))]
    second = [value(0, [0.0]), value(1, [0.0, 1.0, 1.0], data=("abd", "test"))]
    (test,) = comparisons(table(study, first, second))
    assert test.pooled == paired_test([([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0])])
    assert test.per_seed[1] == paired_test([([1.0, 1.0, 0.0], [0.0, 1.0, 1.0])])


def test_groups_of_seeds_with_images_of_their_own_are_kept_apart(study):
    """Group 0 of seed 0 is not that of seed 1."""
    first = [
        replace(value(0, [1.0, 1.0]), groups=[0, 0]),
        replace(value(1, [1.0, 0.0], data=("abd", "test")), groups=[0, 1]),
    ]
    second = [value(0, [0.0, 0.0]), value(1, [0.0, 1.0], data=("abd", "test"))]
    (test,) = comparisons(table(study, first, second))
    assert test.pooled == paired_test([([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])], ["a", "a", "b", "c"])
    assert test.per_seed[0] == paired_test([([1.0, 1.0], [0.0, 0.0])], [0, 0])
    first[1] = replace(first[1], groups=None)
    (test,) = comparisons(table(study, first, second))
    assert test.pooled == paired_test([([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])], ["a", "a", "b", "c"])


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([value(0, [1.0])], [value(1, [1.0])], "no seed that both rows have"),
        ([value(0, [1.0, 1.0])], [value(0, [1.0])], "measured on different images"),
        ([value(0, [1.0], [3])], [value(0, [1.0], [4])], "measured on different images"),
        ([value(0, [1.0])], [value(0, [1.0], data=("abd", "test"))], "measured on different images"),
        ([value(0, [1.0])], [value(0, [1.0], data=("abc", "val"))], "measured on different images"),
        (
            [value(0, [1.0]), value(1, [1.0]), value(2, [1.0], data=("abd", "test"))],
            [value(0, [1.0]), value(1, [1.0]), value(2, [1.0], data=("abd", "test"))],
            "some seeds were measured on the same images, others not",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(study, first, second, reason: str):
    (test,) = comparisons(table(study, first, second))
    assert (test.pooled, test.holm, test.reason) == (None, None, reason)


@pytest.mark.parametrize("groups", [[0], [0, [1]], [0, None]])
def test_damaged_groups_are_one_line(groups: list):
    result = Result(
        {}, {}, {}, "fixed", per_image={"correct": [1.0, 0.0], "group": groups}, verdicts=["correct", "gone"]
    )
    with pytest.raises(UserError, match=r"per_image\.group: must"):
        result.groups()
