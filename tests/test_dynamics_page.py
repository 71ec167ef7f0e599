"""Oscillators under a silhouette: the page has the code of its script, and what it says of energies and waves is so."""

import re
import runpy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from house_files import ROOT

PAGE, SCRIPT = ROOT / "docs/dynamics.md", ROOT / "docs/dynamics.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def fish(script):
    return {omega: script["fish"](omega) for omega in (0.0, 0.3)}


@pytest.fixture(scope="module")
def filters(script):
    return script["filters"]()


def phases(states: torch.Tensor) -> torch.Tensor:
    return torch.atan2(states[:, 1], states[:, 0])


def between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.remainder(a - b + torch.pi, 2 * torch.pi) - torch.pi


def test_the_block_on_the_page_is_the_function_of_the_script():
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert block in SCRIPT.read_text()
    body = block.partition('"""\n')[2].splitlines()
    assert len(body) <= 16, "a dozen lines and two that a formatter broke"


def test_the_silhouette_is_a_fish_of_a_quarter_of_the_picture_that_touches_no_edge(script):
    outside = script["silhouette"]()
    assert outside.shape == (64, 64)
    assert 0.2 < (outside == 0).float().mean() < 0.3
    assert all(bool(edge.all()) for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]))


def test_without_frequency_the_energy_falls_at_every_step_and_almost_all_agree(fish):
    states, energies = fish[0.0]
    assert all(after <= before + 2e-3 for before, after in pairwise(energies))
    assert energies[-1] == pytest.approx(-6249, rel=0.01)
    assert states[0].mean(dim=(1, 2)).norm() < 0.05
    assert states[-1].mean(dim=(1, 2)).norm() > 0.95


def test_with_a_frequency_waves_run_outwards_within_the_fish_and_the_energy_goes_up_and_down(fish, script):
    states, energies = fish[0.3]
    inside, turned = script["silhouette"]() == 0, script["turns"](states)
    assert turned[inside].mean() == pytest.approx(-1.5, abs=0.3)
    assert turned[~inside].abs().mean() < 0.02
    rises = script["rises"](energies)
    assert 0.2 < rises / 256 < 0.5
    assert min(energies) < -5900
    late = phases(states)[128:]
    over_time = between(late[1:], late[:-1])[:, 28:37, 10:24]  # the left half of the body; its outline is to the left
    over_space = between(late[:-1, :, 1:], late[:-1, :, :-1])[:, 28:37, 10:24]
    assert (over_space < 0).float().mean() > 0.95, "phases lag from the outline to the middle"
    assert (-over_time / over_space < 0).float().mean() > 0.95, "bands of equal phase move to the outline"


def test_random_filters_leave_the_outside_still_and_the_inside_moving_while_the_energy_falls(filters, script):
    states, energies = filters
    inside, moved = script["silhouette"]() == 0, script["moved"](states)
    assert moved[~inside].mean() < 0.5
    assert 1.5 < moved[inside].mean() < 5
    assert energies[10] < 0.9 * -6300 < 0.9 * energies[0]
    assert 0.05 < script["rises"](energies) / 256 < 0.3
    align = torch.nn.functional.cosine_similarity(states[-1], torch.ones(4, 1, 1), dim=0)
    assert align[~inside].mean() > 0.9


def test_the_figures_are_small_and_come_out_the_same_twice(script, fish, filters, tmp_path: Path, capsys, monkeypatch):
    script["main"](["--out", str(tmp_path / "one")])
    names = script["main"].__globals__  # the second time they are drawn of the states of the tests above
    monkeypatch.setitem(names, "fish", lambda omega: fish[omega])
    monkeypatch.setitem(names, "filters", lambda: filters)
    script["main"](["--out", str(tmp_path / "two")])
    assert capsys.readouterr().out.count("random filters: energy") == 2
    for name in ("fish.png", "filters.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (ROOT / "docs/figures" / name).stat().st_size < 150_000
