"""Terminal, Markdown and CSV of a study: numbers right, gaps with their reasons, published figures apart."""

import csv
import io
import math
from dataclasses import replace

import pytest
from made_study import HOSTILE, audit
from rich.console import Console

from sslkuramoto.errors import UserError
from sslkuramoto.report import study_csv, study_latex, study_markdown, study_text
from sslkuramoto.report.tables.study import study_summary
from sslkuramoto.report.tables.table import OVER_EXAMPLES
from sslkuramoto.study import Published, StudyCell


def field(table, row, column, published=False):
    summary = study_summary(table)
    i = list(table.study.rows).index(row)
    j = next(j for j, h in enumerate(summary.heads) if h.column.key == column and h.published == published)
    cell = summary.cells[i][j]
    return cell, [summary.footnotes[k - 1] for k in cell.marks]


def lines(table):
    return list(csv.DictReader(io.StringIO(study_csv(table))))


def test_several_seeds_give_mean_sample_std_and_their_number(studied):
    cell, notes = field(studied.table(), "simsiam", "clean")
    assert (cell.text, cell.beside, notes) == ("80.0", ("± 10.0 (3 seeds)",), [])
    assert cell.value == pytest.approx(80)


def test_one_seed_gives_its_value_and_interval(studied):
    cell, _ = field(studied.table(), "phinet", "clean")
    assert (cell.text, cell.interval) == ("95.0", "[90.0, 99.0]")


def test_percent_and_other_units_are_not_scaled(studied):
    table = studied.table()
    assert field(table, "phinet", "ece")[0].text == "4.5"
    assert field(table, "phinet", "nll")[0].text == "0.3457"
    assert "NLL [nats]" in [head.name for head in study_summary(table).heads]


def test_a_published_figure_stands_in_a_column_of_its_own_with_source_n_and_what_differs(studied):
    table = studied.table()
    measured, _ = field(table, "phinet", "clean")
    reported, notes = field(table, "phinet", "clean", published=True)
    assert (measured.value, measured.published) == (pytest.approx(95), None)
    assert (reported.text, reported.interval) == ("81.55", "± 0.25")
    assert notes == ["reported: A. Author, table 2, 3 runs; differs: seeds & images not stated"]


def test_a_column_without_published_figures_has_none_beside_it(studied):
    heads = study_summary(studied.table()).heads
    assert {head.column.key for head in heads if head.published} == {"clean", "robust"}


def test_failed_and_missing_seeds_are_a_dash_with_their_reasons(studied):
    cell, notes = field(studied.table(), "broken", "clean")
    assert (cell.text, cell.value) == ("-", None)
    assert notes == ["seed 0: failed: loss is not finite at step 3", "seed 1: not computed yet"]


def test_seeds_that_are_there_count_and_the_others_are_told(studied):
    studied.cells["simsiam", "clean"].values.pop()
    studied.cells["simsiam", "clean"].missing = [2]
    cell, notes = field(studied.table(), "simsiam", "clean")
    assert (cell.text, cell.beside, notes) == ("85.0", ("± 7.1 (2 seeds)",), ["seed 2: not computed yet"])


def test_a_row_of_published_figures_only_says_so(studied):
    assert field(studied.table(), "gowal", "clean")[1] == ["published only: no run of ours"]
    assert field(studied.table(), "gowal", "clean", published=True)[0].text == "85.29"


def test_a_value_that_is_not_finite_is_no_number_of_the_mean(studied):
    path = studied.cells["phinet", "nll"].values.pop().result
    studied.value("phinet", "nll", 0, path, math.nan, unit="nats")
    cell, notes = field(studied.table(), "phinet", "nll")
    assert (cell.text, notes) == ("-", ["seed 0: the result records nll = nan"])


def test_rows_measured_unlike_are_marked(studied):
    studied.write("phinet", 0, "clean", {"accuracy": {"value": 0.95, "unit": "fraction"}}, data={"n": 7})
    summary = study_summary(studied.table())
    assert any("not alike in every row: number of images" in note for note in summary.footnotes)


def test_a_folded_document_shows_the_table_and_keeps_scoring_and_tests_behind_a_click(studied):
    plain, folded = (study_markdown(studied.table(), folded=folded) for folded in (False, True))
    shown, _, hidden = folded.partition("<details>")
    assert "| clean | PhiNet |" not in shown
    assert "| clean | PhiNet | SimSiam | pooled" in hidden
    assert "scored: " in plain
    assert "scored: " not in folded
    lines = [line for line in plain.splitlines() if line.startswith("scored: ")]
    assert lines
    assert all(f"- {line.removeprefix('scored: ').rstrip()}" in hidden for line in lines)
    assert folded.count("<details>") == folded.count("</details>") == 2


def test_a_title_with_a_colon_is_named_as_it_stands(studied):
    studied.columns["clean"] = replace(studied.columns["clean"], title="adaptive: held, summed")
    (line,) = (text for text in study_summary(studied.table()).scoring if "adaptive" in text)
    assert line.startswith("'adaptive: held, summed': ")


def test_csv_has_a_line_a_seed_and_marks_published_lines(studied):
    found = lines(studied.table())
    clean = [line for line in found if line["column"] == "clean"]
    assert [(line["row"], line["kind"], line["seed"]) for line in clean] == [
        *(("simsiam", "measured", str(seed)) for seed in range(3)),
        ("simsiam", "mean", ""),
        ("phinet", "measured", "0"),
        ("phinet", "mean", ""),
        ("phinet", "published", ""),
        ("broken", "failed", "0"),
        ("broken", "missing", "1"),
        ("gowal", "published", ""),
        ("phinet", "paired", ""),
        ("simsiam", "paired", ""),
    ]
    measured = [line["measured"] for line in clean if line["kind"] == "measured"]
    assert measured == ["90.0", "80.0", "70.0", "95.0"]
    assert (clean[6]["reported"], clean[6]["reported_source"]) == ("81.55", "A. Author, table 2")
    assert clean[7]["reason"] == "loss is not finite at step 3"


def test_csv_has_mean_and_std_over_seeds_and_their_number(studied):
    means = [line for line in lines(studied.table()) if line["kind"] == "mean" and line["column"] == "clean"]
    found = [(line["row"], line["mean"], line["std_over_seeds"], line["seeds"], line["unit"]) for line in means]
    assert found == [("simsiam", "80.0", "10.0", "3", "%"), ("phinet", "95.0", "", "1", "%")]


def test_beside_a_std_over_seeds_stands_how_far_chance_in_the_images_reaches(studied):
    """The intervals of seeds reach 5 points down and 4 up on clean images, and up to 8 up where none is left."""
    line, covered = study_summary(studied.table()).reading
    assert covered == OVER_EXAMPLES
    wanted = "± is the standard deviation over seeds; the 95 % interval over images is up to ± 8.0 points beside it"
    assert line == wanted
    assert wanted in study_markdown(studied.table())
    assert wanted in study_text(studied.table(), Console(file=io.StringIO(), width=200))
    for key in ("clean", "robust", "held", "ece", "nll"):
        studied.cells["simsiam", key].values[1:] = []
    assert study_summary(studied.table()).reading == [OVER_EXAMPLES]


def test_an_interval_of_a_mean_over_draws_says_what_it_covers_and_no_other_does(studied):
    console = Console(file=io.StringIO(), width=300)
    for text in (study_markdown(studied.table()), study_text(studied.table(), console)):
        assert OVER_EXAMPLES in " ".join(text.split())
    assert OVER_EXAMPLES in " ".join("".join(study_latex(studied.table()).values()).split())
    for cell in studied.cells.values():
        cell.values[:] = [replace(value, draws=1) for value in cell.values]
    assert OVER_EXAMPLES not in study_summary(studied.table()).reading


def test_a_study_of_plants_says_which_were_found_and_which_networks_accused(studied):
    column = replace(studied.columns["clean"], key="quick", title="quick audit", per_image=None)
    studied.columns = {"quick": replace(column, metric="robust_accuracy"), "plain": replace(column, key="plain")}
    studied.cells = {(row, key): StudyCell() for row in studied.rows for key in studied.columns}
    given = {"simsiam": ("masked", "levels(levels=3)"), "phinet": ("no sign of masking", "dropout")}
    given["broken"] = ("suspect", None)
    for row, (word, plant) in given.items():
        (studied.root / "runs" / f"{row}-tune-0" / "results").mkdir(parents=True, exist_ok=True)
        found = audit(f"{word}: so") | {"word": word, "plant": plant}
        numbers = {"robust_accuracy": {"value": 0.5}, "accuracy": {"value": 0.5}}
        path = studied.write(row, 0, "audit-quick", numbers, details={"audit": found})
        for key in studied.columns:
            studied.value(row, key, 0, path, 0.5)
    (line,) = study_summary(studied.table()).reading
    assert line == (
        "quick audit: 2 plants: 1 of 2 found (95 % interval 1 to 99 %); missed: PhiNet (no sign of masking). "
        "1 honest network: 1 of 1 false alarms (95 % interval 2 to 100 %); Broken (suspect)"
    )
    assert line in study_markdown(studied.table()).replace("\\", "")


def audited(studied, *seeds):
    """Add audits of SimSiam's seeds."""
    column = replace(studied.columns["clean"], key="audit", title="audit", protocol="audit-quick", per_image=None)
    studied.columns["audit"] = replace(column, metric="robust_accuracy", rows=("simsiam",))
    for row in studied.rows:
        studied.cells[row, "audit"] = StudyCell()
    for seed, sentence in enumerate(seeds):
        found = audit(f"masked: {sentence}") | {"word": "masked"}
        path = studied.write(
            "simsiam", seed, "audit-quick", {"robust_accuracy": {"value": 0.1}}, details={"audit": found}
        )
        studied.value("simsiam", "audit", seed, path, 0.1, 0.05, 0.2)
    return studied.table()


def test_the_audits_verdict_is_a_footnote_in_terminal_markdown_and_latex(studied):
    table = audited(studied, "an upper bound only")
    wanted = "audit's verdict: masked: an upper bound only"
    assert field(table, "simsiam", "audit")[1] == [wanted]
    for text in (
        study_text(table, Console(file=io.StringIO(), width=200)),
        study_markdown(table),
        study_latex(table)["table"],
    ):
        assert wanted in text


def test_audits_of_several_seeds_are_told_by_seed_and_alike_ones_once(studied):
    table = audited(studied, "one", "one", "two")
    wanted = ["seeds 0, 1: audit's verdict: masked: one", "seed 2: audit's verdict: masked: two"]
    assert field(table, "simsiam", "audit")[1] == wanted


def test_csv_has_the_audits_verdict(studied):
    found = [line for line in lines(audited(studied, "one")) if line["kind"] == "measured" and line["verdict"]]
    assert [(line["row"], line["column"]) for line in found] == [("simsiam", "audit")]
    assert (found[0]["verdict"], found[0]["verdict_sentence"]) == ("masked", "masked: one")


def test_published_figures_have_the_decimals_of_their_column(studied):
    studied.cells["gowal", "clean"].published = Published(83.0, "paper")
    studied.cells["gowal", "robust"].published = Published(0.0, "paper")
    table = studied.table()
    assert field(table, "gowal", "clean", published=True)[0].text == "83.00"
    assert field(table, "gowal", "robust", published=True)[0].text == "0.00"
    studied.cells["phinet", "clean"].published = None
    assert field(table, "gowal", "clean", published=True)[0].text == "83.0"


def test_no_line_of_csv_holds_a_measured_and_a_published_figure(studied):
    for line in lines(studied.table()):
        measured = [line[key] for key in line if key.startswith("measured")]
        reported = [line[key] for key in line if key.startswith("reported")]
        assert any(measured) == (line["kind"] == "measured")
        assert any(reported) == (line["kind"] == "published")
        assert bool(line["mean"]) == (line["kind"] == "mean")


def test_markdown_has_as_many_fields_in_each_line_and_escapes_text(studied):
    studied.title = studied.question = HOSTILE
    studied.rows["gowal"] = type(studied.rows["gowal"])(
        "gowal", f"a|b {HOSTILE}", (), {"clean": Published(1.0, HOSTILE)}, (0,), HOSTILE
    )
    studied.cells["gowal", "clean"].published = Published(1.0, HOSTILE)
    text = study_markdown(studied.table())
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in rows}) <= 1


@pytest.mark.parametrize("width", [200, 90, 50])
def test_a_terminal_of_any_width_shows_every_number_whole(studied, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    text = study_text(studied.table(), console)
    for whole in ("± 10.0 (3 seeds)", "[90.0, 99.0]", "81.55", "53.54", "Gowal 2020", "Which one is robust?"):
        assert whole in text
    assert max(map(len, text.splitlines())) <= width


def test_a_pipe_gets_a_block_per_row_where_lines_would_be_too_wide(studied):
    text = study_text(studied.table(), Console(file=io.StringIO(), width=40))
    block = text[text.index("\nPhiNet, ours\n") :].split("\nBroken")[0]
    assert "95.0 [90.0, 99.0]" in block
    assert "81.55(4) +- 0.25" in block


def test_a_damaged_result_is_named(studied):
    table = studied.table()
    table.cells["phinet", "clean"].values[0].result.write_text("{")
    with pytest.raises(UserError, match=r"clean-0123456789ab\.json: truncated"):
        study_text(table)
