"""Tiny folders and zips of real image files, written where a test runs."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkuramoto.randomness import seed_of

Write = Callable[[Path, Mapping[str, tuple[int, int]]], Path]


def image_of(name: str, width: int, height: int) -> Image.Image:
    """Return an image whose pixels depend on its name alone."""
    pixels = np.random.default_rng(seed_of(name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def write_tree() -> Write:
    """Return ``write(root, {name: (width, height)})``, which makes a folder tree of images."""

    def write(root: Path, images: Mapping[str, tuple[int, int]]) -> Path:
        for name, (width, height) in images.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            image_of(name, width, height).save(root / name)
        return root

    return write


@pytest.fixture
def tree(tmp_path: Path, write_tree: Write) -> Path:
    """A tree of {train: 12, test: 6} images of three classes, 8x8."""
    names = {f"train/{label}/{i}.png": (8, 8) for label in ("ant", "bee", "cat") for i in range(4)}
    names |= {f"test/{label}/{i}.png": (8, 8) for label in ("ant", "bee", "cat") for i in range(2)}
    return write_tree(tmp_path / "tree", names)


def zip_of(folder: Path, path: Path, top: str = "") -> Path:
    """Pack ``folder`` below the folder ``top`` of a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{top}{file.relative_to(folder).as_posix()}")
    return path


@pytest.fixture
def pack() -> Callable[..., Path]:
    """Return :func:`zip_of`."""
    return zip_of
