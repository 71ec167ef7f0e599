"""The summary says what was measured, under what conditions, and what was not."""

import csv
import io

import pytest
from rich.console import Console

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import load_protocol
from sslkuramoto.report import Published, Row, columns, csv_text, load, markdown, plain, show, summarise

ALWAYS = [column for column in columns() if not column.optional]


def summary(*rows):
    return summarise([load(row) for row in rows])


def cell(table, key, row=0, published=False):
    index = next(i for i, h in enumerate(table.heads) if h.column.key == key and h.published == published)
    return table.cells[row][index]


def note(table, some):
    return " ".join(table.footnotes[k - 1] for k in some.marks)


def test_a_complete_model_fills_every_column(complete):
    table = summary(Row("akorn", complete))
    values = [90, 91, 80, 78, 70, 97, 85, 5, 38.6, 31, 30]
    assert [c.value for c in table.cells[0]] == pytest.approx(values)
    assert [head.column for head in table.heads] == ALWAYS


def percents(metric, **values):
    return {name: metric(value, unit="percent") for name, value in values.items()}


def optional(table):
    return [head.column.key for head in table.heads if head.column.optional]


OURS, ARCHIVE = {"source": "ours"}, {"source": "archive"}


def test_a_column_of_noise_corruptions_or_calibration_stands_once_a_model_has_a_number(complete, fabricate, metric):
    other = fabricate("other", "classification")
    other.result("noise", {"clean_accuracy": metric(0.9), "sign_64_255_accuracy": metric(0.8)})
    other.result("corruptions-digits", {"accuracy_mean": metric(0.7)} | percents(metric, mce=61.5), options=OURS)
    table = summary(Row("akorn", complete), Row("other", other.path))
    assert optional(table) == ["noise_accuracy", "corruption_accuracy", "corruption_mce"]
    assert [cell(table, key, row=1).value for key in optional(table)] == pytest.approx([80, 70, 61.5])
    assert "not measured" in note(table, cell(table, "noise_accuracy"))
    other.result("calibration", percents(metric, ece=3.1))
    table = summary(Row("other", other.path))
    assert cell(table, "calibration_ece").value == pytest.approx(3.1)
    line = next(csv.DictReader(io.StringIO(csv_text(table))))
    assert float(line["calibration_ece"]) == pytest.approx(3.1)
    assert "Calibration: ECE" in markdown(table)


def test_our_corruptions_and_the_published_ones_share_no_column(fabricate, metric):
    both = fabricate("both", "classification").result("corruptions", {"accuracy_mean": metric(0.7)}, options=OURS)
    both.result("corruptions-archive", {"accuracy_mean": metric(0.5)}, options=ARCHIVE)
    alone = fabricate("alone", "classification")
    alone.result("corruptions-archive", {"accuracy_mean": metric(0.4)}, options=ARCHIVE)
    table = summary(Row("both", both.path), Row("alone", alone.path))
    assert optional(table) == ["corruption_accuracy", "archive_accuracy"]
    assert [cell(table, key, row=k).value for k in (0, 1) for key in optional(table)] == pytest.approx(
        [70, 50, None, 40]
    )


@pytest.mark.parametrize(
    ("protocol", "metrics", "reason"),
    [
        ("noise", {"sign_16_255_accuracy": 0.8}, "noise.json holds sign_16_255_accuracy, not sign_64_255_accuracy"),
        ("noise", {f"m{k}": 0.8 for k in range(5)}, "noise.json holds 5 other metrics, not sign_64_255_accuracy"),
        ("noise", {"sign_64_255_accuracy": float("nan")}, "noise.json records sign_64_255_accuracy = nan"),
        ("noise", {"sign_64_255_accuracy": None}, "noise.json records sign_64_255_accuracy = nan"),
    ],
)
def test_a_number_that_an_optional_column_misses_has_its_reason(fabricate, metric, protocol, metrics, reason):
    run = fabricate("a", "classification")
    run.result(protocol, {name: metric(value) for name, value in metrics.items()})
    assert optional(summary(Row("a", run.path))) == []
    other = fabricate("other", "classification").result("noise", {"sign_64_255_accuracy": metric(0.8)})
    table = summary(Row("a", run.path), Row("other", other.path))
    assert cell(table, "noise_accuracy").value is None
    assert reason in note(table, cell(table, "noise_accuracy"))


def test_an_optional_column_of_which_only_variants_were_measured_says_which(fabricate, metric):
    run = fabricate("a", "classification")
    run.result("relations", {"accuracy": metric(0.8)}, options={"examples": 20})
    results = run.path / "results"
    (results / "relations.json").rename(results / "relations+examples=20.json")
    table = summary(Row("a", run.path))
    assert cell(table, "relations_unseen").value is None
    assert "left out: measured with other options than its protocol file: relations+examples=20" in note(
        table, cell(table, "relations_unseen")
    )


def test_an_optional_number_in_another_unit_is_a_dash_that_says_so(fabricate, metric):
    run = fabricate("a", "classification").result("calibration", {"ece": metric(4.0, unit="")})
    other = fabricate("other", "classification").result("calibration", percents(metric, ece=3.0))
    assert optional(summary(Row("a", run.path))) == []
    table = summary(Row("a", run.path), Row("other", other.path))
    assert "calibration.json gives ece in the unit ''" in note(table, cell(table, "calibration_ece"))


def test_a_published_figure_makes_an_optional_column_stand(complete):
    table = summary(Row("akorn", complete, published={"calibration_ece": Published(1.3, "AKOrN, table 4")}))
    assert cell(table, "calibration_ece").value is None
    assert cell(table, "calibration_ece", published=True).value == 1.3
    assert "not measured" in note(table, cell(table, "calibration_ece"))


def test_noise_on_the_images_is_no_draw_of_oscillators(fabricate, metric):
    scores = {"sign_64_255_accuracy": metric(0.8, draws=10)}
    cnn = fabricate("cnn", "classification").result("noise", scores, stochastic=False, initial=None)
    (line,) = summary(Row("cnn", cnn.path)).scoring
    assert line.endswith("mean over 10 samples of the noise")
    akorn = fabricate("akorn", "classification").result("noise", {"sign_64_255_accuracy": metric(0.8)})
    (line,) = summary(Row("cnn", cnn.path), Row("akorn", akorn.path)).scoring
    assert line.endswith("mean over 20 draws of the oscillators or 10 samples of the noise")


def test_two_models_of_one_label_are_refused(complete):
    with pytest.raises(UserError, match="2 models are called 'akorn'"):
        summary(Row("akorn", complete), Row("akorn", complete))


def test_the_interval_comes_before_the_spread_over_draws(complete):
    table = summary(Row("akorn", complete))
    assert cell(table, "knn").interval == "[86.0, 93.0]"
    assert cell(table, "linear").interval == "± 0.4"


def test_percent_is_left_alone_and_fractions_are_scaled(fabricate, metric):
    run = fabricate().result("knn", {"accuracy": metric(90.5, unit="percent")})
    assert cell(summary(Row("a", run.path)), "knn").value == 90.5


def test_a_number_of_unknown_unit_is_refused(fabricate, metric):
    run = fabricate().result("knn", {"accuracy": metric(90.5, unit="")})
    with pytest.raises(UserError, match=r"knn\.json: metrics\.accuracy\.unit=''"):
        summary(Row("a", run.path))


def test_what_was_not_measured_is_a_dash_with_its_reason(fabricate, metric):
    table = summary(Row("a", fabricate().result("knn", {"precision": metric(0.5)}).path))
    assert (cell(table, "knn").text, note(table, cell(table, "knn"))) == (
        "-",
        "not measured: knn.json holds precision, not accuracy",
    )
    assert "no result for it" in note(table, cell(table, "linear"))


def test_a_value_that_is_not_finite_is_a_dash_that_says_so(fabricate, metric):
    table = summary(Row("a", fabricate().result("knn", {"accuracy": metric(float("nan"))}).path))
    assert (cell(table, "knn").text, note(table, cell(table, "knn"))) == ("-", "knn.json records accuracy = nan")


def test_a_frozen_number_never_comes_from_the_finetuned_encoder(fabricate, metric):
    run = fabricate("a")
    fabricate("a/finetune", "classification").result("knn", {"accuracy": metric(0.99)})
    assert cell(summary(Row("a", run.path)), "knn").value is None


@pytest.mark.parametrize(
    ("reading", "key"),
    [
        ("as published", "robust_as_published"),
        ("fixed", "robust_fixed"),
        ("EoT", "robust_eot"),
        ("adaptive", "robust_held"),
        ("union", "robust_union"),
    ],
)
def test_robust_accuracy_goes_to_the_reading_that_the_number_states(fabricate, reading, key, metric):
    numbers = {"published/robust_accuracy": metric(0.9), "any/robust_accuracy": metric(0.25, reading=reading)}
    table = summary(Row("a", fabricate("a", "classification").result("robustness-linf", numbers).path))
    filled = [h.column.key for h, c in zip(table.heads, table.cells[0], strict=True) if c.value is not None]
    assert (filled, cell(table, key).value) == ([key], 25)


@pytest.mark.parametrize(
    "name", ["robust_accuracy", "published/robust_accuracy", "union/robust_accuracy", "eot", "fixed"]
)
def test_a_number_that_states_no_reading_fills_no_column_whatever_its_name(fabricate, metric, name):
    run = fabricate("a", "classification").result("robustness-linf", {name: metric(0.9)})
    table = summary(Row("a", run.path))
    assert [c.value for c in table.cells[0]] == [None] * len(ALWAYS)
    reason = "not measured: robustness-linf.json holds no number that states the reading 'as published'"
    assert note(table, cell(table, "robust_as_published")) == reason


@pytest.mark.parametrize("name", ["robustness-linf", "robustness-quick"])
def test_every_way_of_an_old_result_of_our_protocol_files_has_its_column(fabricate, metric, name):
    options = load_protocol(name).options
    run = fabricate(name, "classification")
    metrics = {
        f"{way}/{m}": metric(k / 10)
        for k, way in enumerate(("published", "fixed", "eot", "held", "union"))
        for m in ("robust_accuracy_all", "wrapper_accuracy", "robust_accuracy", "clean_accuracy")
    }
    assert {key.split("/")[0] for key in metrics} == {*options["ways"], "union"}
    table = summary(Row("a", run.result(name, metrics, options=options, format=1).path))
    assert [c.value for c in table.cells[0][-5:]] == [0, 10, 20, 30, 40]
    assert any(f"adaptive): {name}" in line and "held_noise(" in line for line in table.scoring)


@pytest.mark.parametrize(
    ("protocol", "details"), [("audit-quick", {}), ("robustness-audit", {"audit": {"verdict": "masked"}})]
)
def test_an_audit_is_no_way_of_measuring_robust_accuracy(fabricate, metric, protocol, details):
    run = fabricate("a", "classification")
    run.result(protocol, {"robust_accuracy": metric(0.4), "clean_accuracy": metric(0.9)}, details=details)
    assert all(c.value is None for c in summary(Row("a", run.path)).cells[0])


def test_indices_are_shown_times_a_hundred_with_the_spread_that_there_is(fabricate, metric):
    run = fabricate().result(
        "clustering",
        {
            "nmi": metric(0.78, unit="index", draws=1, std_over_draws=0.0, std_over_seeds=0.02),
            "ari": metric(0.7, unit="index", std_over_seeds=0.02),
        },
    )
    table = summary(Row("a", run.path))
    assert (cell(table, "clustering_nmi").text, cell(table, "clustering_nmi").interval) == ("78.0", "± 2.0")
    assert (cell(table, "clustering_ari").text, cell(table, "clustering_ari").interval) == ("70.0", "± 0.4")


def test_a_deterministic_network_has_one_way_and_the_others_say_why(fabricate, metric):
    run = fabricate("a", "classification")
    robust = {"robust_accuracy": metric(0.0, reading="as published")}
    run.result("robustness-linf", robust, stochastic=False, initial=None)
    table = summary(Row("a", run.path))
    assert cell(table, "robust_as_published").value == 0
    assert "deterministic" in note(table, cell(table, "robust_eot"))


def test_rows_measured_unlike_are_marked_in_their_column(fabricate, metric):
    runs = [
        fabricate(name).result("knn", {"accuracy": metric(0.9)}, options={"k": k}) for name, k in (("a", 5), ("b", 20))
    ]
    table = summary(*(Row(run.path.name, run.path) for run in runs))
    assert "not alike in every row: option k (a: 5, b: 20)" in table.footnotes


def test_rows_that_share_the_most_frequent_condition_are_counted_not_named(fabricate, metric):
    runs = [
        fabricate(name).result("knn", {"accuracy": metric(0.9)}, options={"k": k})
        for name, k in (("a", 5), ("b", 20), ("c", 20))
    ]
    table = summary(*(Row(run.path.name, run.path) for run in runs))
    assert "not alike in every row: option k (5: a; 20: the other 2)" in table.footnotes


def test_results_of_different_weights_are_pointed_out(fabricate, metric):
    run = fabricate().result("knn", {"accuracy": metric(0.9)})
    run.result("linear", {"accuracy": metric(0.9)}, encoder={"sha256": "other", "weights": "ema"})
    assert any("different encoder weights" in text for text in summary(Row("a", run.path)).footnotes)


def test_published_figures_stand_in_columns_of_their_own(complete):
    table = summary(Row("akorn", complete, published={"clean": Published(86.81, "OPL, table 11", std=0.2, n=3)}))
    measured, reported = cell(table, "clean"), cell(table, "clean", published=True)
    assert (measured.value, measured.published) == (pytest.approx(97), None)
    assert (reported.value, reported.interval, reported.found) == (86.81, "± 0.2", None)
    assert note(table, reported) == "reported: OPL, table 11, 3 runs"


def test_a_model_may_be_published_only():
    table = summary(Row("AKOrN", published={"clean": Published(88.91, "report, table 1")}))
    assert cell(table, "clean").text == "-"
    assert cell(table, "clean", published=True).text == "88.91"


@pytest.mark.parametrize("source", ["", "  ", None])
def test_a_published_figure_without_a_source_is_refused(source):
    with pytest.raises(UserError, match="no source"):
        Published(75.03, source)


@pytest.mark.parametrize("wrong", [{"value": "75"}, {"value": float("nan")}, {"std": "1"}, {"n": 0}, {"n": 2.5}])
def test_a_published_figure_is_made_of_numbers(wrong):
    with pytest.raises(UserError, match=f"published {next(iter(wrong))}="):
        Published(**{"value": 1.0, "source": "paper", **wrong})


def test_a_published_figure_of_no_column_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'robust_eot'"):
        summary(Row("a", published={"robust_eott": Published(1, "paper")}))


def test_csv_holds_full_precision_and_never_mixes_measured_with_published(complete):
    table = summary(Row("akorn, small", complete, published={"robust_eot": Published(76.6, "OPL, table 3")}))
    (line,) = csv.DictReader(io.StringIO(csv_text(table)))
    assert len(line) == len(csv_text(table).splitlines()[0].split(","))  # no name twice
    assert line["model"] == "akorn, small"
    assert (float(line["robust_eot"]), line["robust_eot_reported"]) == (38.6, "76.6")
    assert (line["knn_low"], line["knn_n"], line["robust_eot_reported_source"]) == ("86.0", "360", "OPL, table 3")
    assert float(line["robust_as_published"]) == 85


def test_markdown_has_as_many_fields_in_each_line_and_escapes_labels(complete):
    text = markdown(summary(Row("a|b<i>\n*c*", complete)))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[2].startswith("| a\\|b&lt;i&gt; \\*c\\* |")
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(ALWAYS) + 2}


def test_plain_text_is_ascii_with_one_line_per_model(fabricate, metric):
    runs = [fabricate(name).result("knn", {"accuracy": metric(0.9, 0.86, 0.93)}) for name in ("first", "second")]
    text = plain(summary(*(Row(run.path.name, run.path) for run in runs)))
    assert text.isascii()
    lines = text.splitlines()
    assert lines[0].startswith("first: Frozen encoder: k-NN 90.0 %"), "headlines come first"
    assert [line.split()[0] for line in lines[3:5]] == ["first", "second"]
    assert "90.0 [86.0, 93.0]" in lines[3]


def test_plain_text_that_would_be_too_wide_is_a_block_per_model(complete):
    lines = plain(summary(Row("first", complete), Row("second", complete)), verbose=False).splitlines()
    assert max(map(len, lines)) <= 120
    assert lines.count("  Frozen encoder: k-NN                90.0 [86.0, 93.0]") == 2


def test_a_pipe_gets_plain_text(complete):
    out = io.StringIO()
    table = summary(Row("a", complete))
    show(table, Console(file=out, width=80))
    assert out.getvalue() == plain(table, verbose=False)
    assert "scored:" not in out.getvalue()
    assert "scored:" in plain(table)


@pytest.mark.parametrize("width", [200, 100, 50])
def test_a_terminal_of_any_width_shows_every_number_whole(complete, width):
    out = io.StringIO()
    rows = [Row(f"model-{k}", complete) for k in range(6)]
    show(summary(*rows), Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False))
    text = out.getvalue()
    assert text.count("[86.0, 93.0]") == len(rows)
    assert text.count("38.6") == len(rows)
    assert all(row.label in text for row in rows)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("eps", ["8/255", 8 / 255])
def test_eps_is_written_as_people_write_it(fabricate, metric, eps):
    run = fabricate("a", "classification")
    run.result("robustness-linf", {"robust_accuracy": metric(0.5, reading="EoT")}, options={"eps": eps})
    assert any("eps=8/255" in line for line in summary(Row("a", run.path)).scoring)
