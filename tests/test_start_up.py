"""What a command imports before it does anything: a library that is not needed costs every user seconds."""

import gc
import re
import subprocess
import sys
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


RECIPES = (
    *("sudoku4-akorn", "sudoku4-winfree", "digits-winfree-supervised", "cifar10-akorn-supervised"),
    *("same-different-relational", "digits-akorn-simclr", "cifar10-akorn-byol-200"),
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Carry out commands in one process, what may import least first; return all that it has imported after each."""
    place = tmp_path_factory.mktemp("start")
    (place / "run" / "results").mkdir(parents=True)
    (place / "run" / "metrics.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    run, root = quote(str(place / "run")), quote(str(place / "root"))
    light = ("--help", "evaluate --help", "list", "list recipes", "list protocols")
    lists = ("list encoders", "list objectives simclr", "list protocols knn")
    pages = (f"report {run}", f"report {run} --html {run}.html", f"study sudoku4-small --dry-run --root {root}")
    commands = [*light, *lists, *pages, *(f"train {name} --check" for name in RECIPES)]
    done = subprocess.run([sys.executable, "-c", CODE, *commands], capture_output=True, text=True, check=True)
    found = [{*line.split()} for line in done.stderr.splitlines() if line.startswith("imported ")]
    names = [*light, *lists, "table", "page", "study", *RECIPES]
    return dict(zip(names, found, strict=True))


def test_help_and_lists_of_files_load_neither_torch_nor_numpy(loaded):
    assert not {"torch", "numpy", "matplotlib", *HEAVY} & loaded["list protocols"]


def test_lists_of_members_load_torch_and_no_library_of_training(loaded):
    found = loaded["list protocols knn"]
    assert "torch" in found
    assert not {"matplotlib", *HEAVY} & found


def test_a_check_of_recipes_loads_neither_the_compiler_of_torch_nor_a_library_of_training(loaded):
    found = loaded[RECIPES[-1]]
    assert "sslkuramoto.encoders.board_inputs" in loaded["study"]
    assert {
        *("sslkuramoto.encoders.relational", "sslkuramoto.views.eight_bit"),
        *("sslkuramoto.data.images.cifar", "sslkuramoto.objectives.projector"),
    } <= found
    assert not {"torch._dynamo", "torchvision", "timm", "lightly", "lightning_fabric"} & found


def test_no_objective_loads_lightly_which_loads_timm():
    sources = {file.name: file.read_text() for file in (PACKAGE / "objectives").glob("*.py")}
    assert "simclr.py" in sources
    assert [name for name, text in sources.items() if re.search(r"^ *(from|import) (lightly|timm)", text, re.M)] == []


def test_a_table_of_runs_loads_nothing_that_trains_measures_or_draws(loaded):
    found = loaded["table"]
    assert "sslkuramoto.evaluation.representation.clustering" in found, "every protocol says which columns it fills"
    assert not {"matplotlib", "scipy", "torch._dynamo", *HEAVY} & found


def test_a_page_on_runs_loads_nothing_that_trains_or_measures(loaded):
    found = loaded["page"]
    assert {"matplotlib", "sslkuramoto.report.scenes"} <= found
    assert not {"scipy", "matplotlib.pyplot", "torch._dynamo", *HEAVY} & found


def test_a_command_leaves_the_collector_of_garbage_as_it_was(capsys):
    before = gc.get_threshold()
    assert main(["list"]) == 0
    assert main(["report", "nothing-there"]) == 2
    assert main(["study", "nothing-there"]) == 2
    assert (gc.isenabled(), gc.get_threshold()) == (True, before)
