"""The documentation agrees with the code: names, keys, defaults, commands and links."""

import dataclasses
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from house_files import PROTOCOLS, RECIPES, REGISTRIES, ROOT

from sslkuramoto.checkpoint import load_encoder
from sslkuramoto.objectives import OBJECTIVES, Projector
from sslkuramoto.recipe import Engine, Measure, Recipe, WeightEMA, load_recipe
from sslkuramoto.registry import Registry
from sslkuramoto.training import check

README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WITH_COMMANDS = [*DOCUMENTS, *RECIPES]


def commands(path: Path) -> list[list[str]]:
    """Return the words of every ``sslkuramoto ...`` command that begins a line, comments and continuations resolved."""
    text = re.sub(r"\\\n#? *", "", path.read_text())
    lines = [re.sub(r"^(# *)?(Command: *)?(\.venv/bin/)?", "", line.strip()) for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if re.match(r"sslkuramoto (train|evaluate) \S+/", line)]


def test_the_readme_names_no_recipe_that_is_not_there() -> None:
    known = {path.stem for path in RECIPES} | {"digits-akorn-xphinet", "digits-resnet18-xphinet"}
    assert set(re.findall(r"`((?:cifar10|digits)-[\w-]+)`", README.read_text())) <= known


def test_a_section_of_the_page_of_objectives_is_about_one_that_exists() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/objectives.md").read_text(), flags=re.MULTILINE)
    assert len(sections) >= 8
    assert set(sections) <= set(OBJECTIVES)


def test_the_page_of_evaluation_explains_protocols_that_exist() -> None:
    text = (ROOT / "docs/evaluation.md").read_text()
    text = (ROOT / "docs/evaluation.md").read_text().partition("## The protocols")[2].partition("\n## ")[0]
    named = re.findall(r"\*\*([\w-]+)\*\*", text)
    assert len(named) > 10
    assert set(named) <= {path.stem for path in PROTOCOLS}


def test_the_page_of_plug_ins_names_the_group_of_every_registry() -> None:
    text = (ROOT / "docs/plugins.md").read_text()
    assert [registry.group for registry in REGISTRIES if f'"{registry.group}"' not in text] == []


@pytest.mark.parametrize("cls", [Recipe, Measure, Engine, WeightEMA])
def test_the_page_of_recipes_names_every_key_with_its_default(cls: type) -> None:
    text = (ROOT / "docs/recipes.md").read_text()
    for field in dataclasses.fields(cls):
        if cls is WeightEMA:
            assert f"`{field.name}` ({field.default}" in text
            continue
        if field.name in ("measure", "engine"):
            assert f"of `{field.name}`" in text
            continue
        row = re.search(rf"^\| `{field.name}` \| ([^|]*) \|", text, flags=re.MULTILINE)
        assert row, f"{cls.__name__}.{field.name} has no row"
        plain = {None: "null", (): "[]", False: "false"}
        default = field.default
        if isinstance(default, int | float | str | bool | None) or default == ():
            written = row[1].rpartition(", ")[2].strip('"')
            assert written == str(plain.get(default, default) if default != 0 or default is False else default)


def test_the_minimal_loop_is_shown_word_for_word() -> None:
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs/minimal-loop.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert block == (ROOT / "docs/minimal_loop.py").read_text()


def test_the_minimal_loop_runs_and_leaves_an_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = runpy.run_path(str(ROOT / "docs/minimal_loop.py"))
    out = tmp_path / "encoder.safetensors"
    loop["main"](["--epochs", "1", "--images", "40", "--batch-size", "20", "--draws", "2", "--out", str(out)])
    assert "epoch 1/1  loss" in capsys.readouterr().out
    encoder = load_encoder(out)
    assert encoder(torch.rand(1, 3, 16, 16), draw=torch.Generator()).pooled.shape == (1, encoder.num_features)


def test_the_minimal_loop_takes_the_steps_it_says_and_repeats_itself() -> None:
    loop = runpy.run_path(str(ROOT / "docs/minimal_loop.py"))
    runs = [
        loop["pretrain"](epochs=1, batch_size=20, images=40, seed=seed, learning_rate=1e-3)[1] for seed in (0, 0, 1)
    ]
    assert [len(losses) for losses in runs] == [2, 2, 2]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_point_to_files_that_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_recipes_protocols_and_keys_that_exist(path: Path) -> None:
    protocols = {file.stem for file in PROTOCOLS}
    for _, act, target, *rest in commands(path):
        if act == "evaluate":
            assert {word for word in rest if "=" not in word and not word.startswith("-")} <= protocols
            continue
        options = {rest[i]: rest[i + 1] for i, word in enumerate(rest) if word in ("--run", "--init")}
        words = [word for word in rest if word not in {*options, *options.values(), "--check"}]
        if any("chanels" in word for word in words):
            continue  # shows the answer to a misspelt key
        if target == "recipes/digits-akorn-xphinet.yaml" and not (ROOT / target).exists():
            continue
        check(load_recipe(ROOT / target, [*words, *(["init=null"] if "--init" in options else [])]))


def test_there_are_commands_to_check() -> None:
    assert len(commands(README)) >= 8
    assert all(commands(path) for path in RECIPES)


def test_the_examples_of_the_page_of_plug_ins_are_members_with_options_that_mean_something() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/plugins.md").read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    kinds = {
        "objective": "MyObjective", "encoder": "MyEncoder", "attack": "MyAttack", "protocol": "MyProtocol",
        "data": "my_data", "views": "my_views", "optimizer": "my_optimizer", "schedule": "Halved",
        "head": "MyHead", "plant": "my_plant",
    }  # fmt: skip
    assert set(kinds) == {registry.kind for registry in REGISTRIES}
    for kind, name in kinds.items():
        found: Registry[Any] = Registry(kind, "none")
        found.add("mine", names[name])
        found.check("mine", {"lr": 1.0} if kind == "optimizer" else {})
    encoder = names["MyEncoder"](width=4)
    objective = names["MyObjective"](encoder, projector=Projector(hidden=4, out=4))
    images = torch.rand(4, 3, 8, 8)
    assert objective(encoder, {"a": images, "b": images}).loss.isfinite()
    assert len(names["my_data"]("train")) == 20
    first, again, test = (names["my_data"](split).fingerprint for split in ("train", "train", "test"))
    assert first == again, "a run is resumed and measured on the images that it was trained on"
    assert first != test
