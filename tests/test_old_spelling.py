"""The flat spelling of projector and predictor (``projector_hidden``) means the nested one wherever it still stands."""

import json

import pytest
import small_runs
from omegaconf import OmegaConf

from sslkuramoto.errors import UserError, say_once
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.recipe import load_recipe, recipe_from
from sslkuramoto.training import train
from sslkuramoto.training.learner import resolved

FLAT = {"name": "simclr", "projector_hidden": 8, "projector_out": 8}
NESTED = {"name": "simclr", "projector": {"hidden": 8, "out": 8}}


def recipe(**changes):
    return resolved(recipe_from({**small_runs.SMALL, **changes}))


def test_both_spellings_resolve_to_the_nested_one():
    flat, nested = recipe(objective=FLAT), recipe(objective=NESTED)
    assert flat == nested
    assert flat.objective.options["projector"] == {
        "layers": 2, "hidden": 8, "out": 8, "norm": "batch", "out_norm": "batch",
    }  # fmt: skip
    assert flat.to_dict() == nested.to_dict()


def test_the_longest_option_is_found_and_an_unknown_one_is_named():
    found = OBJECTIVES.check("simclr", {"projector_out_norm": "none"})
    assert found["projector"].out_norm == "none"
    with pytest.raises(UserError, match="unknown key of objective simclr 'projector_hiden': did you mean 'projector'"):
        OBJECTIVES.check("simclr", {"projector_hiden": 8})
    with pytest.raises(UserError, match=r"objective\.projector\.hidden=0: must be >= 1"):
        OBJECTIVES.check("simclr", {"projector_hidden": 0})


def test_one_line_says_the_new_spelling_once(capsys: pytest.CaptureFixture[str]):
    say_once.cache_clear()
    for _ in range(2):
        recipe(objective=FLAT)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == ("objective simclr: projector_hidden: 8 is written projector: {hidden: 8} now; so are projector_out")


@pytest.mark.parametrize("objective", [FLAT, NESTED])
@pytest.mark.parametrize("key", ["objective.projector_hidden", "objective.projector.hidden"])
def test_an_override_in_either_spelling_wins_over_a_recipe_in_either(tmp_path, objective, key):
    file = tmp_path / "mine.yaml"
    OmegaConf.save(OmegaConf.create({**small_runs.SMALL, "objective": objective}), file)
    found = resolved(load_recipe(file, [f"{key}=16"])).objective.options["projector"]
    assert (found["hidden"], found["out"]) == (16, 8)


def test_a_run_directory_in_the_old_spelling_is_accepted_by_the_same_command(tmp_path):
    path = tmp_path / "run"
    run = train(recipe(objective=NESTED), path)
    stored = OmegaConf.to_container(OmegaConf.load(run.recipe_file))
    projector = stored["objective"].pop("projector")
    stored["objective"] |= {f"projector_{key}": value for key, value in projector.items()}
    run.recipe_file.write_text(json.dumps(stored))
    assert train(recipe_from({**small_runs.SMALL, "objective": FLAT}), path).finished
    with pytest.raises(UserError, match=r"objective\.projector\.hidden is 8 there and 16 here"):
        train(recipe(objective={**NESTED, "projector": {"hidden": 16, "out": 8}}), path)
