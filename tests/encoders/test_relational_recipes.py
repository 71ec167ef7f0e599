"""The recipes of the relational network and of its controls: equal sizes, and stages that fit each other."""

from dataclasses import replace

import pytest
import torch
from house_files import RECIPES, ROOT

from sslkuramoto.checkpoint import load_encoder, load_head
from sslkuramoto.recipe import Recipe, load_recipe
from sslkuramoto.training import train
from sslkuramoto.training.learner import weightless

KINDS = ["relational", "uncoupled", "cosine", "concatenated"]
FIRST = {kind: ROOT / "recipes" / f"same-different-{kind}.yaml" for kind in KINDS}
SECOND = {kind: ROOT / "recipes" / f"match-to-sample-{kind}.yaml" for kind in KINDS}
TINY = ["data.pairs=16", "data.pairs_test=8", "data.size=16", "batch_size=8", "epochs=1", "engine.device=cpu"]
TINY += ["encoder.size=16", "encoder.channels=4", "encoder.hidden=8", "encoder.dimensions=4"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def size_of(recipe: Recipe) -> int:
    """Return the number of weights of encoder and head."""
    _, encoder, objective = weightless(recipe)
    return sum(weight.numel() for part in (encoder, objective) for weight in part.parameters())


def test_controls_have_as_many_weights_as_the_network_within_one_percent() -> None:
    sizes = {kind: size_of(load_recipe(FIRST[kind])) for kind in KINDS}
    assert sizes["relational"] == 219_618
    for kind, size in sizes.items():
        assert abs(size / sizes["relational"] - 1) < 0.01, kind


@every_kind
def test_both_stages_have_one_network_and_the_same_icons(kind: str) -> None:
    first, second = load_recipe(FIRST[kind]), load_recipe(SECOND[kind])
    options = {**first.encoder.options, "pictures": 6}
    assert (first.encoder.name, options) == (second.encoder.name, second.encoder.options)
    kept = ("glyphs", "font", "characters", "size", "train_icons", "icon_split", "scale", "jitter")
    assert [first.data.options[key] for key in kept] == [second.data.options[key] for key in kept]
    assert second.objective.options["freeze"]
    assert not first.objective.options["freeze"]


def test_recipes_of_a_stage_differ_in_the_network_only() -> None:
    for stage in (FIRST, SECOND):
        base = load_recipe(stage["relational"])
        for path in stage.values():
            assert replace(load_recipe(path), encoder=base.encoder) == base


@every_kind
def test_two_steps_of_both_stages_leave_complete_runs(kind: str, tmp_path) -> None:
    first = train(load_recipe(FIRST[kind], TINY), tmp_path / "first")
    second = train(load_recipe(SECOND[kind], [*TINY, f"init={first.path}"]), tmp_path / "second")
    one, two = load_encoder(first.encoder_file()), load_encoder(second.encoder_file())
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    assert load_head(second.head_file()).in_features == two.num_features == 3 * one.num_features


def test_every_recipe_of_pairs_is_one_of_these() -> None:
    stems = {path.stem for path in RECIPES if path.stem.startswith(("same-different", "match-to-sample"))}
    assert stems == {path.stem for path in (*FIRST.values(), *SECOND.values())}
