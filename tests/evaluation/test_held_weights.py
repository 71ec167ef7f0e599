"""A number of weights that a run no longer holds is no number of the run; without weights nothing can be told."""

import json
import shutil

import pytest
import torch
from small_runs import CLASSIFIER, small

from sslkuramoto.checkpoint import load_kind, save_weights
from sslkuramoto.cli import main
from sslkuramoto.training import train

DATA = {"name": "digits", "limit": 48, "limit_test": 30}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two classifiers, the first with averaged weights and a kept epoch, both measured."""
    folder = tmp_path_factory.mktemp("runs")
    kept = {
        "weight_ema": {"decay": 0.9, "update_after": 0, "update_every": 1},
        "measure": {"keep_checkpoints": [1]},
        "epochs": 2,
    }
    first = train(small(data=DATA, **CLASSIFIER, **kept), folder / "first").path
    second = train(small(data=DATA, epochs=1, seed=1, **CLASSIFIER), folder / "second").path
    for run in (first, second):
        assert main(["evaluate", str(run), "clean"]) == 0
    assert main(["evaluate", str(first), "clean", "--weights", "raw", "--as", "raw"]) == 0
    assert main(["evaluate", str(first), "clean", "--checkpoint", "1", "--as", "early"]) == 0
    return first, second


@pytest.fixture
def trained_anew(runs, tmp_path):
    """The first run after another training in its directory, whose weights are those of the second."""
    run = shutil.copytree(runs[0], tmp_path / "first")
    for name in ("encoder", "head"):
        shutil.copy(runs[1] / f"{name}.safetensors", run)
    return run


def said(capsys, *words):
    assert main([*map(str, words)]) == 0
    return capsys.readouterr().out


def test_results_on_averaged_raw_and_kept_weights_are_shown(runs, capsys):
    assert "other weights" not in said(capsys, "report", runs[0], "-v")
    assert "other weights" not in said(capsys, "compare", *runs)


@pytest.mark.parametrize("part", ["encoder", "head"])
def test_a_report_shows_no_number_of_other_weights_and_says_how_to_measure_again(part, runs, tmp_path, capsys):
    run = shutil.copytree(runs[0], tmp_path / "first")
    shutil.copy(runs[1] / f"{part}.safetensors", run)
    text = said(capsys, "report", run, "-v", "--csv", tmp_path / "table.csv", "--html", tmp_path / "page.html")
    file = run / "results" / "clean.json"
    words = f"measured on other weights than the run holds now; remove {file} and measure again"
    assert f"first: clean: not shown, {words}" in " ".join(text.split())
    assert "other weights than the run holds now" in (tmp_path / "page.html").read_text()
    accuracy = json.loads((run / "results" / "clean.json").read_text())["metrics"]["accuracy"]["value"]
    assert f"{100 * accuracy:.1f}" not in (tmp_path / "table.csv").read_text()


def test_a_comparison_with_a_result_on_other_weights_is_one_clear_line(trained_anew, runs, capsys):
    for wanted in ([], ["clean"]):
        assert main(["compare", str(trained_anew), str(runs[1]), *wanted]) == 2
        line = capsys.readouterr().err
        assert "clean.json: measured on other weights than the run holds now; remove" in line
        assert line.count("\n") == 1


def test_results_of_a_run_without_weights_are_shown(runs, tmp_path, capsys):
    run = shutil.copytree(runs[0], tmp_path / "first", ignore=shutil.ignore_patterns("*.safetensors"))
    assert "other weights" not in said(capsys, "report", run, "-v")


def test_results_are_shown_where_the_weights_cannot_be_read_or_their_network_cannot_be_built(
    trained_anew, tmp_path, capsys
):
    file = trained_anew / "encoder.safetensors"
    state = load_kind(file, "encoder", {"encoder": dict, "weights": dict})
    save_weights(file, state["weights"], kind="encoder", encoder={"name": "of_a_plugin_that_is_gone"})
    assert "other weights" not in said(capsys, "report", trained_anew, "-v")
    file.write_bytes(b"damaged")
    assert "other weights" not in said(capsys, "report", trained_anew, "-v")


def test_weights_that_were_saved_in_double_precision_are_the_ones_that_were_measured(runs, tmp_path, capsys):
    run = shutil.copytree(runs[1], tmp_path / "second")
    file = run / "encoder.safetensors"
    state = load_kind(file, "encoder", {"encoder": dict, "weights": dict})
    double = {name: value.to(torch.float64) for name, value in state["weights"].items()}
    save_weights(file, double, kind="encoder", encoder=state["encoder"])
    assert "other weights" not in said(capsys, "report", run, "-v")
