import sys
from contextlib import nullcontext

import pytest
import torch
from small_runs import small
from timm.layers import BatchNormAct2d
from torch import nn

from sslkuramoto.cli import main
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.recipe import Engine
from sslkuramoto.training import processes as room
from sslkuramoto.training import train
from sslkuramoto.training.processes import launch, processes, rank, synchronise_batch_norm
from sslkuramoto.training.sharding import check_shards

SLURM = {
    "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_NAME": "pretrain",
}


@pytest.mark.parametrize(
    ("environ", "local_and_world", "number"),
    [
        ({}, (1, 1), 0),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "5"}, (4, 8), 5),
        (SLURM, (4, 8), 3),
        ({**SLURM, "SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0"}, (1, 1), 0),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, (1, 1), 0),
        ({**SLURM, "SLURM_JOB_NAME": "interactive"}, (1, 1), 0),
        ({"RANK": "3", "WORLD_SIZE": "4"}, (1, 1), 0),
        ({**SLURM, "TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "RANK": "1"}, (2, 2), 1),
    ],
)
def test_torchrun_and_slurm_say_how_many_processes_there_are(environ, local_and_world, number):
    assert processes(environ) == local_and_world
    assert rank(environ) == number


def test_slurm_tasks_that_nodes_do_not_share_evenly_are_refused():
    with pytest.raises(UserError, match="SLURM_NTASKS=7: must be divisible by the 2 nodes"):
        processes({**SLURM, "SLURM_NTASKS": "7"})


def test_tasks_that_would_wait_for_each_other_without_end_are_refused():
    with pytest.raises(UserError, match="srun did not start this process"):
        processes({key: value for key, value in SLURM.items() if key != "SLURM_STEP_ID"})
    with pytest.raises(UserError, match="--ntasks-per-node=4"):
        processes({**SLURM, "SLURM_NTASKS_PER_NODE": ""})


def test_variables_that_are_no_numbers_do_not_hide_another_message(monkeypatch, capsys):
    monkeypatch.setenv("SLURM_NTASKS", "abc")
    assert main(["train", "nope"]) == 2
    assert "unknown recipe 'nope'" in capsys.readouterr().err


def test_empty_variables_count_as_absent_and_words_are_refused():
    assert processes({**SLURM, "SLURM_NTASKS": ""}) == (1, 1)
    assert rank({**SLURM, "SLURM_PROCID": ""}) == 0
    with pytest.raises(UserError, match="SLURM_NTASKS='eight': must be a number"):
        processes({**SLURM, "SLURM_NTASKS": "eight"})


def test_fabric_starts_without_torchmetrics_which_can_be_imported_afterwards(monkeypatch):
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("torchmetrics", "lightning_fabric"):
            monkeypatch.delitem(sys.modules, name)
    launch(Engine(device="cpu"))
    loaded = [name for name in sys.modules if name.partition(".")[0] in ("torchmetrics", "lightning_fabric")]
    try:
        from lightning_fabric.utilities.imports import _TORCHMETRICS_GREATER_EQUAL_1_0_0 as recent

        assert recent
        assert not [name for name in loaded if name.startswith("torchmetrics")]
        import torchmetrics

        assert torchmetrics.Metric
    finally:
        for name in [*sys.modules]:
            if name.partition(".")[0] in ("torchmetrics", "lightning_fabric"):
                del sys.modules[name]


def test_fabric_is_told_what_slurm_started(monkeypatch):
    told = {}

    class Recorded:
        def __init__(self, **options):
            told.update(options)

        def launch(self):
            told["launched"] = True

    monkeypatch.setattr("lightning_fabric.Fabric", Recorded)
    monkeypatch.setattr(room.os, "environ", SLURM)
    launch(Engine(device="cpu"))
    assert (told["devices"], told["num_nodes"], told["launched"]) == (4, 2, True)
    assert told["strategy"]._process_group_backend == "gloo"


def test_processes_that_cannot_meet_are_told_where(monkeypatch):
    class Lonely:
        def __init__(self, **options):
            pass

        def launch(self):
            raise torch.distributed.DistNetworkError("The server socket has failed to listen: address already in use")

    monkeypatch.setattr("lightning_fabric.Fabric", Lonely)
    monkeypatch.setattr(room.os, "environ", {**SLURM, "MASTER_ADDR": "node1", "MASTER_PORT": "15123"})
    with pytest.raises(UserError, match=r"the 8 processes could not meet at node1:15123.*already in use"):
        launch(Engine(device="cpu"))


def test_a_batch_that_processes_cannot_share_is_refused_before_they_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr("sslkuramoto.training.loop.launch", lambda _: pytest.fail("launched"))
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "5", "WORLD_SIZE": "5", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="batch_size=16: must be divisible by accumulate=1 times 5 processes"):
        train(small(), tmp_path / "run")


@pytest.mark.parametrize("encoder", ["akorn", "timm"])
def test_gradients_within_the_forward_pass_are_refused_where_layers_are_sharded_one_by_one(encoder):
    module = ENCODERS.build(encoder, ENCODERS.small(encoder))
    check_shards(module, takes_gradients=False)
    with pytest.raises(UserError, match="take 'ddp'") if encoder == "akorn" else nullcontext():
        check_shards(module, takes_gradients=True)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "allowed: auto, cpu, cuda, cuda:INDEX, mps"),
        ("cuda:x", "allowed: auto, cpu"),
        ("cpu:1", "allowed: auto, cpu"),
        ("cuda:99", "this machine has"),
    ],
)
def test_a_device_that_is_not_there_is_named(device, message):
    with pytest.raises(UserError, match=f"engine.device='{device}'.*{message}"):
        launch(Engine(device=device))


def test_many_processes_take_no_device_by_its_index(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(room.os, "environ", SLURM)
    with pytest.raises(UserError, match="8 processes share devices out themselves"):
        launch(Engine(device="cuda:1"))


def test_one_process_keeps_its_results_under_synchronised_batch_norm(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        norms = [
            nn.BatchNorm1d(3),
            nn.BatchNorm2d(3, affine=False),
            BatchNormAct2d(3),
            nn.BatchNorm2d(3, momentum=None),
        ]
        for norm in norms:
            theirs, ours = nn.Sequential(norm).double(), nn.Sequential(type(norm)(3, affine=norm.affine)).double()
            ours[0].momentum = norm.momentum
            ours.load_state_dict(theirs.state_dict())
            synchronise_batch_norm(ours, on_cuda=False)
            assert ours.state_dict().keys() == theirs.state_dict().keys()
            for training in (True, True, False):
                shape = (6, 3) if isinstance(norm, nn.BatchNorm1d) else (6, 3, 2, 2)
                x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
                y = x.detach().clone().requires_grad_()
                out, wanted = ours.train(training)(y), theirs.train(training)(x)
                torch.testing.assert_close(out, wanted)
                (out**3).sum().backward()
                (wanted**3).sum().backward()
                torch.testing.assert_close(y.grad, x.grad)
            for name, value in theirs.state_dict().items():
                torch.testing.assert_close(ours.state_dict()[name], value)
    finally:
        torch.distributed.destroy_process_group()


def test_a_batch_norm_of_another_kind_is_refused_not_changed():
    class Special(nn.BatchNorm2d):
        pass

    with pytest.raises(UserError, match="Special: this kind of BatchNorm cannot be synchronised"):
        synchronise_batch_norm(nn.Sequential(Special(3)), on_cuda=False)
