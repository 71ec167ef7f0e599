"""Curves of attacks stand on the page; what is damaged is named with its file."""

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.report import Row, page
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections.attack_curves import attack_curves, curves_of
from sslkuramoto.results import Result

CURVE = {
    "title": "Cosine of attacked and clean feature, attack away", "x_label": "l-inf radius (pixels)", "unit": "cosine",
    "x": [0.0, 0.05, 0.1], "y": [0.9, 0.7, 0.2],
}  # fmt: skip


@pytest.fixture
def run(fabricate):
    """A run with a result of ``feature_attack``."""

    def make(*found, label="a"):
        return fabricate(label).result("feature-attack", {}, details={"curves": list(found)}, options={})

    return make


def result_of(made) -> Result:
    return Result.read(made.path / "results" / "feature-attack.json")


def test_a_curve_is_drawn_and_said_in_words(run) -> None:
    made = run(CURVE)
    text = attack_curves([Evidence("<b>", 0, result_of(made))])
    assert text.count("<svg") == 1
    assert "0.9 at 0, 0.7 at 0.05, 0.2 at 0.1" in text
    assert "<b>" not in text
    assert "Attacks against their radius" in page([load(Row("a", made.path))])


def test_networks_attacked_at_the_same_radii_share_a_picture_and_others_do_not(run) -> None:
    made = {label: run(CURVE, label=label) for label in "ab"}
    made["c"] = run({**CURVE, "x": [0.0, 0.1, 0.2]}, label="c")
    items = [Evidence(label, k, result_of(each)) for k, (label, each) in enumerate(made.items())]
    assert attack_curves(items[:2]).count("<svg") == 1
    assert attack_curves(items).count("<svg") == 2


def test_two_results_of_one_network_keep_their_names(run) -> None:
    result = result_of(run(CURVE))
    assert "a, feature-attack: 0.9 at 0" in attack_curves([Evidence("a", 0, result), Evidence("a", 0, result)])


@pytest.mark.parametrize(
    ("damaged", "said"), [({"y": [0.9]}, "equally many"), ({"x": "0.4"}, "x: must be"), ({"x": [], "y": []}, "equally")]
)
def test_a_damaged_curve_is_one_line(damaged, said, run) -> None:
    with pytest.raises(UserError, match=rf"details\.curves.*{said}"):
        curves_of(result_of(run({**CURVE, **damaged})))


def test_a_result_without_curves_draws_nothing(run) -> None:
    assert attack_curves([Evidence("a", 0, result_of(run()))]) == ""
