"""A recipe whose objective trains a head on an encoder that it leaves alone, and runs that cannot be started from."""

from pathlib import Path

import pytest
import torch
from small_runs import AKORN, CLASSIFIER, Killed, after_step, assert_same_run, kill, recipe_file, small

from sslkuramoto.checkpoint import load, load_encoder, load_head
from sslkuramoto.cli import main
from sslkuramoto.encoders import Encoder
from sslkuramoto.encoders.features import UNTRAINED
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images
from sslkuramoto.heads import MLP
from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import check, train
from sslkuramoto.training.learner import build, leaves_untrained, resolved
from sslkuramoto.training.optimizer import parameter_groups

FROZEN = {**CLASSIFIER, "objective": {"name": "classification", "freeze": True, "hidden": 6}}
DIGITS = Images(8, 10)
NORMED = {**AKORN, "readout_map_norm": "batch"}
GLYPHS = {"name": "same-different", "size": 16, "pairs": 24, "pairs_test": 20}
RELATIONAL = {"name": "relational", "size": 16, "channels": 4, "hidden": 8, "dimensions": 4, "num_steps": 2}
FREE = {"stop_on_collapse": 0.0}
PAIRS = {"measure": FREE, "data": GLYPHS, "encoder": RELATIONAL, "views": {"name": "unchanged"}, "batch_size": 8}
TRIALS = {**PAIRS, "data": {**GLYPHS, "name": "match-to-sample"}, "encoder": {**RELATIONAL, "pictures": 6}}


def encoder_of(run: str) -> Encoder:
    return load_encoder(RunDirectory(Path(run)).encoder_file())


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = train(small(epochs=1, encoder=NORMED), tmp_path_factory.mktemp("runs") / "first")
    return str(run.path)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = train(
        small(**PAIRS, objective=FROZEN["objective"] | {"freeze": False}), tmp_path_factory.mktemp("runs") / "p"
    )
    return str(run.path)


def test_a_frozen_encoder_keeps_every_weight_and_statistic_and_the_head_learns(first: str, tmp_path) -> None:
    recipe = small(**FROZEN, init=first, encoder=NORMED)
    run = train(recipe, tmp_path / "run")
    before, after = encoder_of(first).state_dict(), load_encoder(run.encoder_file()).state_dict()
    assert any("running_mean" in name for name in before)
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    head = load_head(run.head_file())
    assert isinstance(head, MLP)
    fresh = build(resolved(recipe), DIGITS)[0].objective.head
    assert not torch.equal(head[0].weight, fresh[0].weight)


def test_the_optimizer_has_state_of_the_head_alone(first: str, tmp_path) -> None:
    recipe = small(**FROZEN, init=first, encoder=NORMED)
    run = train(recipe, tmp_path / "run")
    learner, _ = build(resolved(recipe), DIGITS)
    trained = [p for group in parameter_groups(learner, (), True) for p in group["params"]]
    assert len(trained) == len(list(learner.objective.head.parameters())) == 4
    assert len(load(run.last_checkpoint)["optimizer"]["state"]) == 4


def test_a_frozen_encoder_stays_in_eval_mode_while_the_head_trains(first: str) -> None:
    learner, _ = build(resolved(small(**FROZEN, init=first, encoder=NORMED)), DIGITS)
    learner.train()
    assert learner.objective.head.training
    assert not any(part.training for part in learner.encoder.modules())
    assert not any(parameter.requires_grad for parameter in learner.encoder.parameters())
    other, _ = build(resolved(small(**CLASSIFIER, init=first, encoder=NORMED)), DIGITS)
    other.train()
    assert all(part.training for part in other.encoder.modules())


def test_a_run_with_a_frozen_encoder_that_was_killed_continues_exactly(first: str, tmp_path) -> None:
    recipe = small(**FROZEN, init=first, encoder=NORMED, epochs=2, weight_ema={"update_after": 1, "update_every": 1})
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(Killed), after_step(4, kill):
        train(recipe, tmp_path / "part")
    assert_same_run(whole.path, train(recipe, tmp_path / "part").path)


def test_the_second_stage_takes_the_frozen_network_of_pairs_to_six_pictures(pairs: str, tmp_path) -> None:
    run = train(small(**TRIALS, objective=FROZEN["objective"], init=pairs), tmp_path / "run")
    before, after = encoder_of(pairs), load_encoder(run.encoder_file())
    assert (before.num_features, after.num_features) == (4, 12)
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name
    assert load_head(run.head_file()).in_features == 12


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pairs", "its network reads images, the encoder of this recipe reads pairs"),
        ("images", "its network reads pairs, the encoder of this recipe reads images"),
    ],
)
def test_a_run_whose_network_reads_another_kind_of_input_is_refused_in_one_line(
    kind: str, message: str, first: str, pairs: str
) -> None:
    recipe = small(**PAIRS, **{"objective": {"name": "classification"}}, init=first)
    if kind == "images":
        recipe = small(**CLASSIFIER, init=pairs)
    with pytest.raises(UserError, match=message) as caught:
        check(recipe)
    assert str(caught.value).startswith("init=")
    assert "\n" not in str(caught.value)


def test_a_frozen_encoder_that_starts_from_no_run_is_called_untrained_wherever_it_is_seen(tmp_path, capsys) -> None:
    file = recipe_file(tmp_path / "control.yaml", **FROZEN, measure=FREE)
    assert main(["train", file, "--check"]) == 0
    assert capsys.readouterr().out.endswith(f"control.yaml: a valid recipe; {UNTRAINED}\n")
    run = str(tmp_path / "run")
    assert main(["train", file, "--run", run]) == 0
    assert f"{run}: {UNTRAINED}" in capsys.readouterr().err.splitlines()
    assert main(["evaluate", run, "clean"]) == 0
    assert f"note: {UNTRAINED}" in capsys.readouterr().out
    assert Result.read(Path(run) / "results" / "clean.json").encoder["untrained"] is True
    assert main(["report", run]) == 0
    assert f"run: {UNTRAINED}" in capsys.readouterr().out


def test_a_frozen_encoder_that_was_trained_before_is_not_called_untrained(first: str, tmp_path, capsys) -> None:
    run = train(small(**FROZEN, init=first, encoder=NORMED), tmp_path / "run").path
    assert UNTRAINED not in capsys.readouterr().err
    assert main(["evaluate", str(run), "clean"]) == 0
    assert UNTRAINED not in capsys.readouterr().out
    assert "untrained" not in Result.read(run / "results" / "clean.json").encoder
    timm = {"name": "timm", "model": "test_resnet"}
    assert leaves_untrained(small(**FROZEN, encoder=timm))
    assert not leaves_untrained(small(**FROZEN, encoder={**timm, "pretrained": True}))
    assert not leaves_untrained(small(**FROZEN, encoder={**timm, "arguments": {"checkpoint_path": "weights.pt"}}))
    assert not leaves_untrained(small())
