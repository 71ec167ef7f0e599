"""The tutorials run as they are, with few images; the site shows them as text and code."""

import re
import runpy
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from house_files import ROOT

TUTORIALS = ROOT / "docs/tutorials"


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, object]:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(TUTORIALS / f"{name}.py"))


def test_a_folder_of_images_becomes_a_run_two_measurements_vectors_and_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run("ssl_on_your_images", monkeypatch, "--epochs", "1", "--digits", "100", "--out", str(tmp_path))
    said = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "simclr/results").iterdir()} >= {"knn.json", "linear.json"}
    assert re.search(r"knn: \d+\.\d % right", said)
    assert names["features"].shape == (8, 64)  # pyright: ignore[reportAttributeAccessIssue]
    assert "<html" in (tmp_path / "report.html").read_text()[:300]


def test_rounding_hides_the_gradients_and_the_audit_sees_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("is_my_network_robust", monkeypatch, "--images", "24", "--short")
    said = capsys.readouterr().out
    plain, rounded, transferred = (float(share) for share in re.findall(r"(\d+) % remain", said))
    assert plain <= transferred < rounded
    assert re.search(r"^(masked|suspect): ", said, flags=re.MULTILINE)
    assert "largest change of a pixel: 0.100" in said


def test_oscillators_synchronise_above_the_critical_coupling_and_the_energy_on_the_ring_falls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run("oscillators_to_look_at", monkeypatch, "--oscillators", "200", "--steps", "300", "--out", str(tmp_path))
    orders, energies = names["orders"], names["energies"]
    assert isinstance(orders, dict)
    assert isinstance(energies, list)
    assert orders[0.2] < 0.2 < 0.9 < orders[3.0]
    assert all(after <= before + 1e-4 for before, after in pairwise(energies))
    assert {path.name for path in tmp_path.iterdir()} == {
        "energies.svg", "energy.svg", "phases.svg", "synchronisation.svg"
    }  # fmt: skip
