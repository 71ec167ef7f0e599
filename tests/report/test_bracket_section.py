"""The bracket of a smoothed network stands on the page; what is damaged is named with its file."""

import math

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.report import Row, page
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections.brackets import bands_of, brackets
from sslkuramoto.results import Result

LINE = "between 72.0 and 91.0 % at l2 0.4, sigma 0.2 (64 images, n 1000, alpha 0.001)"
BRACKET = {
    "sigma": 0.2, "void": "", "radii": [0.0, 0.4], "certified": [0.95, 0.72], "attacked": [0.98, 0.91], "lines": [LINE],
}  # fmt: skip
VOID = {**BRACKET, "void": "void at sigma 0.2: a certificate", "certified": [math.nan] * 2, "attacked": [math.nan] * 2}


@pytest.fixture
def run(fabricate):
    """A run with a result of ``certify``."""

    def make(*found, label="a"):
        return fabricate(label, "classification").result("certify", {}, details={"brackets": list(found)}, options={})

    return make


def result_of(made) -> Result:
    return Result.read(made.path / "results" / "certify.json")


def test_a_band_is_drawn_in_words_too_and_every_radius_has_its_line(run) -> None:
    made = run(BRACKET)
    text = brackets([Evidence("<b>", 0, result_of(made))])
    assert text.count("<svg") == 1
    assert "95.0 to 98.0 % at 0, 72.0 to 91.0 % at 0.4" in text
    assert LINE in text
    assert "<b>" not in text
    assert "Certified and attacked" in page([load(Row("a", made.path))])


def test_networks_share_a_picture_and_each_sigma_has_its_own(run) -> None:
    two = [
        Evidence(label, k, result_of(run(BRACKET, {**BRACKET, "sigma": 0.5}, label=label)))
        for k, label in enumerate("ab")
    ]
    assert brackets(two).count("<svg") == 2


def test_a_void_bracket_is_a_sentence_and_no_band(run) -> None:
    text = brackets([Evidence("a", 0, result_of(run(VOID)))])
    assert "<svg" not in text
    assert "a: void at sigma 0.2: a certificate" in text


def test_without_an_attack_the_lower_end_stands_alone(run) -> None:
    alone = {**BRACKET, "attacked": [math.nan] * 2, "lines": []}
    text = brackets([Evidence("a", 0, result_of(run(alone)))])
    assert "95.0 % at 0, 72.0 % at 0.4" in text


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        ({"certified": [0.9]}, "equally many"),
        ({"radii": "0.4"}, "radii: must be"),
        ({"lines": "none"}, "lines: must be"),
    ],
)
def test_a_damaged_bracket_is_one_line(damaged, said, run) -> None:
    with pytest.raises(UserError, match=rf"details\.brackets.*{said}"):
        bands_of(result_of(run({**BRACKET, **damaged})))


def test_a_result_without_brackets_draws_nothing(run) -> None:
    assert brackets([Evidence("a", 0, result_of(run()))]) == ""
