"""N steps in one go are k steps, an end at any moment, and the rest: bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import torch
from small_runs import (
    XPHINET,
    Dropping,
    Killed,
    after_step,
    assert_same_run,
    kill,
    metrics,
    press_ctrl_c,
    recipe_file,
    small,
)

from sslkuramoto.checkpoint import load
from sslkuramoto.cli import main
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import Interrupted
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train

WARMUP = {"name": "warmup_cosine", "warmup_epochs": 1.0, "decay_norm_and_bias": False}
RECIPES = {
    "averaged, accumulated, clipped, scheduled": {
        "weight_ema": {"decay": 0.9, "update_after": 1, "update_every": 2},
        "accumulate": 2,
        "clip_grad_norm": 1.0,
        "schedule": WARMUP,
    },
    "xphinet's long-term encoder, sgd, held predictor": {
        "views": {"name": "phinet"},
        "objective": {**XPHINET, "momentum_schedule": "cosine"},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"name": "warmup_cosine", "warmup_epochs": 1.0, "hold": ["hippocampus"]},
    },
    "lars": {"optimizer": {"name": "lars", "lr": 0.5, "weight_decay": 1e-4}, "schedule": WARMUP},
    "dropout": {"encoder": {"name": "dropping"}},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a run of a recipe that nothing ended early; no test changes it."""
    made = {}

    def run(name):
        if name not in made:
            made[name] = train(small(**RECIPES.get(name, {"epochs": 1})), tmp_path_factory.mktemp("whole") / "run").path
        return made[name]

    return run


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that Ctrl-C stopped."""
    path = tmp_path_factory.mktemp("begun") / "run"
    with pytest.raises(Interrupted), after_step(1, press_ctrl_c):
        train(small(), path)
    return path


@pytest.fixture
def stopped(begun, tmp_path, capsys):
    """A run that Ctrl-C stopped, of this test's own."""
    return shutil.copytree(begun, tmp_path / "run")


@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_run_continues_as_if_nothing_had_happened(name, tmp_path, monkeypatch, whole):
    monkeypatch.setitem(ENCODERS._members, "dropping", Dropping)
    recipe = small(**RECIPES[name])
    with pytest.raises(Killed), after_step(4, kill):  # in the second epoch; the checkpoint is of the first
        train(recipe, tmp_path / "parts")
    assert [row["step"] for row in metrics(tmp_path / "parts")] == list("01234")
    assert not (tmp_path / "parts" / "encoder.safetensors").exists()
    torch.rand(3)  # the state of the global generator is of no account
    assert_same_run(whole(name), train(recipe, tmp_path / "parts").path)


@pytest.mark.parametrize("name", ["averaged, accumulated, clipped, scheduled", "dropout"])
def test_ctrl_c_writes_a_checkpoint_inside_the_epoch_and_the_run_continues_from_it(
    name, tmp_path, monkeypatch, capsys, whole
):
    monkeypatch.setitem(ENCODERS._members, "dropping", Dropping)
    file = recipe_file(tmp_path / "recipe.yaml", **RECIPES[name])
    before = signal.getsignal(signal.SIGINT)
    with after_step(1, press_ctrl_c):
        assert main(["train", file, "--run", str(tmp_path / "parts")]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopped after step 2 of 6; the same command continues from there" in capsys.readouterr().err
    assert main(["train", file, "--run", str(tmp_path / "parts")]) == 0
    assert_same_run(whole(name), tmp_path / "parts")


def test_a_run_that_another_number_of_processes_began_says_that_it_is_not_exact(stopped, capsys):
    file = stopped / "environment.json"
    content = json.loads(file.read_text())
    (session,) = content["sessions"]
    file.write_text(json.dumps({"sessions": [session | {"processes": 2, "hardware": "another one"}]}))
    train(small(), stopped)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "bit for bit" in line]
    hardware = session["hardware"]
    assert f"run: hardware={hardware} (before: another one), processes=1 (before: 2): continues, but not" in line


def test_a_run_that_now_computes_steps_again_says_that_it_is_not_exact(stopped, capsys):
    train(small(engine={"checkpoint_steps": 2}), stopped)
    assert "run: engine.checkpoint_steps=2 (before: 0): continues, but not bit for bit" in capsys.readouterr().err


def test_a_run_that_continues_as_it_began_says_nothing_of_it(stopped, capsys):
    train(small(), stopped)
    assert "bit for bit" not in capsys.readouterr().err


def test_a_run_stopped_after_its_last_step_only_exports(tmp_path):
    with pytest.raises(Interrupted), after_step(5, press_ctrl_c):
        train(small(), tmp_path / "run")
    first = metrics(tmp_path / "run", timing=True)
    assert train(small(), tmp_path / "run").finished
    assert metrics(tmp_path / "run", timing=True) == first


KILLED_WHILE_SAVING = """
import os, sys
from sslkuramoto import checkpoint
from sslkuramoto.checkpoint import load
from sslkuramoto.cli import main
write, saved = checkpoint.write_atomically, []
def watched(path, content):
    saved.append(path)
    if len(saved) == 2:  # the checkpoint of the second epoch
        os.fsync = lambda handle: os.kill(os.getpid(), 9)
    write(path, content)
checkpoint.write_atomically = watched
main(sys.argv[1:])
"""


def test_kill_9_in_the_middle_and_the_same_command_again_leave_the_same_bytes(tmp_path):
    file, run = recipe_file(tmp_path / "recipe.yaml", epochs=3), tmp_path / "parts"
    command = ["train", file, "--run", str(run)]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert [row["step"] for row in metrics(run)] == list("012345")
    assert load(run / "checkpoints" / "last.safetensors")["step"] == 3, "the one before is whole"
    assert len(list((run / "checkpoints").iterdir())) == 2, "what was being written lies beside it"
    assert main(command) == 0
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.safetensors"]
    assert_same_run(train(small(epochs=3), tmp_path / "whole").path, run)


def test_training_in_a_thread_gives_the_same_run(tmp_path, whole):
    thread = threading.Thread(target=train, args=(small(epochs=1), tmp_path / "thread"))
    thread.start()
    thread.join()
    assert_same_run(whole("of one epoch"), tmp_path / "thread")


def test_training_leaves_the_global_generator_and_the_callers_signals_alone(tmp_path):
    state, handlers = torch.get_rng_state(), [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    train(small(epochs=1), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_measuring_and_logging_change_no_weight(tmp_path):
    from sslkuramoto.evaluation.representation.monitor import online_measures

    average = {"decay": 0.9, "update_after": 0, "update_every": 1}
    plain = train(small(weight_ema=average), tmp_path / "plain").path
    watched = small(weight_ema=average, measure={"monitor_every": 1, "log_every": 2, "checkpoint_every": 2})
    run = train(
        watched, tmp_path / "watched", monitor=online_measures(watched, RunDirectory(tmp_path / "watched"))
    ).path
    for file in ("encoder.safetensors", "encoder-raw.safetensors"):
        assert (run / file).read_bytes() == (plain / file).read_bytes()
    assert [row["step"] for row in metrics(run)] == list("0245"), "each second step, and the ends of epochs"
    assert [bool(row["knn"]) for row in metrics(run)] == [False, True, False, True]


def test_another_seed_is_another_run(tmp_path, whole):
    run = train(small(epochs=1, seed=1), tmp_path / "run").path
    one, other = (metrics(each)[0]["loss"] for each in (whole("of one epoch"), run))
    assert one != other
