"""The error of every corruption and severity stands on the page; what is damaged is named with its file."""

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.report import Row, page
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections.corruptions import corruptions, errors_of
from sslkuramoto.results import Result

FOG = {"1": {"error": 0.25, "accuracy": 0.75}, "5": {"error": 0.5, "accuracy": 0.5}}
SNOW = {"1": {"error": 0.35}, "5": {"error": 0.9}}


@pytest.fixture
def run(fabricate):
    """A run with a result of the corruptions' protocol."""

    def make(found):
        details = {"corruptions": found}
        return fabricate("a", "classification").result("corruptions", {}, details=details, options={"source": "ours"})

    return make


def test_errors_are_means_over_corruptions_and_severities_in_percent(run):
    path = run({"fog": FOG, "snow": SNOW}).path
    text = corruptions([Evidence("<b>", 0, Result.read(path / "results" / "corruptions.json"))])
    means, single = text.split("Every corruption")
    for number in ("30.0", "70.0", "50.0"):  # severity 1, severity 5, mean
        assert f">{number}<" in means
    for number in ("25.0", "50.0", "37.5", "35.0", "90.0", "62.5"):
        assert f">{number}<" in single
    assert "<b>" not in text
    assert "Corruptions" in page([load(Row("a", path))])


def test_a_severity_that_was_not_measured_is_a_dash(run):
    path = run({"fog": FOG, "snow": {"1": {"error": 0.35}}}).path
    text = corruptions([Evidence("a", 0, Result.read(path / "results" / "corruptions.json"))])
    assert text.count('data-sort=""') == 2, "severity 5 of snow and its mean"


def test_damaged_corruptions_are_one_line_and_none_are_nothing(run):
    result = Result.read(run({"fog": {"1": {}}}).path / "results" / "corruptions.json")
    with pytest.raises(UserError, match=r"details\.corruptions: must be"):
        errors_of(result)
    assert corruptions([Evidence("a", 0, Result.read(run({}).path / "results" / "corruptions.json"))]) == ""
