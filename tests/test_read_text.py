"""A word of the command line means what its option's type says."""

from typing import Any, Literal

import pytest
from omegaconf import OmegaConf
from small_runs import recipe_file

from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.recipe import load_recipe, override
from sslkuramoto.recipe import recipe_file as recipe_path
from sslkuramoto.study.options import as_overrides, settings_from
from sslkuramoto.training.learner import check
from sslkuramoto.values import Count, Place, Positive, ShareBelowOne, check_value, read_text

FOLDERS = [
    "2024",
    "on",
    "no",
    "@data",
    "[new] data",
    "%a",
    "!x",
    "/tmp/a: b",
    "my data #3",
    "~",
    "1e3",
    "a, b",
    "{x}",
    "",
    "0123",
    "nan",
    "12:30:00",
]


@pytest.mark.parametrize("text", FOLDERS)
@pytest.mark.parametrize("annotation", [str, Place, Place | None])
def test_text_stays_text(text, annotation):
    assert read_text("root", text, annotation) == text


@pytest.mark.parametrize(
    ("text", "annotation", "wanted"),
    [
        ("null", Place | None, None),
        ('"null"', Place | None, "null"),
        ("'a b'", str, "a b"),
        ("3", Count, 3),
        ("1e-3", Positive, 1e-3),
        ("1", ShareBelowOne, 1),
        ("inf", float, float("inf")),
        ("true", bool, True),
        ("on", bool, True),
        ("True", bool, True),
        ("32", Literal["32", "bf16"], "32"),
        ("auto", Literal["auto"] | bool, "auto"),
        ("false", Literal["auto"] | bool, False),
        ("8/255", float | str, "8/255"),
        ("0.5", float | str, 0.5),
        ("[1, 2]", list[int], [1, 2]),
        ("{a: 1e-3}", dict[str, Any], {"a": 1e-3}),
        ("null", Count | None, None),
        ("7", Any, 7),
    ],
)
def test_other_values_are_yaml(text, annotation, wanted):
    assert read_text("key", text, annotation) == wanted


def test_a_number_that_begins_with_0_is_no_octal():
    with pytest.raises(UserError, match="seed=01__0"):
        check_value("seed", read_text("seed", "01__0", int), int)
    for text, plain in (("010", "10"), ("-007", "-7")):
        with pytest.raises(UserError, match=f"seed={text}: a number does not begin with 0; write {plain}$"):
            read_text("seed", text, int)
    assert read_text("seed", "0", int) == 0
    assert read_text("eps", "0.5", float) == 0.5


@pytest.mark.parametrize("text", ["1:30", "-1:30", "0:0.5", "1:30:00"])
def test_a_number_with_a_colon_is_not_counted_in_sixties(text):
    with pytest.raises(UserError, match=f"lr={text}: a number has no colon"):
        read_text("lr", text, float)
    with pytest.raises(UserError, match="a number has no colon"):
        read_text("optimizer", f"{{name: adam, lr: {text}}}", Any)
    assert read_text("root", text, str) == text


def test_a_key_that_stands_twice_is_named():
    with pytest.raises(UserError, match=r"no YAML: found duplicate key lr$"):
        read_text("optimizer", "{name: adam, lr: 1e-3, lr: 2e-3}", Any)


def test_a_section_that_is_null_must_be_a_mapping(tmp_path):
    recipe_file(tmp_path / "r.yaml")
    with pytest.raises(UserError, match=r"engine=None: must be a mapping$"):
        load_recipe(tmp_path / "r.yaml", ["engine=null"])


def test_a_number_out_of_any_sense_is_told_as_a_number(tmp_path):
    file = recipe_file(tmp_path / "r.yaml")
    with pytest.raises(UserError, match=r"optimizer.lr=inf: ") as caught:
        check(load_recipe(tmp_path / "r.yaml", ["optimizer.lr=inf"]))
    assert "for example inf" not in str(caught.value)
    assert main(["train", file, "--check", "epochs=1e3"]) == 2


@pytest.mark.parametrize("folder", [f for f in FOLDERS if f])
def test_a_folder_of_any_name_reaches_its_source(folder):
    plain = OmegaConf.create({"data": {"name": "image_folder", "root": "x"}})
    assert override(plain, [f"data.root={folder}"])["data"]["root"] == folder
    assert override(plain, ["data.root=${epochs}"])["data"]["root"] == "${epochs}"


def test_a_study_hands_words_of_switches_down_in_any_case():
    assert settings_from(["engine.compile=True", "a=NULL"]) == {"engine.compile": True, "a": None}


def test_a_norm_is_not_changed_beside_a_radius_of_the_other():
    with pytest.raises(UserError, match="norm=l2: eps="):
        load_recipe(recipe_path("digits-resnet18-adversarial"), ["objective.norm=l2"])


@pytest.mark.parametrize("folder", sorted({*FOLDERS, "true"} - {"[new] data", "{x}", "1e3"}))
def test_a_study_hands_a_folder_down_as_it_was_typed(folder):
    (word,) = as_overrides(settings_from([f"data.root={folder}"]))
    plain = OmegaConf.create({"data": {"name": "image_folder", "root": "x"}})
    assert override(plain, [word])["data"]["root"] == folder


def test_a_part_that_a_recipe_leaves_out_can_be_changed(tmp_path):
    recipe_file(tmp_path / "r.yaml")
    text = (tmp_path / "r.yaml").read_text()
    assert "schedule:\n  name: constant\n" in text
    (tmp_path / "r.yaml").write_text(text.replace("schedule:\n  name: constant\n", ""))
    recipe = load_recipe(tmp_path / "r.yaml", ["schedule.hold=[predictor]"])
    assert recipe.schedule.name == "constant"
    assert recipe.schedule.options == {"hold": ["predictor"]}


def test_another_member_does_not_inherit_the_options_of_the_one_before(tmp_path):
    recipe_file(tmp_path / "r.yaml")
    with pytest.raises(UserError) as caught:
        load_recipe(tmp_path / "r.yaml", ["encoder.name=timm", "encoder.model=resnet18"])
    line = str(caught.value)
    assert "of akorn stay in the recipe, and timm has no such options; write encoder='{name: timm, model: ...}'" in line
    whole = load_recipe(tmp_path / "r.yaml", ["encoder={name: timm, model: resnet18}"])
    assert whole.encoder.options == {"model": "resnet18"}


def test_a_key_of_a_section_is_named_where_it_lies(tmp_path):
    recipe_file(tmp_path / "r.yaml")
    with pytest.raises(UserError, match=r"unknown key 'precision': did you mean 'engine.precision'\?"):
        load_recipe(tmp_path / "r.yaml", ["precision=32"])
    with pytest.raises(UserError, match=r"unknown key 'lr': did you mean 'optimizer.lr'\?"):
        load_recipe(tmp_path / "r.yaml", ["lr=1"])
