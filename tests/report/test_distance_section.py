"""Distances of nearest mistakes stand on the page with their curve; what is damaged is named with its file."""

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.report import Row, page, plain, summarise
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.pictures.distances import Fall, _thinned
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections.distances import distances, fall_of
from sslkuramoto.results import Result

FALL = {"norm": "l2", "images": 64, "eps": [0.0, 0.25, 0.5, 5.0], "accuracy": [0.9375, 0.5, 0.125, 0.125]}


@pytest.fixture
def run(fabricate, metric):
    """A run with a result of ``distance``."""

    def make(found, *, label="a", protocol="distance-l2", norm="l2"):
        metrics = {
            "median_distance": metric(0.25, 0.2, 0.375, unit="pixels"),
            "never_fooled": metric(0.125, 0.0649, 0.2273),
            "clean_accuracy": metric(0.9375, 0.85, 0.975),
        }
        options = {"norm": norm}
        details = {} if found is None else {"distance": found}
        return fabricate(label, "classification").result(protocol, metrics, details=details, options=options)

    return make


def result_of(made, protocol="distance-l2") -> Result:
    return Result.read(made.path / "results" / f"{protocol}.json")


def test_median_share_never_fooled_and_curve_stand_on_the_page_in_words_too(run):
    made = run(FALL)
    text = distances([Evidence("<b>", 0, result_of(made))])
    assert text.count("<svg") == 1
    assert "93.8 % at 0, at most half of that from 0.5, 12.5 % at 5" in text
    assert "0.25 (0.2 to 0.375)" in text
    assert "12.50 (6.49 to 22.73)" in text
    assert "<b>" not in text
    assert "Nearest mistakes" in page([load(Row("a", made.path))])


def test_networks_share_a_picture_and_each_norm_and_protocol_has_its_own(run):
    shown = [
        Evidence("a", 0, result_of(run(FALL))),
        Evidence("b", 1, result_of(run(FALL, label="b"))),
        Evidence("a", 0, result_of(run(FALL, protocol="distance-quick"), "distance-quick")),
        Evidence("a", 0, result_of(run({**FALL, "norm": "linf"}, protocol="distance-linf"), "distance-linf")),
    ]
    text = distances(shown)
    assert text.count("<svg") == 3
    assert text.count("<tr") == 1 + len(shown)


def test_tables_have_a_column_for_the_median_and_one_for_the_share_never_fooled_in_each_norm(run):
    run(FALL)
    made = run({**FALL, "norm": "linf"}, protocol="distance-linf", norm="linf")
    summary = summarise([load(Row("a", made.path))])
    shown = dict(zip([head.column.key for head in summary.heads], summary.cells[0], strict=True))
    for norm in ("l2", "linf"):
        median, never = shown[f"distance_{norm}"], shown[f"never_fooled_{norm}"]
        assert (median.text, median.interval) == ("0.25", "[0.2, 0.375]"), "in pixels, not in percent"
        assert (never.text, never.interval) == ("12.5", "[6.5, 22.7]")
    assert summary.unit == "", "not all are percent"
    assert "Nearest mistake: l2, median [pixels]" in plain(summary)


def test_a_long_staircase_is_thinned_and_keeps_its_ends():
    eps = tuple(step / 1000 for step in range(1001))
    x, y = _thinned(Fall("l2", 1000, eps, tuple(1 - each for each in eps)))
    assert len(x) == 300
    assert (x[0], x[-1], y[0], y[-1]) == (0, 1, 1, 0)


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        ({"norm": "l1"}, "must be an object with a norm"),
        ({"images": 0}, "images=0: must be a whole number"),
        ({"eps": "0.4"}, "eps: must be a list"),
        ({"accuracy": [0.9]}, "needs increasing eps"),
        ({"accuracy": [2.0, 0.5, 0.1, 0.1]}, r"accuracy in \[0,1\]"),
        ({"accuracy": [None, 0.5, 0.1, 0.1]}, r"accuracy in \[0,1\]"),
        ({"eps": [0.0, 0.5, 0.5, 5.0]}, "needs increasing eps"),
    ],
)
def test_a_damaged_curve_is_one_line(damaged, said, run):
    with pytest.raises(UserError, match=rf"details\.distance.*{said}") as error:
        fall_of(result_of(run({**FALL, **damaged})))
    assert "\n" not in str(error.value)


def test_a_result_without_distances_draws_nothing(run):
    assert distances([Evidence("a", 0, result_of(run(None)))]) == ""
