"""What ends a run early: numbers that are not finite, collapse, a full disk. The last good checkpoint stays."""

import os

import pytest
import torch
from small_runs import Killed, after_step, kill, metrics, recipe_file, small

from sslkuramoto import checkpoint
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.training import Learner, train

COLLAPSING = {
    "objective": {
        "name": "byol",
        "momentum": 0.0,
        **{f"{head}_{width}": 8 for head, width in (("projector", "hidden"), ("projector", "out"))},
        "predictor_hidden": 8,
        "projector_norm": "none",
        "predictor_norm": "none",
    },
    "optimizer": {"name": "adam", "lr": 3e-2},
    "epochs": 8,
}


def full(*_):
    raise OSError(28, "No space left on device")


def failing(monkeypatch, step, what):
    """Make the loss of one step, or the weights after it, not finite."""
    forward = Learner.forward
    calls = iter(range(1000))

    def spoilt(self, *arguments):
        outcome = forward(self, *arguments)
        if next(calls) != step:
            return outcome
        if what == "loss":
            return outcome._replace(loss=outcome.loss * torch.nan)
        outcome.loss.register_hook(lambda gradient: gradient * torch.inf)
        return outcome

    monkeypatch.setattr(Learner, "forward", spoilt)


@pytest.mark.parametrize(("what", "message"), [("loss", "loss is nan"), ("gradient", "grad_norm is (nan|inf)")])
def test_a_loss_or_gradient_that_is_not_finite_stops_the_run_before_it_harms_a_weight(
    what, message, tmp_path, monkeypatch
):
    failing(monkeypatch, 4, what)
    with pytest.raises(UserError, match=rf"{message} after 4 of 6 steps; the last good checkpoint is kept at .*last\."):
        train(small(), tmp_path / "run")
    kept = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert kept["step"] == 3
    assert all(bool(value.isfinite().all()) for value in kept["learner"].values())
    monkeypatch.undo()
    assert train(small(), tmp_path / "run").finished, "the kept checkpoint is good"


def test_without_a_checkpoint_the_message_says_so_and_the_exit_code_is_2(tmp_path, monkeypatch, capsys):
    failing(monkeypatch, 0, "loss")
    assert main(["train", recipe_file(tmp_path / "r.yaml"), "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "after 0 of 6 steps; no checkpoint was written yet; a smaller optimizer.lr" in error


def test_weights_that_are_not_finite_never_become_a_checkpoint(tmp_path):
    # the step itself is the last of its epoch and overflows: neither loss nor gradient tells
    with pytest.raises(UserError, match="a weight is not finite after 1 of 1 steps; no checkpoint"):
        train(small(epochs=1, batch_size=48, optimizer={"name": "sgd", "lr": 3e38, "momentum": 0.0}), tmp_path / "run")
    assert not (tmp_path / "run" / "encoder.safetensors").exists()


def test_collapse_stops_a_run_by_default(tmp_path):
    with pytest.raises(UserError, match=r"the representation collapsed: feature_std=0\.0\d+ < measure\.stop_on_coll"):
        train(small(**COLLAPSING), tmp_path / "run")
    last = metrics(tmp_path / "run")[-1]
    assert float(last["feature_std"]) < 0.02
    assert int(last["step"]) < 23
    kept = tmp_path / "run" / "checkpoints" / "last.safetensors"
    assert not kept.exists() or checkpoint.load(kept)["step"] < int(last["step"]) + 1


def test_collapse_goes_on_when_asked_to(tmp_path):
    run = train(small(**{**COLLAPSING, "epochs": 4}, measure={"stop_on_collapse": 0.0}), tmp_path / "run")
    assert float(metrics(run.path)[-1]["feature_std"]) < 0.02


def test_a_full_disk_while_saving_is_one_line_and_keeps_the_checkpoint_before(tmp_path, monkeypatch, capsys):
    file, run = recipe_file(tmp_path / "r.yaml"), tmp_path / "run"
    with pytest.raises(Killed), after_step(4, kill):
        train(small(), run)
    before = (run / "checkpoints" / "last.safetensors").read_bytes()
    with monkeypatch.context() as patch, after_step(4, lambda: patch.setattr(os, "fsync", full)):
        assert main(["train", file, "--run", str(run)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("last.safetensors: no space left on the disk; the previous file is kept")
    assert (run / "checkpoints" / "last.safetensors").read_bytes() == before
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.safetensors"]
    assert main(["train", file, "--run", str(run)]) == 0, "once there is space the same command goes on"
