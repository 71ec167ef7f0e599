"""Two gloo processes under torchrun train what one trains with the joined batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import AKORN, XPHINET, Convolving, Mirrored, assert_same_run, metrics, recipe_file, small

from sslkuramoto.checkpoint import load
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.recipe import load_recipe
from sslkuramoto.training import train
from sslkuramoto.views import VIEWS

COMMON: dict[str, Any] = {
    "epochs": 1,
    "views": {"name": "mirrored"},
    "encoder": {**AKORN, "initial": "stimulus"},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "engine": {"device": "cpu", "precision": "64"},
}
FSDP2 = {"device": "cpu", "precision": "64", "strategy": "fsdp2"}
AVERAGE = {"decay": 0.5, "update_every": 1, "update_after": 1}
TIMM: dict[str, Any] = {
    "encoder": {"name": "timm", "model": "test_efficientnet"},  # BatchNorm that also activates
    "objective": {"name": "classification"},
    "data": {"name": "digits", "limit": 32, "size": 32},
}
SAME = {
    "same-simclr": {},
    "same-xphinet": {"objective": XPHINET, "accumulate": 2},
    "same-timm": TIMM,
    "same-fsdp2-timm": {**TIMM, "engine": FSDP2},
    "same-fsdp2-frozen": {"objective": {"name": "classification", "freeze": True}, "engine": FSDP2},
    "same-fsdp2": {"optimizer": {"name": "lars", "lr": 0.1}, "engine": FSDP2},
    "same-fsdp2-average": {
        "objective": XPHINET,
        "accumulate": 2,
        "optimizer": {"name": "adamw", "lr": 1e-4},
        "weight_ema": AVERAGE,
        "engine": {**FSDP2, "checkpoint_steps": 1},
    },
}
COMPOSED: dict[str, Any] = {
    **COMMON,
    "encoder": {**AKORN, "kernel_sizes": [3], "initial": "stimulus"},
    "objective": {"name": "classification"},
    "optimizer": {"name": "sgd", "lr": 1e-4},
    "weight_ema": AVERAGE,
}
del COMPOSED["engine"]
TOGETHER = [  # any two values of two options meet; with compile, which is slow, in two runs, one of a small network
    {"strategy": "ddp", "precision": "bf16", "compile": True, "checkpoint_steps": 0, "accumulate": 2},
    {"strategy": "fsdp2", "precision": "32", "compile": True, "checkpoint_steps": 1, "accumulate": 2},
    {"strategy": "ddp", "precision": "32", "compile": False, "checkpoint_steps": 1, "accumulate": 2},
    {"strategy": "ddp", "precision": "bf16", "compile": False, "checkpoint_steps": 0, "accumulate": 1},
    {"strategy": "fsdp2", "precision": "32", "compile": False, "checkpoint_steps": 0, "accumulate": 1},
    {"strategy": "fsdp2", "precision": "bf16", "compile": False, "checkpoint_steps": 1, "accumulate": 2},
]
TWO_STEPS = {"name": "digits", "limit": 32}  # an epoch


Said = list[dict[str, Any]]


def composed(options: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe that shows how options compose: of one convolution where it is compiled for DDP."""
    small_one = {"encoder": {"name": "convolving"}} if options["compile"] and options["strategy"] == "ddp" else {}
    return COMPOSED | small_one


def run_two(folder: Path) -> Said:
    """Run the worker in two processes; return what each of them said."""
    for name, changes in SAME.items():
        recipe_file(folder / f"{name}.yaml", **{**COMMON, **changes})
    for number, options in enumerate(TOGETHER):
        engine = {"device": "cpu", **options}
        accumulate = engine.pop("accumulate")
        recipe_file(folder / f"together-{number}.yaml", **composed(options), engine=engine, accumulate=accumulate)
    measure = {"keep_checkpoints": [1], "monitor_every": 1, "monitor_images": 32, "monitors": ["knn"]}
    recipe_file(folder / "shares.yaml", data=TWO_STEPS, engine=FSDP2, weight_ema=AVERAGE, measure=measure)
    recipe_file(folder / "random.yaml", data=TWO_STEPS)
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
    monkeypatch.setitem(ENCODERS._members, "convolving", Convolving)
    for name in SAME:
        losses_gradients_and_weights_are_those_of_one_process_with_the_joined_batch(name, tmp_path, said)
    mean_loss_and_averaged_gradients_are_those_of_the_joined_batch(tmp_path)
    what_is_sharded_is_written_whole(tmp_path, said)
    a_weight_that_cannot_be_sharded_is_one_line(said, tmp_path)
    options_of_the_engine_compose(tmp_path, said)
    each_process_draws_oscillators_of_its_own(said)
    only_the_first_process_prints_and_writes(said, tmp_path)
    one_process_told_to_stop_stops_both_and_the_same_command_continues(said, tmp_path)
    a_batch_that_processes_cannot_share_is_one_line_each(said, tmp_path)
    processes_that_see_other_checkpoints_or_data_are_refused(said, tmp_path)


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
        watched = ("feature_std", "effective_rank") if mine["feature_std"] and "accumulate" not in SAME[name] else ()
        for column in ("loss", "grad_norm", "lr", *watched):
            assert float(mine[column]) == pytest.approx(float(other[column]), rel=1e-5), column


def mean_loss_and_averaged_gradients_are_those_of_the_joined_batch(folder: Path) -> None:
    results = [torch.load(folder / f"halves-{rank}.pt", weights_only=True) for rank in range(2)]
    assert {"simclr", "byol", "classification", "boards"} <= results[0]["whole"].keys()
    for name, whole in results[0]["whole"].items():
        first, second = (result["half"][name] for result in results)
        for averaged in {"loss", "accuracy"} & whole.keys():
            mean, close = (first[averaged] + second[averaged]) / 2, 1e-12 if averaged == "loss" else 1e-6
            wanted = whole[averaged]
            torch.testing.assert_close(mean, wanted, rtol=close, atol=close, msg=lambda m, n=name: f"{n}: {m}")
        for half in (first, second):
            assert half.keys() == whole.keys()
            for key in whole.keys() - {"loss", "accuracy"}:
                at = f"{name} {key}"
                torch.testing.assert_close(
                    half[key], whole[key], rtol=1e-10, atol=1e-12, msg=lambda m, at=at: f"{at}: {m}"
                )
    # More candidates in the softmax make the loss larger, for any projections: the other half's negatives count.
    for result in results:
        assert result["half"]["simclr"]["loss"] > result["alone"] + 0.1


def what_is_sharded_is_written_whole(folder: Path, said: Said) -> None:
    """A run that began under FSDP2 continues under DDP or the other way round, and leaves what DDP alone would."""
    assert [rank["shares stopped"]["code"] for rank in said] == [130, 130], said[0]["shares stopped"]
    whole = folder / "shares-whole"
    for rank in said:
        assert [rank[f"shares {name}"]["code"] for name in ("whole", "continued", "later")] == [0, 0, 0], rank
    assert "engine.strategy=ddp (before: fsdp2)" in said[0]["shares continued"]["err"]
    for parts in (folder / "shares-parts", folder / "shares-later"):
        ours, theirs = ([row["knn"] for row in metrics(run) if row["knn"]] for run in (whole, parts))
        assert ours == theirs
        files = sorted(file.relative_to(whole) for file in whole.rglob("*.safetensors"))
        assert files == sorted(file.relative_to(parts) for file in parts.rglob("*.safetensors"))
        assert len(files) >= 5, "training state, encoder and average at the end and after epoch 1"
        for file in files:
            ours, theirs = flat(load(whole / file)), flat(load(parts / file))
            assert ours.keys() == theirs.keys(), file
            for key, value in ours.items():
                torch.testing.assert_close(theirs[key], value, rtol=1e-6, atol=1e-8)


def a_weight_that_cannot_be_sharded_is_one_line(said: Said, folder: Path) -> None:
    assert [rank["one number"]["code"] for rank in said] == [2, 2]
    assert "step_size is a single number and cannot be sharded; take 'ddp'" in said[0]["one number"]["err"]
    assert not (folder / "one-number").exists()


def flat(state: Any, path: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors in nested dictionaries and lists by their paths."""
    if isinstance(state, torch.Tensor):
        return {path: state}
    pairs = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {name: value for key, inner in pairs for name, value in flat(inner, f"{path}/{key}").items()}


def options_of_the_engine_compose(folder: Path, said: Said) -> None:
    """Losses are those of one process without any of them, up to the precision."""
    for number, options in enumerate(TOGETHER):
        name = f"together-{number}"
        assert [rank[name]["code"] for rank in said] == [0, 0], (options, said[0][name]["err"])
        plain = small(**composed(options), accumulate=options["accumulate"], engine={"device": "cpu"})
        one = metrics(train(plain, folder / "one" / name).path)
        close = 0.03 if options["precision"] == "bf16" else 1e-4
        for mine, other in zip(one, metrics(folder / "two" / name), strict=True):
            assert float(other["loss"]) == pytest.approx(float(mine["loss"]), rel=close), options


def each_process_draws_oscillators_of_its_own(said: Said) -> None:
    first, second = (rank["drawn"] for rank in said)
    assert len(first) == len(second) == 10, "two views in four steps, and one field at the end of each of two epochs"
    shared = {*first} & {*second}
    assert len({*first, *second} - shared) == 16
    assert len(shared) == 2, "the field under which the features are watched is the same in all processes"


def only_the_first_process_prints_and_writes(said: Said, folder: Path) -> None:
    for name in ("same-simclr", "whole", "stopped", "resumed"):
        assert said[1][name]["out"] == said[1][name]["err"] == "", name
    assert said[0]["whole"]["out"].endswith("finished\n")
    assert len(metrics(folder / "whole")) == 4


def one_process_told_to_stop_stops_both_and_the_same_command_continues(said: Said, folder: Path) -> None:
    assert [rank["stopped"]["code"] for rank in said] == [130, 130]
    assert "stopped after step 3 of 4" in said[0]["stopped"]["err"]
    assert [rank["resumed"]["code"] for rank in said] == [0, 0]
    assert_same_run(folder / "whole", folder / "parts")


def a_batch_that_processes_cannot_share_is_one_line_each(said: Said, folder: Path) -> None:
    for rank, name in zip(said, ("sslkuramoto: ", "sslkuramoto (process 1): "), strict=True):
        assert rank["odd"]["code"] == 2
        assert rank["odd"]["err"].startswith(f"{name}batch_size=15: must be divisible by")
        assert rank["odd"]["err"].count("\n") == 1
    assert not (folder / "odd").exists()


def processes_that_see_other_checkpoints_or_data_are_refused(said: Said, folder: Path) -> None:
    for name, what in (("elsewhere", "the checkpoint"), ("other data", "the set of examples")):
        assert [rank[name]["code"] for rank in said] == [2, 2]
        assert f"{what} is not the same for all processes; they need one run directory" in said[0][name]["err"]
    assert len(metrics(folder / "apart")) == 3, "steps until it was stopped"
    assert not (folder / "other-data").exists(), "no run begins"
