"""What a command imports before it does anything: a library that is not needed costs every user seconds."""

import gc
import re
import subprocess
import sys
from pathlib import Path
from shlex import quote

import pytest

from sslkuramoto.cli import main
from sslkuramoto.sources import PACKAGE

HEAVY = {"lightly", "timm", "kornia", "torchvision", "lightning_fabric", "sklearn", "scipy.stats", "torchmetrics"}
CODE = """
import shlex, sys
from sslkuramoto.cli import main
for command in sys.argv[1:]:
    try:
        assert main(shlex.split(command)) == 0, command
    except SystemExit as end:
        assert end.code == 0, command
    print("imported", *sys.modules, file=sys.stderr)
"""


def loaded_by(*commands: str) -> list[set[str]]:
    """Carry out commands in one process; return the modules that it has imported after each."""
    run = subprocess.run([sys.executable, "-c", CODE, *commands], capture_output=True, text=True, check=True)
    return [{*line.split()} for line in run.stderr.splitlines() if line.startswith("imported ")]


def loaded(*commands: str) -> set[str]:
    """Return the modules that all commands together import."""
    *_, last = loaded_by(*commands)
    return last


def test_help_and_lists_of_files_load_neither_torch_nor_numpy():
    commands = "--help", "evaluate --help", "list", "list recipes", "list protocols"
    assert not {"torch", "numpy", "matplotlib", *HEAVY} & loaded(*commands)


def test_lists_of_members_load_torch_and_no_library_of_training():
    found = loaded("list encoders", "list objectives simclr", "list protocols knn")
    assert "torch" in found
    assert not {"matplotlib", *HEAVY} & found


def test_a_check_of_recipes_loads_neither_the_compiler_of_torch_nor_a_library_of_training(tmp_path):
    recipes = (
        *("sudoku4-akorn", "sudoku4-winfree", "digits-winfree-supervised", "cifar10-akorn-supervised"),
        *("same-different-relational", "digits-akorn-simclr", "cifar10-akorn-byol-200"),
    )
    study = f"study sudoku4-small --dry-run --root {quote(str(tmp_path))}"
    first, *_, found = loaded_by(study, *(f"train {name} --check" for name in recipes))
    assert "sslkuramoto.encoders.board_inputs" in first
    assert {
        *("sslkuramoto.encoders.relational", "sslkuramoto.views.eight_bit"),
        *("sslkuramoto.data.images.cifar", "sslkuramoto.objectives.projector"),
    } <= found
    assert not {"torch._dynamo", "torchvision", "timm", "lightly", "lightning_fabric"} & found


def test_no_objective_loads_lightly_which_loads_timm():
    sources = {file.name: file.read_text() for file in (PACKAGE / "objectives").glob("*.py")}
    assert "simclr.py" in sources
    assert [name for name, text in sources.items() if re.search(r"^ *(from|import) (lightly|timm)", text, re.M)] == []


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "run" / "results").mkdir(parents=True)
    (tmp_path / "run" / "metrics.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    return quote(str(tmp_path / "run"))


def test_a_table_of_runs_loads_nothing_that_trains_measures_or_draws(folder: str):
    found = loaded(f"report {folder}")
    assert "sslkuramoto.evaluation.representation.clustering" in found, "every protocol says which columns it fills"
    assert not {"matplotlib", "scipy", "torch._dynamo", *HEAVY} & found


def test_a_page_on_runs_loads_nothing_that_trains_or_measures(folder: str):
    found = loaded(f"report {folder} --html {folder}.html")
    assert {"matplotlib", "sslkuramoto.report.scenes"} <= found
    assert not {"scipy", "matplotlib.pyplot", "torch._dynamo", *HEAVY} & found


def test_a_command_leaves_the_collector_of_garbage_as_it_was(capsys):
    before = gc.get_threshold()
    assert main(["list"]) == 0
    assert main(["report", "nothing-there"]) == 2
    assert main(["study", "nothing-there"]) == 2
    assert (gc.isenabled(), gc.get_threshold()) == (True, before)
