"""The first pages of the documentation work as they stand, and every cited paper is in the bibliography."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from house_files import PROTOCOLS, ROOT

import sslkuramoto as sk
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.objectives import Objective
from sslkuramoto.recipe import load_recipe
from sslkuramoto.registry import Registry
from sslkuramoto.study import load_study
from sslkuramoto.training.optimizer import OPTIMIZERS
from sslkuramoto.views import VIEWS

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SOURCES = [file for room in ("sslkuramoto", "eval", "recipes") for file in (ROOT / room).rglob("*")]
CITING = [*PAGES, *(file for file in SOURCES if file.suffix in (".py", ".yaml"))]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def test_the_ten_lines_on_a_network_of_ones_own_run(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    (code, function) = blocks("start/own-network.md", "python")
    names: dict[str, Any] = {}
    exec(code.replace("[:64]", "[:4]"), names)
    assert isinstance(names["robust"], sk.Measured)
    assert "nothing to audit" in capsys.readouterr().out  # its weights are random
    exec(function, names)
    assert isinstance(names["build"](), torch.nn.Module)


def test_the_five_commands_on_images_of_ones_own_name_what_exists() -> None:
    (block,) = blocks("start/own-images.md", "bash")
    commands = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]
    assert [words[1] for words in commands] == ["train", "evaluate", "evaluate", "evaluate", "report"]
    _, _, recipe, *rest = commands[0]
    loaded = load_recipe(ROOT / f"recipes/{recipe}.yaml", [word for word in rest if "=" in word])
    DATA.check(loaded.data.name, loaded.data.options)
    protocols = {path.stem for path in PROTOCOLS}
    assert {word for words in commands[1:4] for word in words[3:]} <= protocols


def test_the_three_files_of_an_objective_of_ones_own_fit_together() -> None:
    (module,) = blocks("start/own-objective.md", "python")
    (project,) = blocks("start/own-objective.md", "toml")
    recipe = yaml.safe_load(blocks("start/own-objective.md", "yaml")[0])
    names: dict[str, Any] = {}
    exec(module, names)
    points = tomllib.loads(project)["project"]["entry-points"]["sslkuramoto.objectives"]
    name = recipe["objective"].pop("name")
    member = names[points[name].partition(":")[2]]
    found: Registry[Objective] = Registry("objective", "none")
    found.add(name, member)
    for section, registry in (("encoder", ENCODERS), ("views", VIEWS), ("optimizer", OPTIMIZERS), ("data", DATA)):
        part = recipe[section]
        registry.check(part.pop("name"), part)
    encoder = ENCODERS.build("timm", {"model": "resnet18"})
    objective = found.build(name, recipe["objective"], encoder, None)
    step = objective(encoder, {view: torch.rand(4, 3, 32, 32) for view in member.views})
    assert step.loss.isfinite()
    assert step.features.shape == (4, encoder.num_features)


def test_the_study_of_ones_own_loads(tmp_path: Path) -> None:
    (text,) = blocks("studies.md", "yaml")
    file = tmp_path / "mypaper.yaml"
    file.write_text(text)
    assert [*load_study(file).rows] == ["simsiam", "simclr", "theirs"]


def test_every_cited_paper_is_in_the_bibliography() -> None:
    known = set(re.findall(r"\d{4}\.\d{5}", (DOCS / "bibliography.md").read_text()))
    cited = {
        number: path.relative_to(ROOT)
        for path in CITING
        for number in re.findall(r"(?:arXiv[: ]*|\()(\d{4}\.\d{5})\b", path.read_text())
    }
    assert {number: path for number, path in cited.items() if number not in known} == {}


def test_the_glossary_defines_a_term_once() -> None:
    terms = re.findall(r"^(?![#:])(\S[^\n]*)\n {2}\S", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(terms) > 50
    assert len(set(terms)) == len(terms)
