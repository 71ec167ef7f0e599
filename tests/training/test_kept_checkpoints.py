"""Epochs whose encoder and head a run keeps are measured like the finished run, and never taken for it."""

import json
from pathlib import Path

import pytest
import torch
from small_runs import CLASSIFIER, Killed, after_step, assert_same_run, kill, small

from sslkuramoto.checkpoint import load_encoder, weights_hash
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.report import discover, load, page, summarise
from sslkuramoto.report.sections.epochs import curves_of
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import check, train

KEPT = {**CLASSIFIER, "epochs": 3, "measure": {"keep_checkpoints": [1, 2], "checkpoint_every": 3}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return train(small(**KEPT), tmp_path_factory.mktemp("runs") / "kept")


def test_an_epoch_that_is_kept_has_the_weights_of_a_run_that_ends_there(run: RunDirectory, tmp_path: Path) -> None:
    shorter = train(small(**{**KEPT, "epochs": 2}), tmp_path / "shorter")
    kept, wanted = (load_encoder(at.encoder_file()) for at in (run.at_epoch(2), shorter))
    assert weights_hash(kept) == weights_hash(wanted)
    assert run.at_epoch(2).head_file().read_bytes() == shorter.head_file().read_bytes()
    assert not run.at_epoch(3).path.exists()


def test_keeping_epochs_changes_no_weight_and_a_run_that_was_killed_keeps_them_too(
    run: RunDirectory, tmp_path: Path
) -> None:
    plain = train(small(**{**KEPT, "measure": {}}), tmp_path / "plain")
    assert plain.encoder_file().read_bytes() == run.encoder_file().read_bytes()
    assert not plain.at_epoch(1).path.exists()
    with pytest.raises(Killed), after_step(4, kill):
        train(small(**KEPT), tmp_path / "again")
    again = train(small(**KEPT), tmp_path / "again")
    assert_same_run(again.path, run.path)
    for epoch in (1, 2):
        assert again.at_epoch(epoch).encoder_file().read_bytes() == run.at_epoch(epoch).encoder_file().read_bytes()


def test_a_checkpoint_is_measured_into_a_file_of_its_own_that_fills_no_cell(run: RunDirectory, capsys) -> None:
    for words in (["--checkpoint", "1"], ["--checkpoint", "2"], []):
        assert main(["evaluate", str(run.path), "clean", "--device", "cpu", *words]) == 0
    names = sorted(path.name for path in run.results.glob("*.json"))
    assert names == ["clean+checkpoint=1.json", "clean+checkpoint=2.json", "clean.json"]
    stated = [json.loads((run.results / name).read_text())["encoder"] for name in names]
    assert [each.get("checkpoint") for each in stated] == [1, 2, None]
    assert len({each["sha256"] for each in stated}) == 3
    model = load(discover([run.path])[0])
    summary = summarise([model])
    (place,) = (k for k, head in enumerate(summary.heads) if head.column.key == "clean")
    found = summary.cells[0][place].found
    assert found is not None
    assert found.result.path.name == "clean.json"
    notes = " ".join(summary.footnotes)
    assert "not shown: clean+checkpoint=1 (after epoch 1), clean+checkpoint=2 (after epoch 2)" in notes
    assert "different encoder weights" not in notes
    (curve,) = curves_of("a", next(iter(model.parts.values())))
    values = [json.loads((run.results / name).read_text())["metrics"]["accuracy"]["value"] for name in names]
    assert curve.x == (1.0, 2.0, 3.0)
    assert curve.series["accuracy"] == tuple(values)
    assert "clean against epochs" in page([model])


def test_only_a_checkpoint_without_the_finished_run_leaves_the_cell_empty(tmp_path: Path, capsys) -> None:
    run = train(small(**KEPT), tmp_path / "run")
    assert main(["evaluate", str(run.path), "clean", "--device", "cpu", "--checkpoint", "2"]) == 0
    summary = summarise([load(discover([run.path])[0])])
    (place,) = (k for k, head in enumerate(summary.heads) if head.column.key == "clean")
    assert summary.cells[0][place].value is None


def test_an_epoch_that_was_not_kept_and_one_that_never_comes_are_one_line(run: RunDirectory, capsys) -> None:
    assert main(["evaluate", str(run.path), "clean", "--checkpoint", "3"]) == 2
    line = capsys.readouterr().err
    assert line.endswith("checkpoint=3: " + f"{run.path} kept no such epoch (kept by measure.keep_checkpoints: 1, 2)\n")
    with pytest.raises(UserError, match=r"^measure.keep_checkpoints: 4: must be at most epochs=3$"):
        check(small(**{**KEPT, "measure": {"keep_checkpoints": [4]}}))


def test_epochs_that_are_asked_for_when_a_run_continues_are_kept_and_those_that_are_past_are_said(
    tmp_path: Path, capsys
) -> None:
    path, engine = tmp_path / "run", {"device": "cpu", "workers": 0}
    with pytest.raises(Killed), after_step(7, kill):
        train(small(**{**CLASSIFIER, "epochs": 4}), path)
    capsys.readouterr()
    later = small(**{**CLASSIFIER, "epochs": 4}, measure={"keep_checkpoints": [1, 3], "log_every": 2}, engine=engine)
    run = train(later, path)
    note = f"{path}: measure.keep_checkpoints: epoch 1 passed without being kept; only a new run keeps them"
    assert capsys.readouterr().err.splitlines().count(note) == 1
    assert run.kept_epochs() == [3]
    assert run.recipe().measure == later.measure, "what is measured is that of the last session"
    assert run.recipe().engine == check(small(**CLASSIFIER)).engine, "the rest is that of the first"
    for epoch, status in ((1, 2), (3, 0)):
        assert main(["evaluate", str(path), "rank", "--checkpoint", str(epoch), "--device", "cpu"]) == status
    assert f"{path} kept no such epoch (kept by measure.keep_checkpoints: 3)" in capsys.readouterr().err
    train(later, path)
    assert note in capsys.readouterr().err, "so it is of a finished run"


def test_a_run_that_keeps_its_epochs_says_nothing_when_it_continues(tmp_path: Path, capsys) -> None:
    with pytest.raises(Killed), after_step(4, kill):
        train(small(**{**KEPT, "measure": {"keep_checkpoints": [1, 2]}}), tmp_path / "run")
    stored = (tmp_path / "run" / "recipe.yaml").read_bytes()
    run = train(small(**{**KEPT, "measure": {"keep_checkpoints": [1, 2]}}), tmp_path / "run")
    assert "keep_checkpoints" not in capsys.readouterr().err
    assert run.kept_epochs() == [1, 2]
    assert run.recipe_file.read_bytes() == stored


def test_a_checkpoint_is_a_subject_with_its_head(run: RunDirectory) -> None:
    subject = subject_of(run.path, checkpoint=1)
    assert subject.checkpoint == 1
    assert subject.head is not None
    assert not torch.equal(*(next(subject_of(run.path, checkpoint=k).encoder.parameters()) for k in (1, None)))
