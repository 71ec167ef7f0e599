"""Under pytest shapes and types are checked in the rooms that do mathematics (shapes.py); a worker has one thread."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

from jaxtyping import install_import_hook

SEARCHES = gc.get_threshold()
gc.set_threshold(50_000, 50, 100)  # seldom during imports and collection, whose objects stay

ROOMS = (
    *("data", "views", "dynamics", "encoders", "objectives"),
    *("classifier", "noise_draws", "attacks", "evaluation"),
)
install_import_hook([f"sslkuramoto.{room}" for room in ROOMS], "shapes.first_calls")  # before any of them is imported

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors lose time on several; processes started by tests too

import torch  # noqa: E402

torch.set_num_threads(1)
os.fsync = os.fstat  # no test cuts the power; to wait for the disk takes milliseconds, a bad handle is still refused

from functools import cache  # noqa: E402
from pathlib import Path  # noqa: E402
from zlib import crc32  # noqa: E402

import pytest  # noqa: E402
from shapes import check_again  # noqa: E402
from small_runs import recipe_file, small  # noqa: E402

from sslkuramoto import run_directory  # noqa: E402
from sslkuramoto.cli import main  # noqa: E402
from sslkuramoto.recipe import Recipe  # noqa: E402
from sslkuramoto.study import model  # noqa: E402
from sslkuramoto.training import train  # noqa: E402

run_directory.version = cache(run_directory.version)  # of seven packages, whose files each run reads again


def remembered(read: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Return what reads a recipe, but the same text with the same changes once: that took a quarter of a study."""
    known: dict[tuple[bytes | str, ...], Recipe] = {}

    def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
        try:
            key = (path.read_bytes(), *overrides)
        except OSError:
            return read(path, overrides)
        if key not in known:
            known[key] = read(path, overrides)
        return deepcopy(known[key])

    return load


run_directory.load_recipe = remembered(run_directory.load_recipe)
model.load_recipe = remembered(model.load_recipe)


def pytest_collection_finish() -> None:
    """Search for garbage as often as usual again."""
    gc.set_threshold(*SEARCHES)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed what a test draws by its name, not by the tests before it; fixtures that tests share are left out."""
    torch.manual_seed(crc32(item.nodeid.encode()))
    leave_modules_out()


frozen_modules = 0


def leave_modules_out() -> None:
    """Exclude modules from the search for garbage, also those that a test imports first.

    To search them took a tenth of the time. The search here takes a tenth of a second and is made for a hundred modules
    or more, so at most a few dozen times.
    """
    global frozen_modules
    if len(sys.modules) > frozen_modules + 100:
        frozen_modules = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def shapes_checked_again() -> Iterator[None]:
    check_again()
    yield
    check_again()  # for fixtures of the next test that are made before this one


@pytest.fixture
def recipe(tmp_path) -> str:
    return recipe_file(tmp_path / "recipe.yaml")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished pretraining run."""
    data = {"name": "digits", "limit": 48, "limit_test": 30}
    return train(small(epochs=1, data=data), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def fails(tmp_path, capsys, monkeypatch):
    """Assert that a command fails with one line and leaves no file; return the line."""
    monkeypatch.chdir(tmp_path)

    def check(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert main(list(arguments)) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("sslkuramoto: ")
        assert captured.err.count("\n") == 1, captured.err
        assert sorted(tmp_path.rglob("*")) == before
        return captured.err

    return check
