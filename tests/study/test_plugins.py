"""Members of other packages: a study makes anew what their changed sources decide, and nothing else."""

import json
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.cli import main
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.audit.plants import PLANTS
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.recipe import recipe_file
from sslkuramoto.registry import registry_of
from sslkuramoto.sources import package_code
from sslkuramoto.study import plan_study
from sslkuramoto.study.plan import Plan

MEMBERS = {
    "objective": ("sslkuramoto.objectives.simclr", "SimCLR"),
    "encoder": ("sslkuramoto.encoders.akorn", "AKOrN"),
    "views": ("sslkuramoto.views.simclr", "simclr"),
    "data": ("sslkuramoto.data.images.digits", "digits"),
    "optimizer": ("sslkuramoto.training.optimizer", "adam"),
    "schedule": ("sslkuramoto.training.schedule", "Constant"),
    "attack": ("sslkuramoto.attacks.pgd", "Pgd"),
    "protocol": ("sslkuramoto.evaluation.classification.clean", "Clean"),
    "plant": ("sslkuramoto.evaluation.audit.plants.logits", "quantised"),
}
MEASURED, PLANT = ("attack", "protocol", "plant"), "their_plant"
ROBUST: dict[str, Any] = {"protocol": "robustness", "metric": "robust_accuracy"}


def registry(kind: str) -> Any:
    """Return the registry of a kind of member."""
    return {"attack": ATTACKS, "protocol": PROTOCOLS, "plant": PLANTS}.get(kind) or registry_of(kind)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that adds a member of each kind and calls a module of its own; all but the plant are 'theirs'."""
    folder = tmp_path / "site" / "theirs"
    folder.mkdir(parents=True)
    lines = [f"from {module} import {name} as {kind}" for kind, (module, name) in MEMBERS.items()]
    (folder / "__init__.py").write_text("\n".join(lines))
    (folder / "maths.py").write_text("SCALE = 1.0\n")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)  # of the test before
    for kind in MEMBERS:
        members = registry(kind)
        name = PLANT if kind == "plant" else "theirs"
        point = EntryPoint(name, f"theirs:{kind}", members.group)
        monkeypatch.setattr(members, "_members", dict(members._members))
        monkeypatch.setattr(members, "_plugins", {name: point})
    yield folder
    package_code.cache_clear()


def test_a_changed_module_of_a_plug_in_changes_the_keys_of_what_names_the_plug_in(
    study, package: Path, tmp_path: Path
) -> None:
    trained = [kind for kind in MEMBERS if kind not in MEASURED]
    changes: dict[str, Any] = {
        "columns__attacked": {**ROBUST, "set": {"attacks": [{"name": "theirs"}]}},
        "columns__robust": {**ROBUST, "set": {"attacks": [{"name": "pgd"}]}},
        "columns__measured": {"protocol": "theirs", "metric": "accuracy"},
        "columns__audited": {"protocol": "audit-quick", "metric": "lowest", "set": {"plant": PLANT}},
    }
    for kind in trained:
        recipe = yaml.safe_load(recipe_file("digits-akorn-simclr").read_text())
        recipe[kind]["name"] = "theirs"
        (tmp_path / f"{kind}.yaml").write_text(json.dumps(recipe))
        stages = [{"recipe": str(tmp_path / f"{kind}.yaml")}, {"recipe": "digits-akorn-finetune"}]
        changes[f"rows__{kind}"] = {"train": stages}

    def plan() -> Plan:
        package_code.cache_clear()
        return plan_study(study(**changes), tmp_path / "root")

    before = plan()
    (package / "maths.py").write_text("# a comment\nSCALE = 1.0\n")
    assert plan().tasks.keys() == before.tasks.keys()
    (package / "maths.py").write_text("SCALE = 2.0\n")
    after = plan()
    columns = {"clean", "vote", "knn", "attacked", "robust", "measured", "audited"}
    for row in ("simclr", "steps", *trained):
        moved = {each for each in columns if before.cells[row, each, 0] != after.cells[row, each, 0]}
        assert moved == (columns if row in trained else {"attacked", "measured", "audited"}), row
        kept = before.chains[row, 0] == after.chains[row, 0]
        assert kept == (row not in trained), f"{row}: the others name nothing of the package"


OBJECTIVE = '''
from sslkuramoto.objectives import Step
from sslkuramoto.objectives.simclr import SimCLR
from theirs_maths import SCALE


class Theirs(SimCLR):
    """SimCLR, scaled."""

    def forward(self, encoder, views, *, draw=None, labels=None):
        outcome = super().forward(encoder, views, draw=draw, labels=labels)
        return Step(SCALE * outcome.loss, outcome.metrics, outcome.features)
'''


def test_a_study_trains_anew_after_an_objective_of_an_installed_package_has_changed(
    content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    site = tmp_path / "site"
    information = site / "theirs-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "theirs.py").write_text(OBJECTIVE)
    (site / "theirs_maths.py").write_text("SCALE = 1.0\n")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[sslkuramoto.objectives]\ntheirs = theirs:Theirs\n")
    train = [{"recipe": "digits-akorn-simclr", "set": {"objective": "theirs", "objective.projector.hidden": 8}}]
    table = content(rows={"theirs": {"train": train}}, compare=None, columns__clean=None, columns__vote=None)
    (tmp_path / "tiny.yaml").write_text(json.dumps(table))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of two files of one second the first would be used again

    def run() -> str:
        """Run the command as a new process would, which has imported nothing of the package."""
        package_code.cache_clear()
        for module in ("theirs", "theirs_maths"):
            sys.modules.pop(module, None)
        with monkeypatch.context() as patch:
            patch.setattr(OBJECTIVES, "_members", dict(OBJECTIVES._members))
            patch.setattr(OBJECTIVES, "_plugins", None)
            assert main(["study", "tiny.yaml", "--root", "root", "--jobs", "0"]) == 0
        return capsys.readouterr().out

    def losses() -> set[str]:
        return {file.read_text() for file in tmp_path.glob("root/runs/*/metrics.csv")}

    try:
        assert "training runs: 1 to do, 0 of 1 done" in run()
        (site / "theirs_maths.py").write_text("SCALE = 1.0  # one\n")
        assert "nothing to do" in run()
        (site / "theirs_maths.py").write_text("SCALE = 2.0\n")
        assert "training runs: 1 to do, 0 of 1 done" in run()
        assert len(losses()) == 2, "the changed objective was trained, beside the one before"
    finally:
        package_code.cache_clear()
        for module in ("theirs", "theirs_maths"):
            sys.modules.pop(module, None)
