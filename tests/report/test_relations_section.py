"""The section on relations: energies, coherences, phases stand on the page; what is damaged is named with its file."""

import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.relations.samples import ENDING, store_samples
from sslkuramoto.report import Row, page
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.pictures.relations import angles_of, apart, on_circle
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections.relations import relations
from sslkuramoto.results import Result

DETAILS = {
    "images": 2,
    "coherence": {"edges": [0.0, 1.0, 2.0], "same": [1, 9], "different": [6, 4]},
    "energy": {
        "same": {"mean": [-1.0, -5.0, -7.5], "std": [0.1, 0.2, 0.3]},
        "different": {"mean": [-1.0, -4.0, -5.5], "std": [0.1, 0.2, 0.4]},
    },
}


def phases(degrees: list[list[float]]) -> torch.Tensor:
    """Return states "2 d 2" of the phases of both objects in degrees."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


@pytest.fixture
def run(fabricate):
    def make(details=DETAILS, label="a", states=None, pictures=2):
        made = fabricate(label, "classification").result(
            "relations", {}, details={"relations": details}, kind="relations"
        )
        if states is not None:
            images = torch.rand(2, pictures, 3, 16, 16, generator=torch.Generator().manual_seed(0))
            path = made.path / "results" / "images" / f"relations{ENDING}"
            store_samples(path, torch.arange(2), images, torch.tensor([0, 1]), states if pictures == 2 else None)
        return made.path

    return make


def shown(path, label="a") -> str:
    return relations([Evidence(label, 0, Result.read(path / "results" / "relations.json"))])


def test_energies_coherences_and_phases_stand_on_the_page(run) -> None:
    states = torch.stack([phases([[10, 80], [10, 80]]), phases([[0, 90], [170, 91]])])
    path = run(states=states)
    text = shown(path, "<b>")
    assert "<b>" not in text
    for words in (
        "Energy over 2 oscillator steps. same: -1 to -7.5, deviation 0.3 at the end. different: -1 to -5.5",
        "Distribution of the coherence. same: mean 1.4, 90 % in the last bin.",
        "A pair of images, same. Angle between the two oscillators of 2 dimensions: median 0 degrees, largest 0.",
        "A pair of images, different. Angle between the two oscillators of 2 dimensions: median 85.5 degrees, largest",
        "The angle on the circle is the phase: 0 at the right, counter-clockwise.",
    ):
        assert words in text, words
    assert ">Relations<" in page([load(Row("a", path))])
    assert len(re.findall(r'id="([^"]+)"', text)) == len(set(re.findall(r'id="([^"]+)"', text)))


def test_of_oscillators_in_more_dimensions_the_angle_between_the_two_is_drawn(run) -> None:
    first = torch.tensor([[0.0, 0, 1], [0, 3, 0]])
    second = torch.tensor([[0.0, 0, 2], [1, 0, 0]])
    states = torch.stack([first, second])
    assert angles_of(states) == pytest.approx(np.array([[0, 0], [0, math.pi / 2]]))
    assert apart(states).tolist() == pytest.approx([0, 90])
    text = shown(run(states=states[None].repeat(2, 1, 1, 1)))
    assert "with that of the first image at the top" in text


def test_phases_of_two_dimensions_are_the_angles_themselves() -> None:
    states = phases([[30, -120], [30, 150]])
    assert angles_of(states) == pytest.approx(np.deg2rad([[30, -120], [30, 150]]), abs=1e-6)
    assert apart(states).tolist() == pytest.approx([0, 90], abs=1e-2)


def test_phase_zero_is_drawn_at_the_right_and_a_quarter_turn_at_the_top_and_more_dimensions_from_the_top() -> None:
    x, y = on_circle(phases([[0, 90], [180, -90]]))
    assert x == pytest.approx(np.array([[1, 0], [-1, 0]]), abs=1e-6)
    assert y == pytest.approx(np.array([[0, 1], [0, -1]]), abs=1e-6)
    x, y = on_circle(torch.tensor([[[1.0, 0, 0]], [[0, 0, 1]]]))
    assert x == pytest.approx(np.array([[0], [1]]), abs=1e-6)
    assert y == pytest.approx(np.array([[1], [0]]), abs=1e-6)


def test_match_to_sample_shows_its_six_images_and_which_pair_is_right(run) -> None:
    text = shown(run({"images": 6}, states=torch.empty(0), pictures=6))
    assert "two target pairs, of which the first is right" in text
    assert "two target pairs, of which the second is right" in text
    assert "Energy" not in text


def test_a_result_without_oscillators_and_examples_has_no_section(fabricate, run) -> None:
    assert shown(run({"images": 2})) == ""
    other = fabricate("b", "classification").result("clean", {}, kind="clean").path
    assert relations([Evidence("b", 0, Result.read(other / "results" / "clean.json"))]) == ""


@pytest.mark.parametrize(
    ("key", "broken"),
    [
        ("energy", [1]),
        ("energy", {"same": {"mean": [1.0, 2.0], "std": [1.0]}}),
        ("energy", {"other": {"mean": [1.0], "std": [1.0]}}),
        ("coherence", {"edges": [0, 1]}),
        ("coherence", {"edges": [0, 1], "same": [1, 2], "different": [1]}),
        ("coherence", {"edges": [0, "1"], "same": [1], "different": [1]}),
    ],
)
def test_damaged_details_are_one_line(run, key: str, broken) -> None:
    path = run(json.loads(json.dumps(DETAILS)) | {key: broken})
    with pytest.raises(UserError, match=r"relations\.json: details\.relations: not as the protocol leaves it$"):
        shown(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": torch.tensor([0, 2])},
        {"index": torch.arange(3)},
        {"images": torch.zeros(2, 3, 3, 8, 8)},
        {"states": torch.zeros(2, 3, 4, 2)},
    ],
)
def test_a_file_of_examples_that_holds_something_else_is_one_line(run, wrong) -> None:
    path = run()
    good = {
        "index": torch.arange(2),
        "images": torch.zeros(2, 2, 3, 8, 8),
        "targets": torch.tensor([0, 1]),
        "states": torch.ones(2, 2, 4, 2),
    }
    file = path / "results" / "images" / f"relations{ENDING}"
    file.parent.mkdir()
    save_file(good | wrong, file)
    with pytest.raises(UserError, match=r"relations\.relations\.safetensors: .*measure again$"):
        shown(path)
