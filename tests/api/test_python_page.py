"""docs/python.md shows what runs."""

import re
import runpy
from pathlib import Path

import pytest
import torch

import sslkuramoto as sk
from sslkuramoto.data import DATA
from sslkuramoto.evaluation.audit.protocol import CHECKS

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (DOCS / "python.md").read_text(), re.DOTALL | re.MULTILINE)


def test_the_ten_lines_run(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(BLOCKS[0], names)
    assert isinstance(names["robust"], sk.Measured)
    assert "robust_accuracy" in capsys.readouterr().out


def test_the_audit_of_two_networks_is_shown_word_for_word() -> None:
    assert BLOCKS[1] == (DOCS / "audit_any_network.py").read_text()


def test_the_audit_of_two_networks_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    build = DATA.build  # 64 training images: one step for each network
    monkeypatch.setattr(DATA, "build", lambda name, options, split: build(name, {**options, "limit": 64}, split))
    script = runpy.run_path(str(DOCS / "audit_any_network.py"))
    few = {"steps": [1, 2], "k": [1, 2], "queries": 100, "samples": 2, "directions": 8, "select_draws": 20}
    found = script["main"](epochs=1, count=4, **few, skip=[question.name for question in CHECKS])
    assert capsys.readouterr().out.startswith("resnet18: ")
    assert found["resnet18"]["clean_accuracy"].draws == 1
    assert found["dropout left on"]["clean_accuracy"].draws == 20


def test_the_page_names_every_public_measurement() -> None:
    page = (DOCS / "python.md").read_text()
    assert [name for name in sk.__all__ if getattr(sk, name).__class__.__name__ == "function" and name not in page] == [
        name for name in ("energy", "generator", "kuramoto_step", "load_recipe") if name not in page
    ]
