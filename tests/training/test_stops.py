"""What ends a run early: numbers that are not finite, collapse, a full disk. The last good checkpoint stays."""

import os

import pytest
import torch
from small_runs import Killed, after_step, kill, metrics, recipe_file, small

from sslkuramoto import checkpoint
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.training import Learner, train
from sslkuramoto.training.loop import _Training

COLLAPSING = {
    "objective": {
        "name": "byol",
        "momentum": 0.0,
        "projector": {"hidden": 8, "out": 8, "norm": "none"},
        "predictor": {"hidden": 8, "norm": "none"},
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
    with pytest.raises(UserError, match=rf"{message} after 4 of 6 steps; the last good checkpoint is .*last\."):
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


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "adam", "lr": 1e38},  # 1e39 after the correction of its bias
        {"name": "adam", "lr": 1e-3, "weight_decay": 1e39},
        {"name": "sgd", "lr": 1e39},
    ],
    ids=str,
)
def test_an_optimizer_whose_numbers_are_too_large_is_one_line(optimizer, tmp_path, capsys):
    file = recipe_file(tmp_path / "r.yaml", optimizer=optimizer)
    assert main(["train", file, "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "run: a number is beyond 32-bit floats (3.4e38) after 0 of 6 steps; no checkpoint was written yet" in error
    assert "optimizer.lr" in error


def test_a_device_that_is_full_says_what_was_kept_and_what_helps(tmp_path, monkeypatch):
    def full_at(step):
        forward, calls = Learner.forward, iter(range(1000))

        def spoilt(self, *arguments):
            if next(calls) == step:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of ...")
            return forward(self, *arguments)

        monkeypatch.setattr(Learner, "forward", spoilt)

    full_at(4)
    wanted = (
        r"out of memory \(2\.00 GiB more were wanted\) after 4 of 6 steps; the last good .*; smaller images, batches"
    )
    with pytest.raises(UserError, match=wanted):
        train(small(), tmp_path / "run")


def test_another_error_of_torch_is_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(Learner, "forward", lambda *_: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(RuntimeError, match="must match the size"):
        train(small(), tmp_path / "run")


@pytest.mark.parametrize("what", ["a statistic of a BatchNorm", "the optimizer's state"])
def test_no_part_of_a_checkpoint_may_be_infinite(what, tmp_path, monkeypatch):
    save = _Training._save_or_stop

    def spoil(training, stop):  # between the last step of the epoch and its checkpoint
        if training.step < 3:
            return save(training, stop)
        if what == "the optimizer's state":
            next(iter(training.optimizer.state.values()))["exp_avg_sq"].fill_(torch.inf)
        else:
            norm = next(m for m in training.learner.modules() if isinstance(m, torch.nn.BatchNorm2d))
            torch.nn.init.constant_(norm.get_buffer("running_var"), torch.inf)
        return save(training, stop)

    monkeypatch.setattr(_Training, "_save_or_stop", spoil)
    with pytest.raises(UserError, match=f"{what} is not finite after 3 of 3 steps; no checkpoint"):
        train(small(epochs=1), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()


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


def test_collapse_continues_when_asked_to(tmp_path):
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
    assert main(["train", file, "--run", str(run)]) == 0, "once there is space the same command continues"


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        ({"name": "timm", "model": "convnext_atto"}, "Kernel size can't be greater than actual input size"),
        ({"name": "timm", "model": "test_resnet", "arguments": {"in_chans": 1}}, "Invalid channel dimensions"),
    ],
)
def test_a_network_that_cannot_encode_the_images_is_one_line_before_training(tmp_path, encoder, reason):
    with pytest.raises(UserError, match=f"encoder timm: cannot encode images of 8 x 8 pixels: .*{reason}"):
        train(small(encoder=encoder), tmp_path / "run")
    assert not (tmp_path / "run/recipe.yaml").exists()
