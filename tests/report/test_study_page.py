"""The page on a study stands alone, shows every cell with its origin, and runs nothing that files say."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from made_study import HOSTILE, FabricatedStudy, audit
from page_outline import Outline

from sslkuramoto.report import study_page, write_study_page
from sslkuramoto.report.pictures import scatter as study_pictures
from sslkuramoto.report.pictures.bands import smoothed, together
from sslkuramoto.report.pictures.scatter import Point, limits
from sslkuramoto.report.sections import curves as curve_section
from sslkuramoto.report.sections import scatter as scatter_section
from sslkuramoto.report.sections.scatter import clean_column
from sslkuramoto.study import Published, StudyCell


def completed(studied):
    """Add an audit and adversarial images."""
    column = replace(studied.columns["clean"], key="audit", title="audit", protocol="audit-quick", per_image=None)
    studied.columns["audit"] = replace(column, metric="robust_accuracy", rows=("phinet",))
    for row in studied.rows:
        studied.cells[row, "audit"] = StudyCell()
    metrics = {"robust_accuracy": {"value": 0.1}}
    path = studied.write("phinet", 0, "audit-quick", metrics, details={"audit": audit()})
    studied.value("phinet", "audit", 0, path, 0.1, 0.05, 0.2)
    studied.store_images("phinet", 0)
    return studied


@pytest.fixture
def complete(studied):
    """A study with everything, to be changed."""
    return completed(studied)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The page of a study with everything."""
    return study_page(completed(FabricatedStudy(tmp_path_factory.mktemp("studies"))).table())


def sections(text):
    return [attributes["id"] for tag, attributes in Outline(text).tags if tag == "section"]


def test_a_complete_study_has_every_section(text):
    assert sections(text) == [
        *("table", "bars", "scatter", "audits", "pairs", "calibration", "curves", "attacked", "provenance", "recipes"),
    ]


def test_a_study_without_anything_computed_has_its_table_and_says_what_is_missing(studied):
    for (row, _), cell in studied.cells.items():
        cell.values, cell.failures, cell.missing = [], {}, list(studied.rows[row].seeds)
    text = study_page(studied.table())
    assert {"calibration", "attacked"}.isdisjoint(sections(text))
    assert "seeds 0, 1, 2: not computed yet" in text


def test_nothing_refers_outside_the_page_and_ids_are_unique(text):
    outline = Outline(text)
    assert all(link.startswith(("#", "data:image/png")) for link in outline.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"base64,[^\"]*", "", text.split("<script>")[0]))
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert "script-src 'sha256-" in text


def test_text_from_files_is_shown_and_never_run(complete):
    complete.title = complete.question = HOSTILE
    complete.notes = (HOSTILE,)
    for key, row in complete.rows.items():
        complete.rows[key] = replace(row, label=f"{key} {HOSTILE}", group=HOSTILE)
    for key, column in complete.columns.items():
        complete.columns[key] = replace(column, title=f"{key} {HOSTILE}")
    complete.cells["gowal", "clean"].published = Published(85.0, HOSTILE, differs=HOSTILE)
    complete.cells["broken", "clean"].failures[0] = HOSTILE
    found = audit(HOSTILE) | {"reasons": [HOSTILE], "word": HOSTILE, "threat": HOSTILE}
    found["checks"][0] |= {"title": HOSTILE, "reason": HOSTILE, "figures": {HOSTILE: HOSTILE}}
    options = {HOSTILE: HOSTILE}
    complete.write(
        "phinet", 0, "audit-quick", {"robust_accuracy": {"value": 0.1}}, details={"audit": found}, options=options
    )
    (complete.runs["phinet", 0][0] / "recipe.yaml").write_text(HOSTILE)
    (complete.runs["phinet", 0][0] / "environment.json").write_text(json.dumps({"sessions": [{HOSTILE: HOSTILE}]}))
    outline = Outline(study_page(complete.table()))
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert outline.events == []
    assert "".join(outline.text).count(HOSTILE) >= 20


def test_tables_can_be_sorted_by_numbers(text):
    outline = Outline(text)
    tables = [attributes.get("class", "").split() for tag, attributes in outline.tags if tag == "table"]
    assert sum("sortable" in kinds for kinds in tables) >= 5
    sort = [attributes["data-sort"] for tag, attributes in outline.tags if tag == "td" and "data-sort" in attributes]
    assert "" in sort
    assert any(float(value) == pytest.approx(95) for value in sort if re.fullmatch(r"[\d.]+", value))


def test_published_figures_are_told_apart_in_the_table_by_more_than_colour(text):
    outline = Outline(text)
    reported = [attributes for tag, attributes in outline.tags if attributes.get("class") == "published"]
    assert {float(a["data-sort"]) for a in reported if "data-sort" in a} == {81.55, 53.54, 85.29}
    assert "clean, reported" in outline.text


def test_every_picture_has_words(text):
    outline = Outline(text)
    drawn = [attributes for tag, attributes in outline.tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert len(drawn) >= 8
    assert all(attributes["role"] == "img" and len(attributes["aria-label"]) > 20 for attributes in drawn)


def test_the_scatter_has_a_panel_a_way_and_a_point_a_row_measured_or_reported(text):
    labels = re.findall(r'aria-label="Clean against robust accuracy, ([^"]*)"', text)
    assert [label.partition(". ")[0] for label in labels] == ["robust, as published", "robust, held noise", "audit"]
    assert labels[0].partition(". ")[2] == (
        "SimSiam: 80.0 clean, 50.0 robust. PhiNet: 95.0 clean, 70.0 robust. PhiNet (reported): 81.5 clean, 53.5 robust."
    )


def test_bars_stand_for_each_column_that_compares_rows_with_their_spread_over_seeds(text):
    labels = re.findall(r'aria-label="Bars, ([^"]*)"', text)
    assert labels[0] == ("clean. SimSiam: 80 (70 to 90). PhiNet: 95 (90 to 99). PhiNet (reported): 81.55.")
    assert [label.partition(". ")[0] for label in labels][:3] == ["clean", "robust, as published", "robust, held noise"]
    assert "Gowal" not in "".join(labels), "it is published only"


def test_a_column_with_a_single_measured_row_has_no_bars(studied):
    table = studied.table()
    for key in ("simsiam", "broken"):
        for column in table.study.columns:
            table.cells[key, column].values.clear()
    assert "bars" not in sections(study_page(table))


def rows_of(text, section):
    """The lines of the tables of a section: the texts of their fields."""
    part = text[text.index(f'<section id="{section}"') :].split("</section>")[0]
    lines = re.findall(r"<tr>(.*?)</tr>", part)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in lines]


def test_every_row_has_a_line_in_the_table_of_verdicts(text):
    by_row = {fields[0]: fields for fields in rows_of(text, "audits") if len(fields) == 8}
    assert "not audited" not in by_row["PhiNet"]
    assert [by_row[label][3] for label in ("SimSiam", "Broken", "Gowal 2020")] == ["not audited"] * 3


def test_without_any_audit_there_is_no_table_of_verdicts(studied):
    text = study_page(studied.table())
    assert "not audited" not in text
    assert "audits" not in sections(text)


def test_the_scatter_draws_the_spread_over_seeds_and_that_over_images(studied, monkeypatch):
    drawn = []
    monkeypatch.setattr(scatter_section, "scatter_pictures", lambda panels, name: drawn.extend(panels) or [])
    scatter_section.clean_against_robust(studied.table())
    several, one, reported = dict(drawn)["robust, as published"]
    assert several.robust == pytest.approx((50, 40, 60))
    assert several.images == (pytest.approx((80, 75, 84)), pytest.approx((50, 45, 55)))
    assert one.images == (one.clean, one.robust)
    assert reported.images is None


def test_a_point_of_several_seeds_has_a_thin_and_a_thick_line_inside_the_axes(monkeypatch):
    figures = []
    monkeypatch.setattr(study_pictures, "svg_of", lambda figure, **rest: figures.append(figure) or "")
    images = (50.0, 20.0, 80.0), (40.0, 30.0, 50.0)
    point = Point(0, "a", (50.0, 49.0, 51.0), (40.0, 39.0, 41.0), images=images)
    study_pictures.scatter_pictures([("one", [point])], name="s")
    (axes,) = figures[0].axes
    widths = {float(lines.get_linewidth()[0]) for lines in axes.collections}
    assert len(widths) == 2
    assert axes.get_xlim()[0] < 20 < 80 < axes.get_xlim()[1]


def test_a_study_without_a_clean_column_has_no_scatter(studied):
    studied.columns = {key: column for key, column in studied.columns.items() if key != "clean"}
    table = studied.table()
    table.study = replace(table.study, compare=())
    assert clean_column(table) is None
    assert "scatter" not in sections(study_page(table))


def test_the_clean_accuracy_of_the_attacked_images_is_a_clean_column(studied):
    clean = studied.columns.pop("clean")
    studied.columns["at"] = replace(clean, key="at", protocol="robustness", metric="held/clean_accuracy")
    for row in studied.rows:
        studied.cells[row, "at"] = StudyCell()
    assert clean_column(studied.table()).key == "at"


@pytest.mark.parametrize(("values", "range_"), [((50,), (47, 53)), ((0, 100), (-3, 103)), ((20, 70), (14, 76))])
def test_the_axes_hold_their_values_with_room(values, range_):
    assert limits(values) == pytest.approx(range_)


def test_every_cell_tells_seed_run_options_revision_hardware_and_time(text):
    words = " ".join(Outline(text).text)
    for told in ("simsiam-tune-2/results/clean-0123456789ab.json", "eps=0.1", "abc123", "a test", "torch 2.6", "12.5"):
        assert told in words
    assert "not there yet" in words  # the run of the row that failed


def test_environments_that_are_alike_are_written_once(text):
    assert "".join(Outline(text).text).count("revision abc123") == 1


def test_a_curve_is_the_mean_over_seeds_at_common_steps():
    found = together([([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), ([2.0, 3.0, 4.0], [4.0, math.inf, 0.0])])
    assert found is not None
    assert found.steps.tolist() == [2, 3]
    assert found.mean[0] == 3
    assert not math.isfinite(found.mean[1])
    assert together([([1.0], [1.0]), ([2.0], [1.0])]) is None
    assert together([]) is None


def test_a_long_curve_is_smoothed_and_says_over_how_many_records(studied):
    steps = np.arange(1, 1001)
    for seed in range(3):
        lines = "".join(f"{step},{step + seed},{1 if step != 7 else 'nan'}\n" for step in steps)
        (studied.runs["simsiam", seed][0] / "metrics.csv").write_text("step,loss,grad_norm\n" + lines)
    curves = together([(steps.tolist(), (steps + seed).tolist()) for seed in range(3)])
    assert curves is not None
    smooth, stretch = smoothed(curves)
    assert (len(smooth.steps), stretch) == (100, 10)
    assert np.abs(smooth.mean - 1 - smooth.steps).max() <= 1
    text = study_page(studied.table())
    assert "SimSiam: bold line and band over means of 10 records each" in text
    assert "1 of 1000 values not finite, the first at step 7 (cross)" in text
    assert "SimSiam, mean of 3 seeds: from 2 at step 1" in text
    assert "No record of absent." in text


def test_curves_of_two_training_runs_are_drawn_one_after_the_other(studied):
    for seed in range(3):
        for path, loss in zip(studied.runs["simsiam", seed], (2.0, 7.0), strict=True):
            (path / "metrics.csv").write_text(f"step,loss\n1,{loss}\n2,{loss}\n")
    table = studied.table()
    drawn = []
    for stages in ((0,), (1,), (0, 1)):
        text = curve_section.curves_of_study(
            replace(table, study=replace(table.study, curves=("loss",), curves_stages=stages))
        )
        drawn.append([value for value in ("from 2 at step 1", "from 7 at step 1") if f"3 seeds: {value}" in text])
    assert drawn == [["from 2 at step 1"], ["from 7 at step 1"], ["from 2 at step 1", "from 7 at step 1"]]


def test_the_same_study_gives_the_same_page(studied):
    assert study_page(studied.table()) == study_page(studied.table())


def test_the_page_is_written_where_asked(studied, tmp_path):
    path = write_study_page(tmp_path / "new" / "report.html", studied.table())
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
