"""Paired tests of a study in Markdown, CSV and sentences: never against the table that they stand under."""

import re
from dataclasses import replace

import pytest
from made_study import IMAGES
from test_study_text import field, lines

from sslkuramoto.report import study_markdown
from sslkuramoto.report.tables.pairs import p_is, p_text, points
from sslkuramoto.report.tables.study import study_summary


def test_paired_tests_give_difference_interval_p_holm_and_mcnemar(studied):
    below = study_summary(studied.table()).below
    (line,) = (text for text in below if text.startswith("paired, clean: PhiNet against SimSiam: "))
    assert re.fullmatch(
        r".*: \+5\.0 \[-\d\.\d, \+\d+\.\d\], p = 0\.5, Holm = 0\.5; McNemar b = 2, c = 0 of 40, p = 0\.5", line
    )
    assert "paired: SimSiam against Broken: not tested in 1 column: no seed that both rows have" in below


def test_a_small_p_in_a_sentence_has_one_sign():
    assert (p_is(1e-9), p_is(0.5), p_is(1e-9, "Holm")) == ("p < 0.0001", "p = 0.5", "Holm < 0.0001")


def test_differences_have_their_sign_and_none_at_0():
    assert [points(x) for x in (0.051, -0.3125, 0.0, -0.0001)] == ["+5.1", "-31.2", "0.0", "0.0"]


@pytest.mark.parametrize("every_seed", [True, False])
def test_the_corrected_test_of_one_seed_is_always_there(studied, every_seed: bool):
    text = study_markdown(studied.table(), every_seed=every_seed)
    (test,) = (line for line in text.splitlines() if line.startswith("| clean | PhiNet | SimSiam |"))
    fields = [field.strip() for field in test.strip("|").split("|")]
    assert fields[3:5] == ["pooled (1 seed)", "+5.0"]
    assert fields[6:] == ["0.5", "0.5", "2", "0", "40", "0.5"]


def test_the_table_says_what_is_tested_and_what_counts_as_right(studied):
    text = study_markdown(studied.table())
    assert "difference of the mean shares of correct draws in points, first minus second" in text
    assert "McNemar on most draws: b correct in the first row only" in text


def opposite(studied, unit="fraction"):
    """PhiNet against SimSiam where most draws and the means say the opposite, and where no vote differs."""
    studied.cells["simsiam", "clean"].values[1:] = []
    for row, shares in (("phinet", [0.55] * 25 + [0.0] * 15), ("simsiam", [0.45] * 25 + [1.0] * 15)):
        path = studied.cells[row, "clean"].values.pop().result
        studied.value(row, "clean", 0, path, sum(shares) / len(shares), 0.1, 0.9, unit, correct=shares)
    return studied.table()


def test_the_test_under_a_table_has_the_sign_of_the_tables_difference(studied):
    table = opposite(studied)
    first, second = (field(table, row, "clean")[0].value or 0.0 for row in ("phinet", "simsiam"))
    difference = first - second
    assert difference == pytest.approx(34.375 - 65.625)
    assert "| pooled (1 seed) | -31.2 | " in study_markdown(table)
    (line,) = (line for line in lines(table) if line["kind"] == "paired" and line["second_row"] == "simsiam")
    assert float(line["difference"]) == pytest.approx(difference)
    assert (line["mcnemar_b"], line["mcnemar_c"]) == ("25", "15")


def test_where_no_vote_differs_mcnemar_is_a_dash(studied):
    table = opposite(studied)
    for row, share in (("phinet", 0.9), ("simsiam", 0.8)):
        value = table.cells[row, "clean"].values[0]
        table.cells[row, "clean"].values[0] = replace(value, value=share, correct=[share] * IMAGES)
    assert "; McNemar -" in study_summary(table).below[1]
    assert "| < 0.0001 | < 0.0001 | - | - | - | - |".replace("<", "&lt;") in study_markdown(table)
    (line,) = (line for line in lines(table) if line["kind"] == "paired" and line["second_row"] == "simsiam")
    assert (line["mcnemar_b"], line["mcnemar_p"]) == ("", "")


def test_paired_tests_of_several_seeds_are_told_seed_by_seed(studied):
    table = studied.table()
    for seed, share in ((0, 0.5), (1, 0.5)):
        correct = [1.0] * round(share * IMAGES) + [0.0] * (IMAGES - round(share * IMAGES))
        path = studied.cells["simsiam", "clean"].values[seed].result
        studied.value("broken", "clean", seed, path, share, correct=correct)
    (line,) = (text for text in study_summary(table).below if "against Broken" in text)
    assert "McNemar b = 28, c = 0 of 80, p < 0.0001" in line
    assert "seed 0: +40.0 [" in line
    assert "seed 1: +30.0 [" in line
    assert "| clean | SimSiam | Broken | pooled (2 seeds) | +35.0 |" in study_markdown(table)
    assert "| clean | SimSiam | Broken | 1 | +30.0 |" in study_markdown(table)
    pooled_only = study_markdown(table, every_seed=False)
    assert "| clean | SimSiam | Broken | pooled (2 seeds) | +35.0 |" in pooled_only
    assert "| clean | SimSiam | Broken | 1 |" not in pooled_only


def test_csv_has_the_paired_tests_and_why_there_is_none(studied):
    one, other = (line for line in lines(studied.table()) if line["kind"] == "paired")
    assert (one["row"], one["second_row"], one["column"]) == ("phinet", "simsiam", "clean")
    assert (one["difference"], one["unit"], one["images"], one["seeds"]) == ("5.0", "points", "40", "1")
    assert float(one["difference_low"]) < 5 < float(one["difference_high"])
    numbers = [float(one[key]) for key in ("p", "p_holm", "mcnemar_b", "mcnemar_c", "mcnemar_n", "mcnemar_p")]
    assert numbers == pytest.approx([0.5, 0.5, 2, 0, 40, 0.5])
    assert (other["second_row"], other["reason"]) == ("broken", "no seed that both rows have")


def test_a_small_p_is_never_zero():
    assert [p_text(p) for p in (1.0, 0.0341, 1e-9)] == ["1", "0.034", "< 0.0001"]
