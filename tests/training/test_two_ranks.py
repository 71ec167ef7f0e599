"""Two gloo processes under torchrun train what one trains with the joined batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import AKORN, XPHINET, Mirrored, assert_same_run, metrics, recipe_file

from sslkuramoto.checkpoint import load
from sslkuramoto.recipe import load_recipe
from sslkuramoto.training import train
from sslkuramoto.views import VIEWS

COMMON: dict[str, Any] = {
    "views": {"name": "mirrored"},
    "encoder": {**AKORN, "initial": "stimulus"},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "engine": {"device": "cpu", "precision": "64"},
}
FSDP2 = {"device": "cpu", "precision": "64", "strategy": "fsdp2"}
SAME = {
    "same-simclr": {},
    "same-xphinet": {"objective": XPHINET, "accumulate": 2},
    "same-timm": {
        "encoder": {"name": "timm", "model": "test_efficientnet"},  # BatchNorm that also activates
        "objective": {"name": "classification"},
        "data": {"name": "digits", "limit": 32, "size": 32},
        "epochs": 1,
    },
    "same-fsdp2": {"engine": FSDP2},
    "same-fsdp2-average": {
        "objective": XPHINET,
        "accumulate": 2,
        "optimizer": {"name": "adamw", "lr": 1e-4},
        "weight_ema": {"decay": 0.5, "update_every": 1, "update_after": 1},
        "engine": {**FSDP2, "checkpoint_steps": 1},
    },
}


Said = list[dict[str, Any]]


def run_two(folder: Path) -> Said:
    """Run the worker in two processes; return what each of them said."""
    for name, changes in SAME.items():
        recipe_file(folder / f"{name}.yaml", **{**COMMON, **changes})
    recipe_file(folder / "random.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("two_ranks.py")), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (folder / "1.json").is_file(), done.stderr
    ours = [line for line in done.stderr.splitlines() if "sslkuramoto" in line]  # the other lines are torchrun's
    assert ours == [f"sslkuramoto: {folder}/taken: another process is training here; wait for it or end it"]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test, for the processes take seconds to start."""
    said = run_two(tmp_path)
    monkeypatch.setitem(VIEWS._members, "mirrored", Mirrored)
    for name in SAME:
        losses_gradients_and_weights_are_those_of_one_process_with_the_joined_batch(name, tmp_path, said)
    each_process_draws_oscillators_of_its_own(said)
    only_the_first_process_prints_and_writes(said, tmp_path)
    one_process_told_to_stop_stops_both_and_the_same_command_continues(said, tmp_path)
    a_batch_that_processes_cannot_share_is_one_line_each(said, tmp_path)


def losses_gradients_and_weights_are_those_of_one_process_with_the_joined_batch(
    name: str, folder: Path, said: Said
) -> None:
    assert [rank[name]["code"] for rank in said] == [0, 0], said
    one = train(load_recipe(folder / f"{name}.yaml"), folder / "one" / name).path
    two = folder / "two" / name
    ours, theirs = (load(run / "checkpoints" / "last.safetensors")["learner"] for run in (one, two))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():  # also the running statistics of BatchNorm
        torch.testing.assert_close(theirs[key], value, rtol=1e-6, atol=1e-8, msg=lambda m, key=key: f"{key}: {m}")
    for mine, other in zip(metrics(one), metrics(two), strict=True):
        for column in ("loss", "grad_norm", "lr"):
            assert float(mine[column]) == pytest.approx(float(other[column]), rel=1e-5), column


def each_process_draws_oscillators_of_its_own(said: Said) -> None:
    first, second = (rank["drawn"] for rank in said)
    assert len(first) == len(second) == 14, "two views in six steps, and one field at the end of each of two epochs"
    shared = {*first} & {*second}
    assert len({*first, *second} - shared) == 24
    assert len(shared) == 2, "the field under which the features are watched is the same in all processes"


def only_the_first_process_prints_and_writes(said: Said, folder: Path) -> None:
    for name in ("same-simclr", "whole", "stopped", "resumed"):
        assert said[1][name]["out"] == said[1][name]["err"] == "", name
    assert said[0]["whole"]["out"].endswith("finished\n")
    assert len(metrics(folder / "whole")) == 6


def one_process_told_to_stop_stops_both_and_the_same_command_continues(said: Said, folder: Path) -> None:
    assert [rank["stopped"]["code"] for rank in said] == [130, 130]
    assert "stopped after step 4 of 6" in said[0]["stopped"]["err"]
    assert [rank["resumed"]["code"] for rank in said] == [0, 0]
    assert_same_run(folder / "whole", folder / "parts")


def a_batch_that_processes_cannot_share_is_one_line_each(said: Said, folder: Path) -> None:
    for rank, name in zip(said, ("sslkuramoto: ", "sslkuramoto (process 1): "), strict=True):
        assert rank["odd"]["code"] == 2
        assert rank["odd"]["err"].startswith(f"{name}batch_size=15: must be divisible by")
        assert rank["odd"]["err"].count("\n") == 1
    assert not (folder / "odd").exists()
