"""McNemar's exact test and Holm's correction, against their definitions."""

from math import comb
from pathlib import Path

import pytest

from sslkuramoto.study import SeedValue, StudyCell, StudyTable, comparisons, holm, mcnemar


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


def test_an_image_is_right_from_half_of_the_draws_on():
    test = mcnemar([0.5, 0.45, 1.0], [0.45, 0.5, 0.95])
    assert (test.b, test.c) == (1, 1)


def test_holm_as_worked_out_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def value(seed: int, correct: list[float], index: list[int] | None = None) -> SeedValue:
    mean = sum(correct) / len(correct)
    return SeedValue(seed, mean, None, None, len(correct), 20, "fraction", Path("r.json"), correct, index)


def table(study, first: list[SeedValue], second: list[SeedValue]) -> StudyTable:
    loaded = study()
    cells = {(row, column): StudyCell() for row in loaded.rows for column in loaded.columns}
    cells["simclr", "clean"] = StudyCell(first)
    cells["steps", "clean"] = StudyCell(second)
    return StudyTable(loaded, cells, {})


def test_an_image_counts_once_however_many_seeds_saw_it(study):
    first = [value(0, [1.0, 1.0, 0.0, 0.0]), value(1, [1.0, 0.0, 1.0, 0.0])]
    second = [value(0, [0.0, 1.0, 0.0, 0.0]), value(1, [0.4, 0.0, 1.0, 0.0]), value(2, [1.0] * 4)]
    (test,) = comparisons(table(study, first, second))
    assert test.pooled is not None
    assert (test.pooled.b, test.pooled.c, test.pooled.n) == (1, 0, 4)
    assert sorted(test.per_seed) == [0, 1]
    assert test.holm == test.pooled.p == 1.0


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([value(0, [1.0])], [value(1, [1.0])], "no seed that both rows have"),
        ([value(0, [1.0, 1.0])], [value(0, [1.0])], "measured on different images"),
        ([value(0, [1.0], [3])], [value(0, [1.0], [4])], "measured on different images"),
    ],
)
def test_what_cannot_be_compared_says_why(study, first, second, reason: str):
    (test,) = comparisons(table(study, first, second))
    assert (test.pooled, test.holm, test.reason) == (None, None, reason)
