"""Audits, reliability diagrams and adversarial images are drawn from the numbers, on both pages."""

import re

import pytest
import torch
from made_study import audit, reliability
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from page_outline import Outline
from safetensors.torch import save_file

from sslkuramoto.errors import UserError
from sslkuramoto.report import Row, page
from sslkuramoto.report.evidence import Attacked, Evidence, attacked_of, audit_of, bins_of
from sslkuramoto.report.pictures import evidence as evidence_pictures
from sslkuramoto.report.pictures.drawing import axes_grid
from sslkuramoto.report.pictures.evidence import magnification, reliability_axes
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections import audits as audit_section
from sslkuramoto.report.sections.attacked import adversarial_images
from sslkuramoto.report.sections.audits import audits
from sslkuramoto.report.sections.calibration import calibration
from sslkuramoto.results import Result


@pytest.fixture
def result(fabricate):
    """A result with the given details."""

    def make(details, protocol="calibration", **rest):
        run = fabricate("a", "classification").result(protocol, {"ece": {"value": 0.1}}, details=details, **rest)
        return Result.read(run.path / "results" / f"{protocol}.json")

    return make


def test_the_calibration_error_is_the_mean_gap_over_answers(result):
    found = reliability() | {"edges": [0, 0.5, 1], "confidence": [0.4, 0.9], "accuracy": [0.5, 0.6], "count": [1, 3]}
    (bins,) = bins_of(result({"reliability": {"two": found}}))
    assert bins.calibration_error == pytest.approx((0.1 + 3 * 0.3) / 4)


def test_a_reliability_diagram_has_its_bars_where_the_numbers_say(result):
    found = {
        "edges": [0, 0.5, 0.8, 1],
        "confidence": [0.4, None, 0.9],
        "accuracy": [0.5, None, 0.6],
        "count": [1, 0, 3],
    }
    (bins,) = bins_of(result({"reliability": {"three": found}}))
    _, ((axes,), (counts,)) = axes_grid(2, 1, 3, 3)
    reliability_axes(axes, counts, bins, 0)
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axes.patches]
    assert bars == [pytest.approx((0, 50, 50)), pytest.approx((80, 20, 60))]
    points = axes.lines[-1].get_xydata()
    assert points.ravel().tolist() == pytest.approx([40, 50, 90, 60])
    assert [bar.get_height() for bar in counts.patches] == pytest.approx([25, 75])


def test_a_long_title_of_a_diagram_is_wrapped_and_whole(result, monkeypatch):
    figures = []
    monkeypatch.setattr(evidence_pictures, "svg_of", lambda figure, **rest: figures.append(figure) or "")
    (bins,) = bins_of(result({"reliability": {"two": reliability()}}))
    label = "with projection, trained on fixed oscillators, seed 0, robust accuracy of held noise"
    evidence_pictures.reliability_picture(label, bins, series=0, name="r")
    (figure,) = figures
    (title,) = (text for text in figure.findobj(Text) if text.get_text().startswith("with projection"))
    assert title.get_text().replace("\n", " ") == label
    box = title.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height


def test_bins_without_any_answer_are_drawn_as_nothing(result):
    empty = {"edges": [0, 1], "confidence": [None], "accuracy": [None], "count": [0]}
    text = calibration([Evidence("a", 0, result({"reliability": {"one": empty}}))])
    assert "no answers" in text


@pytest.mark.parametrize(
    "broken",
    [
        {"one": 3},
        {"one": {"edges": [0, 1]}},
        {"one": reliability() | {"count": [1]}},
        {"one": reliability() | {"edges": "01"}},
    ],
)
def test_broken_bins_are_named_with_their_file(result, broken):
    with pytest.raises(UserError, match=r"calibration\.json: details\.reliability"):
        bins_of(result({"reliability": broken}))


def test_an_audit_shows_verdict_reasons_and_every_check_by_word_and_sign(result):
    text = audits([Evidence("akorn", 0, result({"audit": audit()}, "audit-quick"))])
    words = "|".join(Outline(text).text)
    for told in (
        "gradients are masked",
        "Square breaks more than APGD",
        "✓ pass",
        "✗ fail",
        "– not run",
        "first 0.25",
    ):
        assert told in words
    assert words.count(" as it should be") >= 3
    assert "nested|median 0.5" in words


def test_an_audits_curve_and_histograms_are_drawn(result):
    text = audits([Evidence("akorn", 0, result({"audit": audit()}, "audit-quick"))])
    assert 'aria-label="Accuracy against eps. pgd: 90 at 0, 50 at 0.5, 20 at 1, 0 at 2."' in text
    assert "|gamma F| of layer 1, step 1: most in 0 to 1." in text


def test_drawings_that_would_make_the_page_large_are_left_out_by_name(result, monkeypatch):
    items = [Evidence(label, 0, result({"audit": audit()}, "audit-quick")) for label in ("first", "second")]
    whole = audits(items[:1])
    monkeypatch.setattr(audit_section, "PICTURE_BUDGET", len(whole))
    text = audits(items)
    assert "Drawings left out, to keep the page small: second." in text
    assert text.count("<svg") == whole.count("<svg") > 0
    assert text.count("gradients are masked") == 2


def test_an_audit_with_gaps_is_drawn_all_the_same(result):
    gaps = audit() | {"curves": {"a": {"x": [1, 2], "series": {"s": [None, 0.5]}}, "b": {"x": [], "series": {}}}}
    gaps |= {"histograms": {"a": {"edges": [0, 1], "count": [0]}}, "checks": []}
    text = audits([Evidence("a", 0, result({"audit": gaps}, "audit-quick"))])
    assert "gradients are masked" in text
    assert ": empty." in text


@pytest.mark.parametrize(
    "broken",
    [
        {"verdict": 3},
        audit() | {"checks": [{"name": "x", "status": "perhaps"}]},
        audit() | {"checks": "all"},
        audit() | {"curves": {"a": {"x": [1], "series": {"s": [1, 2]}}}},
        audit() | {"histograms": {"a": {"edges": [0], "count": [1]}}},
    ],
)
def test_a_broken_audit_is_named_with_its_file(result, broken):
    with pytest.raises(UserError, match=r"audit-quick\.json: details\.audit"):
        audit_of(result({"audit": broken}, "audit-quick"))


def attacked(change, count=2):
    clean = torch.full((count, 3, 8, 8), 0.5)
    labels = torch.zeros(count, dtype=torch.long)
    return Attacked("", clean, clean + change, labels, labels + 1, torch.arange(count))


@pytest.mark.parametrize(("change", "factor"), [(8 / 255, 8), (0.1, 4), (0.6, 1), (0.0, 1), (1e-6, 64)])
def test_differences_are_magnified_as_far_as_they_can_be_shown(change, factor):
    found = attacked(change)
    assert magnification(found) == factor
    assert change * factor <= 0.6


def test_nothing_attacked_is_magnified_by_one():
    assert magnification(attacked(0.1, 0)) == 1


def stored(result, ways, file):
    found = result({}, "robustness", options={"ways": ways})
    folder = found.path.parent / "images"
    folder.mkdir(exist_ok=True)
    one = attacked(0.1)
    tensors = {key: getattr(one, key) for key in ("clean", "adversarial", "labels", "prediction", "index")}
    save_file(tensors, folder / file)
    return found


def test_stored_images_are_found_by_the_name_of_their_way(result):
    found = stored(result, {"published": {}, "held": {}}, "robustness-held.safetensors")
    assert [each.reading for each in attacked_of(found)] == ["held"]
    assert attacked_of(result({}, "robustness", options={"ways": {"/../../robustness-held": {}}})) == []
    assert [each.reading for each in attacked_of(stored(result, None, "robustness.safetensors"))] == [""]


def test_adversarial_images_say_factor_label_and_prediction(result):
    text = adversarial_images([Evidence("akorn", 0, stored(result, {"held": {}}, "robustness-held.safetensors"))])
    assert "magnified 4 times" in text
    assert "An image of class 0, its perturbation magnified 4 times, and the sum, taken for 1." in text
    assert "0 → 1" in text
    assert text.count("data:image/png") == 6


def test_a_truncated_file_of_images_is_named(result):
    found = stored(result, {"held": {}}, "robustness-held.safetensors")
    (found.path.parent / "images" / "robustness-held.safetensors").write_bytes(b"123")
    with pytest.raises(UserError, match=r"robustness-held\.safetensors: truncated"):
        attacked_of(found)


def test_the_page_on_runs_shows_audit_reliability_and_images(complete, fabricate):
    tuned = fabricate("akorn/finetune", "classification")
    tuned.result("audit-quick", {"robust_accuracy": {"value": 0.1}}, details={"audit": audit()})
    tuned.result("calibration", {"ece": {"value": 4.0}}, details={"reliability": {"15 equal-width": reliability()}})
    text = page([load(Row("akorn", complete))])
    sections = [attributes["id"] for tag, attributes in Outline(text).tags if tag == "section"]
    assert [key for key in sections if key in ("audits", "calibration", "attacked")] == ["audits", "calibration"]
    assert len(re.findall("Reliability diagram, 15 equal-width", text)) == 1
