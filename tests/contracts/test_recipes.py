"""The contract of every file in recipes/."""

import csv
import dataclasses
import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from house_files import RECIPES, ROOT, tiny, train_tiny

from sslkuramoto.checkpoint import load_encoder
from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES, head_of
from sslkuramoto.recipe import RENAMED, Engine, Measure, Recipe, dump_recipe, load_recipe, read_yaml, recipe_file
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import check, train
from sslkuramoto.training.learner import resolved

LABELS = ["Reproduces", "Command", "Cost", "Expected", "Left open"]
TITLES = ["# --- method", "# --- measurement", "# --- engine"]
DIGITS = [path for path in RECIPES if path.stem.startswith("digits-")]
CIFAR = [path for path in RECIPES if path.stem.startswith("cifar10-") and not path.stem.startswith("cifar10-small-")]
FROM_A_RUN = [path for path in RECIPES if 'init: "???"' in path.read_text()]
# Options without effect where they may be left out: of attention, of learned or fixed starts, of a blur that is off.
IDLE = {"attention_heads", "initial_seed", "image_size", "blur_sigma", "arguments", "hold", "decay_norm_and_bias"}
IDLE_DATA = {"size", "limit", "limit_test", "holdout", "split_seed", "device_resident"}

every_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
every_digits_recipe = pytest.mark.parametrize("path", DIGITS, ids=lambda path: path.stem)
every_cifar_recipe = pytest.mark.parametrize("path", CIFAR, ids=lambda path: path.stem)


def header(path: Path) -> list[str]:
    return [line.removeprefix("#").strip() for line in path.read_text().split("\n\n")[0].splitlines()]


@cache
def stated(path: Path) -> Recipe:
    return load_recipe(path)


@cache
def without_run(path: Path) -> Recipe:
    return load_recipe(path, ["init=null"]) if path in FROM_A_RUN else stated(path)


def test_there_are_the_recipes_of_the_report_and_their_digits_versions() -> None:
    stems = {path.stem for path in RECIPES}
    methods = ("simclr", "byol", "simsiam", "phinet")
    published = ("simclr", "byol", "simsiam", "xphinet", "phinet-original")
    assert {f"cifar10-akorn-{method}-{epochs}" for method in published for epochs in (200, 400)} <= stems
    assert {f"cifar10-akorn-{name}" for name in ("finetune", "supervised", "simclr-50")} <= stems
    assert {f"cifar10-akorn-xphinet-400-clip{norm}" for norm in (1, 10)} <= stems
    assert {f"digits-akorn-{name}" for name in (*methods, "finetune", "supervised")} <= stems
    assert {f"digits-akorn-xphinet-clip{norm}" for norm in (1, 10)} <= stems


def test_a_recipe_named_after_an_objective_has_that_objective() -> None:
    for path in RECIPES:
        named = [word for word in path.stem.split("-") if word in ("phinet", "xphinet")]
        assert not named or stated(path).objective.name == named[0], path.stem


@pytest.mark.parametrize(("old", "new"), list(RENAMED.items()))
def test_an_old_name_of_a_recipe_means_the_renamed_one(old: str, new: str) -> None:
    assert old not in {path.stem for path in RECIPES}
    for spelling in (old, f"recipes/{old}.yaml"):
        assert recipe_file(spelling) == ROOT / "recipes" / f"{new}.yaml"
    assert load_recipe(recipe_file(old)).objective.name == "xphinet"


@every_recipe
def test_it_passes_the_check_of_the_command_line(path: Path) -> None:
    check(without_run(path))


@every_recipe
def test_it_reads_back_equal_from_its_dump(path: Path, tmp_path: Path) -> None:
    for number, recipe in enumerate((stated(path), resolved(without_run(path)))):
        file = tmp_path / f"{number}.yaml"
        file.write_text(dump_recipe(recipe))
        assert load_recipe(file).to_dict() == recipe.to_dict()


@every_recipe
def test_its_header_says_what_it_reproduces_how_what_it_costs_and_what_to_expect(path: Path) -> None:
    lines = header(path)
    found = [match[1] for line in lines if (match := re.match(rf"({'|'.join(LABELS)}): +\S", line))]
    assert found in (LABELS, LABELS[:4])
    assert any(f"sslkuramoto train recipes/{path.name}" in line for line in lines)


@every_recipe
def test_its_sections_are_titled_by_consequence_and_hold_their_own_keys(path: Path) -> None:
    text = path.read_text()
    places = [text.index(f"\n{title}") for title in TITLES]
    assert places == sorted(places)
    method, measurement, engine = (
        re.findall(r"^(\w+):", part, flags=re.MULTILINE)
        for part in (text[places[0] : places[1]], text[places[1] : places[2]], text[places[2] :])
    )
    assert measurement in ([], ["measure"])
    assert engine in ([], ["engine"])
    assert {"measure", "engine"}.isdisjoint(method)


@every_recipe
def test_it_states_every_key_of_its_method(path: Path) -> None:
    own = read_yaml(path)
    keys = {field.name for field in dataclasses.fields(Recipe)} - {"measure", "engine"}
    assert keys <= set(own), f"not stated: {sorted(keys - set(own))}"
    for section, cls in (("measure", Measure), ("engine", Engine)):
        if section in own:
            assert set(own[section]) <= {field.name for field in dataclasses.fields(cls)}


@every_cifar_recipe
def test_a_recipe_of_a_published_table_leaves_no_option_to_a_default(path: Path) -> None:
    own = stated(path)
    whole = resolved(without_run(path))
    for section in ("data", "views", "encoder", "objective", "optimizer", "schedule"):
        missing = set(getattr(whole, section).options) - set(getattr(own, section).options) - IDLE
        missing -= IDLE_DATA if section == "data" else set()
        assert not missing, f"{section}: {sorted(missing)}"


@pytest.mark.parametrize("method", ["simclr", "byol", "simsiam", "xphinet", "phinet-original"])
def test_table_2_and_table_3_differ_in_epochs_only(method: str) -> None:
    two, four = (load_recipe(ROOT / f"recipes/cifar10-akorn-{method}-{epochs}.yaml") for epochs in (200, 400))
    assert (two.epochs, four.epochs) == (200, 400)
    assert dataclasses.replace(two, epochs=400) == four


@pytest.mark.parametrize("base", ["cifar10-akorn-xphinet-400", "digits-akorn-xphinet"])
@pytest.mark.parametrize("norm", [1, 10])
def test_a_clipped_recipe_differs_from_its_base_in_the_clipping_only(base: str, norm: int) -> None:
    plain, clipped = (load_recipe(ROOT / "recipes" / f"{name}.yaml") for name in (base, f"{base}-clip{norm}"))
    assert plain.clip_grad_norm is None
    assert clipped.clip_grad_norm == norm
    assert clipped.method() == dataclasses.replace(plain, clip_grad_norm=float(norm)).method()


@every_cifar_recipe
def test_akorn_on_cifar_is_the_network_of_the_report(path: Path) -> None:
    recipe = stated(path)
    if recipe.encoder.name != "akorn":
        pytest.skip("another network")
    options = recipe.encoder.options
    assert options["channels"] == (64 if path.stem.endswith(("supervised", "simclr-50")) else 128)
    assert (options["kernel_sizes"], options["num_steps"], options["oscillator_dim"]) == ([9, 7, 5], 3, 2)
    assert recipe.optimizer.name == "adam"
    assert recipe.optimizer.options["weight_decay"] == 0


@pytest.mark.parametrize("path", FROM_A_RUN, ids=lambda path: path.stem)
def test_a_finetune_without_a_run_to_start_from_is_refused_in_one_line(path: Path) -> None:
    with pytest.raises(UserError, match=r"init.*finished run") as caught:
        check(load_recipe(path))
    assert "\n" not in str(caught.value)


@every_digits_recipe
def test_two_steps_of_it_leave_a_complete_run_with_an_encoder(
    path: Path, tmp_path: Path, pretrained: RunDirectory
) -> None:
    init = [f"init={pretrained.path}"] if path in FROM_A_RUN else []
    run = train_tiny(path, tmp_path / "run", *init)
    with run.metrics_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1"]
    assert all(math.isfinite(float(row["loss"])) and float(row["grad_norm"]) >= 0 for row in rows)
    encoder = load_encoder(run.encoder_file())
    features = encoder(torch.rand(2, 3, 8, 8), draw=torch.Generator().manual_seed(0)).pooled
    assert features.shape == (2, encoder.num_features)
    assert features.isfinite().all()
    assert run.recipe_file.is_file()
    assert run.environment_file.is_file()
    assert run.last_checkpoint.is_file()
    assert run.head_file().is_file() == (head_of(run.recipe().objective.name) is not None)


def test_a_finished_run_is_left_as_it_is_and_refuses_another_recipe(pretrained: RunDirectory) -> None:
    before = {path: path.stat().st_mtime_ns for path in pretrained.path.rglob("*") if path.is_file()}
    assert train(pretrained.recipe(), pretrained.path).finished
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(UserError, match="belongs to another recipe: seed is 0 there and 1 here"):
        train(dataclasses.replace(pretrained.recipe(), seed=1), pretrained.path)


def test_the_global_generators_neither_change_a_run_nor_are_changed_by_it(tmp_path: Path) -> None:
    path = ROOT / "recipes" / "digits-akorn-byol.yaml"
    weights = []
    for number in (1, 2):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        run = train_tiny(path, tmp_path / str(number), "measure.monitor_every=1")
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(load_encoder(run.encoder_file()).state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_another_seed_gives_another_encoder(tmp_path: Path, pretrained: RunDirectory) -> None:
    path = ROOT / "recipes" / "digits-akorn-simsiam.yaml"
    other = train_tiny(path, tmp_path / "run", "seed=1", "measure.monitor_every=0")
    first, second = (load_encoder(run.encoder_file()).state_dict() for run in (pretrained, other))
    assert not torch.equal(first["stem.weight"], second["stem.weight"])


def test_every_objective_has_a_recipe_that_needs_no_download() -> None:
    here = [path for path in RECIPES if not path.stem.startswith("cifar10")]
    assert set(OBJECTIVES) <= {stated(path).objective.name for path in here}


@every_digits_recipe
def test_its_overrides_for_the_tests_make_it_small(path: Path) -> None:
    recipe = load_recipe(path, tiny(path))
    assert recipe.epochs == 1
    assert recipe.data.options["limit"] == 16
