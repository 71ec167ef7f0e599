"""McNemar's exact test and Holm's correction, against their definitions."""

from itertools import product
from math import comb
from pathlib import Path

import pytest

from sslkuramoto.study import McNemar, SeedValue, StudyCell, StudyTable, comparisons, holm, mcnemar


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


def test_holm_as_worked_out_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def value(seed: int, correct: list[float], index: list[int] | None = None, data=("abc", "test")) -> SeedValue:
    mean = sum(correct) / len(correct)
    return SeedValue(seed, mean, None, None, len(correct), 20, "fraction", Path("r.json"), correct, index, data)


def table(study, first: list[SeedValue], second: list[SeedValue]) -> StudyTable:
    loaded = study()
    cells = {(row, column): StudyCell() for row in loaded.rows for column in loaded.columns}
    cells["simclr", "clean"] = StudyCell(first)
    cells["steps", "clean"] = StudyCell(second)
    return StudyTable(loaded, cells, {})


def pooled(study, first: list[list[float]], second: list[list[float]]) -> tuple[McNemar, dict[int, McNemar]]:
    rows = ([value(seed, correct) for seed, correct in enumerate(row)] for row in (first, second))
    (test,) = comparisons(table(study, *rows))
    assert test.pooled is not None
    assert test.holm == test.pooled.p
    return test.pooled, test.per_seed


def test_pooled_counts_are_of_images_times_the_seeds_that_both_rows_have(study):
    first = [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]
    second = [[0.0, 1.0, 0.0, 0.0], [0.4, 0.0, 1.0, 1.0], [1.0] * 4]
    test, per_seed = pooled(study, first, second)
    assert (test.b, test.c, test.n) == (2, 1, 8)
    assert sorted(per_seed) == [0, 1]


def test_two_seeds_of_an_image_make_no_tie(study):
    """The first row has each image at one seed only, the second none: averages would call them all right, or none."""
    test, _ = pooled(study, [[1.0] * 6, [0.0] * 6], [[0.0] * 6, [0.0] * 6])
    assert (test.b, test.c, test.n) == (6, 0, 12)
    assert test.p == pytest.approx(2 / 2**6)


def test_seeds_that_repeat_each_other_make_nothing_more_certain(study):
    first, second = [1.0] * 5 + [0.0] + [1.0] * 4, [0.0] * 5 + [1.0] + [1.0] * 4
    test, _ = pooled(study, [first] * 3, [second] * 3)
    assert (test.b, test.c, test.n) == (15, 3, 30)
    assert test.p == pytest.approx(by_hand(5, 1))


def test_pooled_p_is_the_share_of_all_exchanges_of_the_rows_at_images(study):
    first = [[1.0, 1, 1, 1, 0, 0, 1], [1.0, 1, 0, 1, 0, 1, 1]]
    second = [[0.0, 0, 1, 0, 1, 0, 1], [0.0, 0, 0, 0, 0, 0, 1]]
    steps = [int(sum(a) - sum(b)) for a, b in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)]
    assert steps == [2, 2, 0, 2, -1, 1, 0]
    sums = [sum(sign * step for sign, step in zip(signs, steps, strict=True)) for signs in product((1, -1), repeat=7)]
    share = sum(abs(one) >= abs(sum(steps)) for one in sums) / len(sums)
    assert 0 < share < 1
    assert pooled(study, first, second)[0].p == pytest.approx(share)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([value(0, [1.0])], [value(1, [1.0])], "no seed that both rows have"),
        ([value(0, [1.0, 1.0])], [value(0, [1.0])], "measured on different images"),
        ([value(0, [1.0], [3])], [value(0, [1.0], [4])], "measured on different images"),
        ([value(0, [1.0])], [value(0, [1.0], data=("abd", "test"))], "measured on different images"),
        ([value(0, [1.0])], [value(0, [1.0], data=("abc", "val"))], "measured on different images"),
        (
            [value(0, [1.0]), value(1, [1.0], data=("abd", "test"))],
            [value(0, [1.0]), value(1, [1.0], data=("abd", "test"))],
            "measured on different images",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(study, first, second, reason: str):
    (test,) = comparisons(table(study, first, second))
    assert (test.pooled, test.holm, test.reason) == (None, None, reason)
