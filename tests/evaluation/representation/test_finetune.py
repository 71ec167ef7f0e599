import json

import pytest
import torch
from small_runs import after_step, metrics, press_ctrl_c, small

from sslkuramoto.checkpoint import load_encoder
from sslkuramoto.cli import main
from sslkuramoto.earlier_trainings import trainings_of
from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.evaluation import PROTOCOLS, evaluate, load_protocol, subject_of
from sslkuramoto.recipe import load_recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train

CHANGES = {
    "views": {"name": "plain"},
    "objective": {"name": "classification"},
    "optimizer": {"name": "adam", "lr": 1e-2},
    "epochs": 2,
}
FIXED = {"name": "akorn", "channels": 4, "kernel_sizes": [3, 3], "num_steps": 1, "initial": "stimulus"}


@pytest.fixture
def run(tmp_path):
    """A finished pretraining run."""
    data = {"name": "digits", "limit": 48, "limit_test": 30}
    return train(small(epochs=1, data=data, encoder=FIXED, clip_grad_norm=3.0, seed=4), tmp_path / "run").path


def finetune(**options):
    return PROTOCOLS.build("finetune", {"recipe": CHANGES, **options})


def test_the_recipe_keeps_data_encoder_and_seed_and_starts_from_the_run(run):
    pretrained, recipe = load_recipe(run / "recipe.yaml"), finetune().recipe_for(subject_of(run))
    assert (recipe.data, recipe.encoder, recipe.seed) == (pretrained.data, pretrained.encoder, 4)
    assert recipe.init == str(run.resolve())
    assert (recipe.objective.name, recipe.epochs, recipe.batch_size) == ("classification", 2, 16)
    assert (recipe.clip_grad_norm, recipe.weight_ema, recipe.schedule.name) == (None, None, "constant")


def test_options_changed_for_the_measurement_are_finetuned_with(run):
    subject = subject_of(run, encoder_options={"num_steps": 3}, data_options={"limit": 32})
    recipe = finetune().recipe_for(subject)
    assert (recipe.encoder.options["num_steps"], recipe.data.options["limit"]) == (3, 32)
    assert recipe.data.options["limit_test"] == 30
    assert recipe.engine.device == "cpu"


def test_it_leaves_a_finished_run_inside_and_its_clean_accuracy(run, monkeypatch):
    subject = subject_of(run)
    result = finetune()(subject)
    tuned = subject_of(run / "finetune")
    assert tuned.head is not None
    assert tuned.encoder_hash != subject.encoder_hash, "all weights were trained"
    with torch.no_grad():
        images = subject.data("test")
        logits = tuned.head(tuned.encoder(images.images / 255).pooled)
    right = (logits.argmax(dim=1) == images.labels).float().mean()
    assert result.metrics["accuracy"].value == pytest.approx(float(right))
    assert result.metrics["accuracy"].n == 30
    assert result.options["recipe"] == CHANGES
    assert "finetune/" in result.notes[-1]

    again = finetune()(subject)  # measured, not trained again
    assert again.metrics == result.metrics
    moved = run.rename(run.with_name("moved"))
    data = {"name": "digits", "limit": 48, "limit_test": 30}
    train(small(epochs=1, data=data, encoder=FIXED, seed=9), run)
    again = finetune()(subject_of(moved))
    assert again.metrics == result.metrics, "the directory may be moved, and another run take its place"


@pytest.mark.parametrize(("every", "watched"), [(1, [True, True]), (2, [False, True]), (0, [False, False])])
def test_it_monitors_what_its_recipe_says(every, watched, run):
    finetune(recipe={**CHANGES, "measure": {"monitor_every": every}})(subject_of(run))
    ends = metrics(run / "finetune")[2::3]
    assert [bool(row.get("knn")) for row in ends] == watched


def test_an_epoch_that_was_kept_is_finetuned_from_its_own_weights_in_a_folder_of_its_own(tmp_path, capsys):
    kept = {"keep_checkpoints": [1, 4]}
    run = train(small(epochs=4, encoder=FIXED, measure=kept), tmp_path / "run")
    still = finetune(recipe={**CHANGES, "optimizer": {"name": "adam", "lr": 1e-30}, "epochs": 1})
    still(subject_of(run.path))
    result = still(subject_of(run.path, checkpoint=1))
    for folder, start in (("finetune", run), ("finetune-epoch-1", run.at_epoch(1))):
        tuned, began = load_encoder(run.path / folder / "encoder.safetensors"), load_encoder(start.encoder_file())
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(tuned.parameters(), began.parameters(), strict=True))
        assert not (run.path / folder / "checkpoints" / "epoch-1").exists(), "what the pretraining keeps is its own"
    assert "finetune-epoch-1/" in result.notes[-1]
    assert [each.run for each in trainings_of(RunDirectory(run.path / "finetune-epoch-1"))][-1] == run.path


def test_a_finetuned_network_is_not_that_of_an_encoder_that_was_trained_anew(run):
    finetune()(subject_of(run))
    for file in (run / "encoder.safetensors", run / "checkpoints" / "last.safetensors"):
        file.unlink()
    train(small(epochs=1, data={"name": "digits", "limit": 48, "limit_test": 30}, encoder=FIXED, seed=5), run)
    with pytest.raises(UserError, match=r"finetune: began from other weights than .*; remove it, or name another"):
        finetune()(subject_of(run))
    assert finetune(into="again")(subject_of(run)).metrics["accuracy"].n == 30


def test_it_continues_where_it_was_interrupted(run):
    with pytest.raises(Interrupted), after_step(3, press_ctrl_c):
        finetune()(subject_of(run))
    finetune()(subject_of(run))
    assert [row["step"] for row in metrics(run / "finetune")] == list("012345")


def test_another_finetuning_of_the_same_run_is_refused(run, capsys):
    finetune()(subject_of(run))
    with pytest.raises(UserError, match=r"finetune: belongs to another recipe: epochs is 2 there and 3 here"):
        finetune(recipe={**CHANGES, "epochs": 3})(subject_of(run))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": {**CHANGES, "epocs": 3}}, "unknown key of recipe 'epocs': did you mean 'epochs'"),
        ({"recipe": {**CHANGES, "encoder": "timm"}}, "unknown key of recipe 'encoder'"),
        ({"recipe": {**CHANGES, "init": "x"}}, "unknown key of recipe 'init'"),
        ({"draws": 0}, "draws=0"),
    ],
)
def test_a_wrong_section_is_named_before_anything_is_trained(options, message):
    with pytest.raises(UserError, match=message):
        finetune(**options)


def test_too_few_draws_and_raw_weights_are_refused_before_anything_is_trained(tmp_path):
    average = {"decay": 0.9, "update_after": 0, "update_every": 1}
    run = train(small(epochs=1, weight_ema=average), tmp_path / "run").path
    with pytest.raises(UserError, match="draws=5"):
        finetune(draws=5)(subject_of(run))
    with pytest.raises(UserError, match="weights='raw': finetuning starts from"):
        finetune()(subject_of(run, weights="raw"))
    assert not (run / "finetune").exists()


def test_the_command_finetunes_by_a_protocol_file(run, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("name: finetune\nrecipe: " + json.dumps(CHANGES))
    assert main(["evaluate", str(run), str(file), "recipe.epochs=1", "--device", "cpu"]) == 0
    assert "mine+recipe.epochs=1  (" in capsys.readouterr().out
    assert json.loads((run / "results" / "mine+recipe.epochs=1.json").read_text())["options"]["recipe"]["epochs"] == 1
    result, _ = evaluate(subject_of(run / "finetune"), load_protocol("clean"), {})
    written = json.loads((run / "results" / "mine+recipe.epochs=1.json").read_text())
    assert written["metrics"]["accuracy"]["value"] == result.metrics["accuracy"].value
