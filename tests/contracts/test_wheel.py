"""The wheel and the source archive, built here and used outside the checkout."""

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from house_files import ROOT

from sslkuramoto import __version__

pytestmark = pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="the build backend is missing")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return wheel and source archive."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(out)], cwd=ROOT, check=True)
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, source


@pytest.fixture(scope="module")
def installed(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the wheel's content and nothing else."""
    place = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(archives[0]) as wheel:  # what pip does with a pure wheel, --no-deps
        wheel.extractall(place)
    return place


def python(installed: Path, cwd: Path, *words: str) -> list[str]:
    """Return the lines that Python prints in ``cwd``, with the installed package before all of this environment."""
    env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_the_source_archive_holds_what_the_tests_need_and_nothing_of_a_machine(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = ("README.md", "LICENSE", "Makefile", "CITATION.cff", "docs/conf.py", "tests/conftest.py", ".ci/run")
    assert [name for name in files if name not in names] == []
    tops = {name.partition("/")[0] for name in names}
    assert {"recipes", "eval", "scripts", "sslkuramoto", "tests", "docs"} <= tops
    assert tops & {".venv", "runs", "data", "build", "dist", ".git"} == set()


def test_the_wheel_holds_package_recipes_protocols_and_studies_alone(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sslkuramoto"}
    for folder, inside in (
        ("recipes", "recipes"),
        ("eval/protocols", "eval/protocols"),
        ("eval/studies", "eval/studies"),
    ):
        ours = {path.name for path in (ROOT / folder).glob("*.yaml")}
        assert {name.rpartition("/")[2] for name in names if name.startswith(f"sslkuramoto/{inside}/")} == ours
    assert "sslkuramoto/py.typed" in names
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)


COMMANDS = """
import sys
from sslkuramoto.cli import main

small = ["data.limit=16", "data.limit_test=20", "data.size=8", "batch_size=8", "epochs=1", "encoder.channels=4"]
for words in (
    ["list", "recipes"],
    ["list", "protocols"],
    ["train", "digits-akorn-simsiam", *small, "measure.monitor_every=0", "--run", "runs/small"],
    ["evaluate", "runs/small", "knn", "neighbours=5"],
):
    if code := main(words):
        sys.exit(f"{words}: exit code {code}")
print(sys.modules["sslkuramoto"].__file__)
"""


def test_the_installed_command_lists_trains_and_measures_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    (version,) = python(installed, tmp_path, "-m", "sslkuramoto", "--version")
    assert version.split()[-1] == __version__
    *said, where = python(installed, tmp_path, "-c", COMMANDS)
    for shown in ("digits-akorn-simsiam", "robustness-quick", "accuracy"):
        assert shown in "\n".join(said)
    assert (tmp_path / "runs/small/results").is_dir()
    assert where.startswith(str(installed))
