"""Another package can add an objective; docs/add-an-objective.md shows the files as they are."""

import re
from pathlib import Path

import pytest
from torch import nn

from sslkuramoto import registry
from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES, Objective, Step

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "add-an-objective.md"


class Elsewhere(Objective):
    views = ("a",)

    def __init__(self, encoder, num_classes=None, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(encoder.linear.weight.new_tensor(scale))

    def forward(self, encoder, views, *, draw, labels=None) -> Step:
        pooled = encoder(views["a"], draw=draw).pooled
        return Step(self.scale * pooled.square().mean(), {}, pooled.detach())


class Point:
    name = "elsewhere"

    def load(self):
        return Elsewhere


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "sslkuramoto.objectives" else [])
    monkeypatch.setattr(OBJECTIVES, "_plugins", None)
    monkeypatch.setattr(OBJECTIVES, "_members", dict(OBJECTIVES._members))


@pytest.mark.usefixtures("installed")
def test_an_entry_point_adds_an_objective_with_its_options(build, views_of, draw) -> None:
    assert "elsewhere" in list(OBJECTIVES)
    encoder, _ = build("simclr")
    objective = OBJECTIVES.build("elsewhere", {"scale": 3.0}, encoder, None)
    objective(encoder, views_of(), draw=draw()).loss.backward()
    assert objective.scale.grad is not None
    with pytest.raises(UserError, match="unknown key of objective elsewhere 'scal': did you mean 'scale'"):
        OBJECTIVES.build("elsewhere", {"scal": 3.0}, encoder, None)


def test_an_unknown_objective_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="unknown objective 'simcrl': did you mean 'simclr'"):
        OBJECTIVES.build("simcrl", {})


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_the_guide_shows_vicreg_word_for_word() -> None:
    assert (ROOT / "sslkuramoto" / "objectives" / "vicreg.py").read_text() == blocks("python")[0]


def test_the_guide_shows_the_lines_that_register_vicreg() -> None:
    lines = (ROOT / "sslkuramoto" / "objectives" / "__init__.py").read_text().splitlines()
    shown = blocks("python")[1].splitlines()
    assert shown
    assert set(shown) <= set(lines)


def test_the_guide_shows_the_recipe_word_for_word() -> None:
    recipe = ROOT / "recipes" / "digits-akorn-vicreg.yaml"
    assert recipe.read_text() == blocks("yaml")[0]
