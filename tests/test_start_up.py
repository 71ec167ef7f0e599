"""What a command imports before it does anything: a library that is not needed costs every user seconds."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from sslkuramoto.cli import main

HEAVY = {"lightly", "timm", "kornia", "torchvision", "lightning_fabric", "sklearn", "scipy.stats", "torchmetrics"}
CODE = """
import sys
from sslkuramoto.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""
CHECK_ALL = CODE.replace("main(sys.argv[1:])", "for name in sys.argv[1:]: assert main(['train', name, '--check']) == 0")


def loaded(*arguments: str, code: str = CODE) -> set[str]:
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return {*run.stderr.split()}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["evaluate", "--help"], ["list"], ["list", "recipes"], ["list", "protocols"]],
    ids=" ".join,
)
def test_help_and_lists_of_files_load_neither_torch_nor_numpy(arguments: list[str]):
    assert not {"torch", "numpy", "matplotlib", *HEAVY} & loaded(*arguments)


@pytest.mark.parametrize(
    "arguments", [["list", "encoders"], ["list", "objectives", "simclr"], ["list", "protocols", "knn"]], ids=" ".join
)
def test_lists_of_members_load_torch_and_no_library_of_training(arguments: list[str]):
    found = loaded(*arguments)
    assert "torch" in found
    assert not {"matplotlib", *HEAVY} & found


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "sudoku4-akorn", "--check"],
        ["train", "sudoku4-winfree", "--check"],
        ["study", "sudoku4-small", "--dry-run", "--root"],
    ],
    ids=" ".join,
)
def test_a_check_of_recipes_for_boards_does_not_load_the_compiler_of_torch(arguments: list[str], tmp_path):
    found = loaded(*arguments, *([str(tmp_path)] if arguments[-1] == "--root" else []))
    assert "sslkuramoto.encoders.board_inputs" in found
    assert "torch._dynamo" not in found


def test_a_check_of_recipes_for_images_and_pairs_does_not_load_the_compiler_of_torch_either():
    recipes = ("digits-winfree-supervised", "cifar10-akorn-supervised", "same-different-relational")
    found = loaded(*recipes, code=CHECK_ALL)
    assert {"sslkuramoto.views.eight_bit", "sslkuramoto.data.images.cifar", "sslkuramoto.encoders.relational"} <= found
    assert not {"torch._dynamo", "torchvision", "timm", "lightly", "lightning_fabric"} & found


def test_a_check_of_recipes_with_projectors_does_not_load_lightly():
    recipes = ("digits-akorn-simclr", "cifar10-akorn-byol-200")
    found = loaded(*recipes, code=CHECK_ALL)
    assert "sslkuramoto.objectives.projector" in found
    assert not {"torch._dynamo", "torchvision", "timm", "lightly", "lightning_fabric"} & found


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "run" / "results").mkdir(parents=True)
    (tmp_path / "run" / "metrics.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    return str(tmp_path / "run")


def test_a_table_of_runs_loads_nothing_that_trains_measures_or_draws(folder: str):
    found = loaded("report", folder)
    assert "sslkuramoto.evaluation.representation.clustering" in found, "every protocol says which columns it fills"
    assert not {"matplotlib", "scipy", "torch._dynamo", *HEAVY} & found


def test_a_page_on_runs_loads_nothing_that_trains_or_measures(folder: str):
    found = loaded("report", folder, "--html", f"{folder}.html")
    assert {"matplotlib", "sslkuramoto.report.scenes"} <= found
    assert not {"scipy", "matplotlib.pyplot", "torch._dynamo", *HEAVY} & found


def test_a_command_leaves_the_collector_of_garbage_as_it_was(capsys):
    before = gc.get_threshold()
    assert main(["list"]) == 0
    assert main(["report", "nothing-there"]) == 2
    assert main(["study", "nothing-there"]) == 2
    assert (gc.isenabled(), gc.get_threshold()) == (True, before)
