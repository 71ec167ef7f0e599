"""The first screen: one line per model, its readings as one picture; tables mark the best and leave out the empty."""

import csv
import re
import unicodedata

import pytest
from matplotlib.figure import Figure

from sslkuramoto.report import Row, load, markdown, page, plain, study_page, summarise, summary_latex
from sslkuramoto.report.evidence import Curve, Histogram, Threshold
from sslkuramoto.report.pictures.evidence import curve_picture, histograms_picture, places_on_log_axis, spans_decades
from sslkuramoto.report.pictures.export import LIGHT, exported_to
from sslkuramoto.report.pictures.oscillators import spread_places
from sslkuramoto.report.pictures.readings import alt_of, readings_pictures, write_readings
from sslkuramoto.report.tables.escape import csv_comment, csv_field, visible
from sslkuramoto.report.tables.main_numbers import MainNumbers, Measured
from sslkuramoto.report.tables.summary import Cell, with_best

NUMBERS = MainNumbers(
    "net <b>",
    {"as published": Measured(94.9, 86.6, 98.2), "union": Measured(38.4, 27.4, 50.6)},
    Measured(97.7, 90.5, 99.5),
    "l-inf 2/255",
    64,
    audit=("masked",),
)


def table_of(*rows):
    return summarise([load(row) for row in rows])


def test_the_headline_is_the_union_with_threat_images_clean_accuracy_and_audit():
    assert NUMBERS.line == (
        "net <b>: robust accuracy 38.4 % [27.4, 50.6], l-inf 2/255, union, 64 images; "
        "clean on the same images 97.7 % [90.5, 99.5]; audit: masked"
    )


def test_without_a_union_the_lowest_reading_is_the_headline():
    robust = {"as published": Measured(90.0), "fixed": Measured(10.0)}
    assert MainNumbers("a", robust).headline == ("fixed", Measured(10.0))


def test_a_run_states_its_headline_from_its_result_file(complete, metric):
    (numbers,) = table_of(Row("akorn", complete)).main_numbers
    assert numbers.threat == ""  # the file states no norm
    assert numbers.headline == ("union", Measured(30.0, None, None))
    assert "akorn: robust accuracy 30.0 %, union of four readings, 360 images" in plain(
        table_of(Row("akorn", complete))
    )


@pytest.mark.parametrize(
    ("readings", "line"),
    [
        ({"published": 0.9, "held": 0.2}, "robust accuracy 20.0 %, l2 0.5, adaptive"),
        ({"published": 0.1, "held": 0.2}, "robust accuracy 10.0 %, l-inf 0.001, as published"),
        ({"published": 0.9, "eot": 0.8, "union": 0.7}, "robust accuracy 70.0 %, l-inf 0.001, union of two readings"),
    ],
)
def test_the_threat_of_the_headline_is_that_of_its_reading(fabricate, metric, readings, line):
    names = {"published": "as published", "held": "adaptive", "eot": "EoT", "union": "union"}
    metrics = {f"{key}/robust_accuracy": metric(value, reading=names[key]) for key, value in readings.items()}
    ways = {"published": {"eps": 0.001}, "held": {"norm": "l2", "eps": 0.5}, "eot": {"eps": 0.001}}
    run = fabricate().result("robustness-linf", metrics, options={"norm": "linf", "eps": "8/255", "ways": ways})
    table = table_of(Row("a", run.path))
    assert line in plain(table)
    told = alt_of(table.main_numbers[0])
    assert ("as published (l-inf 0.001) 90.0 %" in told) == (line.endswith("adaptive"))
    assert ("adaptive (l2 0.5) 20.0 %" in told) == (line.endswith("as published"))


def test_a_model_that_was_never_attacked_tells_its_first_numbers(fabricate, metric):
    run = fabricate().result("knn", {"accuracy": metric(0.9, 0.86, 0.93)})
    assert table_of(Row("a", run.path)).headlines == ["a: Frozen encoder: k-NN 90.0 % [86.0, 93.0]"]


def test_the_page_begins_with_the_answer(complete, studied):
    for text in (page([load(Row("akorn", complete))]),):
        assert text.index('<section id="answer"') < text.index('<section id="summary"')
        assert "Accuracy of akorn by reading" in text
    assert '<section id="audits"' not in study_page(studied.table()), "nothing was audited"


def test_the_picture_of_readings_states_its_numbers_and_escapes_its_labels():
    (svg,) = readings_pictures([NUMBERS], name="r")
    assert "as published 94.9 % [86.6, 98.2]" in svg
    assert "<b>" not in svg
    assert svg.endswith("</svg>")


@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_the_picture_of_readings_is_a_file_in_colours_of_a_light_page(tmp_path, ending, begins):
    path = write_readings(tmp_path / f"readings.{ending}", [NUMBERS, NUMBERS])
    content = path.read_bytes()
    assert content.startswith(begins)
    if ending == "svg":
        assert LIGHT["#0a0b00"].encode() in content
        assert not any(stand_in.encode() in content for stand_in in LIGHT)


def test_figures_of_a_page_are_exported_as_svg_and_pdf(complete, tmp_path):
    with exported_to(tmp_path / "figures"):
        text = page([load(Row("akorn", complete))])
    assert text == page([load(Row("akorn", complete))]), "the page is the same"
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {path.rpartition(".")[2] for path in names} == {"svg", "pdf"}
    assert any("loss-over-steps" in name for name in names)


def test_columns_and_rows_without_a_number_are_left_out_and_footnotes_numbered_anew(fabricate, metric):
    run = fabricate("a").result("knn", {"accuracy": metric(0.9)}).result("linear", {"precision": metric(0.5)})
    summary = table_of(Row("a", run.path), Row("empty", fabricate("empty").path)).informative()
    assert [head.column.key for head in summary.heads] == ["knn", "linear"]
    assert summary.labels == ["a"]
    assert summary.footnotes == ["not measured: linear.json holds precision, not accuracy"]
    assert summary.cells[0][1].marks == (1,)
    assert "no number in this table: empty" in summary.below


def test_the_best_value_of_a_column_is_bold_in_every_output(fabricate, metric):
    runs = [fabricate(name).result("knn", {"accuracy": metric(value)}) for name, value in (("a", 0.9), ("b", 0.8))]
    summary = table_of(*(Row(run.path.name, run.path) for run in runs))
    assert "| a | **90.0**" in markdown(summary)
    assert "\\textbf{90.0}" in summary_latex(summary, "t")
    assert "<strong>90.0</strong>" in page([load(Row(run.path.name, run.path)) for run in runs])


@pytest.mark.parametrize(
    ("better", "best"), [("higher", [False, True]), ("lower", [True, False]), (None, [False, False])]
)
def test_the_best_is_that_of_the_declared_direction(better, best):
    assert [cell.best for cell in with_best([Cell(1.0), Cell(2.0)], better)] == best


def test_values_of_different_measurements_have_no_best():
    assert not any(cell.best for cell in with_best([Cell(1.0, departs="eps 0.1"), Cell(2.0)], "higher"))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1+2",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\uff1d1+1",
        "\uff0b1",
        "\uff0d1",
        "\uff201",
        " =1",
        "\u3000\uff1d1",
        "\u200b=1",
        "\ta",
    ],
)
def test_text_that_begins_like_a_formula_stands_behind_an_apostrophe(text):
    assert str(csv_field(text)).startswith("'")
    assert csv_field(-1.5) == -1.5


@pytest.mark.parametrize("text", ["PhiNet", "a=1", "1-2", "", "x\n=1"])
def test_other_text_has_no_apostrophe(text):
    assert not str(csv_field(text)).startswith("'")


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize(
    "text", ["a,=1+1", "a;=1+1", "a\n=1+1", "a\r\nb", 'a,"=1+1"', "a, \uff1d1", "a\u2028=1", "a\x85=1", "a"]
)
def test_a_comment_of_a_csv_file_is_one_line_and_no_formula(text, delimiter):
    line = csv_comment(text)
    ((first, *fields),) = csv.reader(line.splitlines(), delimiter=delimiter)
    assert first.startswith("# a")
    assert not any(unicodedata.normalize("NFKC", field.strip()).startswith(("=", "+", "-", "@")) for field in fields)


def test_what_steers_a_terminal_or_turns_text_around_is_shown_as_a_question_mark():
    assert visible("a\x1b[31m\x00\u202eb\nc") == "a?[31m??b\nc"


def test_hostile_names_steer_neither_terminal_nor_page_nor_spreadsheet(fabricate, metric):
    run = fabricate().result("knn", {"accuracy": metric(0.9)})
    row = Row("=cmd\x1b[2J\u202e\x07", run.path)
    summary = table_of(row)
    assert "\x1b" not in plain(summary) + markdown(summary) + summary_latex(summary, "t\x1b")
    text = page([load(row)])
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202e]", text)


def test_images_to_look_at_are_spread_over_the_set():
    assert spread_places(18, 4).tolist() == [0, 4, 9, 13]
    assert spread_places(3, 8).tolist() == [0, 1, 2]


def test_radii_over_decades_have_a_logarithmic_axis_with_a_place_for_zero():
    eps = [0.0, 0.004, 0.008, 0.03, 1.0]
    assert spans_decades(eps)
    assert not spans_decades([0.1, 0.2, 1.0])
    assert not spans_decades([-1.0, 0.01, 1.0])
    axes = Figure().subplots()
    places = places_on_log_axis(axes, eps)
    assert (places[1:] > places[:-1]).all()
    assert places[2] - places[1] == pytest.approx(places[1] - places[0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.004", "0.008", "0.03", "1"]


def test_a_threshold_is_drawn_and_told():
    curve = Curve(
        "Correlation of the gradient with finite differences, all of it",
        "step",
        "correlation",
        (0.1, 1.0),
        {"median": (0.97, 0.99)},
        Threshold(0.707, "from"),
    )
    svg = curve_picture(curve, name="c")
    assert "passes from 0.707" in svg
    assert "A check passes from 0.707." in svg


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (Threshold(0.25, "from"), "a check passes from 0.25."),
        (Threshold(0.4771, "up to"), "a check passes up to 0.477."),
        (Threshold(0.4771), "a check has its threshold at 0.477."),  # a result of an earlier version
    ],
)
def test_a_histogram_tells_on_which_side_of_its_threshold_a_check_passes(threshold, said):
    assert said in histograms_picture([Histogram("turns", "x", (0.0, 0.5, 1.0), (1.0, 3.0), threshold)], name="h")
