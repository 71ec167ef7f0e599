"""Scenes in npz files, one a split: Multi-Object Datasets as converted for AKOrN and others, and scenes of your own.

``DATASET_{train,val,test,eval}.npz`` holds ``images`` (n 3 y x or n 1 y x: floats in [0,1] or uint8) and ``labels``
(n y x or n 1 y x: whole numbers; 0 background, -1 ignored), and may hold ``pixelwise_class_labels`` in the same form:
classes of objects. Source: Kabra et al. 2019, https://github.com/google-deepmind/multi_object_datasets.

Shapes: n scenes, y x pixels.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.lib import format as npy
from torch import Tensor

from sslkuramoto.data.images.readers import ArraySamples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, SplitSeed
from sslkuramoto.data.scenes.scene_set import (
    IGNORED,
    MOST_OBJECTS,
    ArrayMasks,
    SceneSet,
    chosen_scenes,
)
from sslkuramoto.errors import UserError, one_line
from sslkuramoto.examples import CLASSES, INSTANCES
from sslkuramoto.files import at_home
from sslkuramoto.values import Count, Mark, Must, Place, Side, checked

PARTS = ("train", "val", "test")
_MASKS = {"labels": INSTANCES, "pixelwise_class_labels": CLASSES}
_AT_ONCE = 2**24  # bytes of a member that are converted at once
_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
_DAMAGE += (MemoryError, SyntaxError)

Plain = Annotated[
    str, Must("a plain name, such as clevr", lambda name: name not in ("", ".", "..") and "/" not in name)
]


@checked
def multi_object_npz(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    dataset: Plain,
    test_file: Literal["test", "eval"] = "test",
    size: Side | None = None,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: SplitSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> SceneSet:
    """Return scenes with masks from npz files, such as CLEVR, Multi-dSprites and Tetrominoes, or your own.

    Args:
        split: "train", "val" or "test".
        root: folder with ``DATASET_train.npz``, ``DATASET_val.npz`` and ``DATASET_test.npz``, as far as they are used.
        dataset: first part of the names of the files, such as clevr, dsprites or tetrominoes.
        test_file: which file is the split "test": "test" (320 scenes as published) or "eval" (64).

    Raises:
        UserError: no such file, a damaged one, pixels out of range, or images and masks that do not match.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    files = {part: at_home(root) / f"{dataset}_{test_file if part == 'test' else part}.npz" for part in PARTS}
    part = choice.part(split, tuple(part for part in PARTS if files[part].is_file()) or PARTS, f"root={root}")
    path = files[part]
    if not path.is_file():
        raise UserError(f"root={root}, dataset={dataset}: no file {path.name}")
    images, layers, kinds = read_scenes(path)
    samples = ArraySamples(images, None, None, str(path))
    return chosen_scenes("multi_object_npz", split, part, samples, ArrayMasks(layers, kinds), choice)


def read_scenes(
    path: Path,
) -> tuple[UInt8[Tensor, "n 3 y x"], UInt8[Tensor, "n m y x"], tuple[str, ...]]:
    """Return images, masks and the kinds of masks of a file; pickles are never opened.

    Raises:
        UserError: it is damaged, lacks something, or holds other values or arrays that do not match.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            if lacking := sorted({"images", "labels"} - names):
                raise UserError(f"{path}: lacks the array {lacking[0]!r}; has {', '.join(sorted(names)) or 'none'}")
            images = _images(archive, path)
            kinds = tuple(name for name in _MASKS if name in names)
            layers = [_masks(archive, path, name) for name in kinds]
    except UserError:
        raise
    except _DAMAGE as error:
        raise UserError(f"{path}: damaged, or no npz file: {one_line(error) or type(error).__name__}") from None
    for name, each in zip(kinds, layers, strict=True):
        if each.shape != (len(images), *images.shape[2:]):
            raise UserError(f"{path}: images of shape {images.shape} and {name} of {each.shape} do not match")
    return torch.from_numpy(images), torch.from_numpy(np.stack(layers, axis=1)), tuple(_MASKS[name] for name in kinds)


def _images(archive: zipfile.ZipFile, path: Path) -> np.ndarray:
    with archive.open("images.npy") as stream:
        shape, kind = _header(archive, "images", stream, path)
        if len(shape) != 4 or shape[1] not in (1, 3) or not shape[0]:
            raise UserError(f"{path}: images of shape {shape}: must be (n, 3, y, x) or (n, 1, y, x)")
        if kind != np.uint8 and kind.kind != "f":
            raise UserError(f"{path}: images of type {kind}: must be floats in [0,1] or uint8")
        out = np.empty((shape[0], 3, *shape[2:]), dtype=np.uint8)
        for start, block in _blocks(stream, shape, kind):
            if kind != np.uint8:
                if not (block.min() >= 0 and block.max() <= 1):  # also nan
                    raise UserError(f"{path}: images hold values outside [0,1]")
                block = np.rint(255 * block.astype(np.float64))
            out[start : start + len(block)] = block
    return out


def _masks(archive: zipfile.ZipFile, path: Path, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as stream:
        shape, kind = _header(archive, name, stream, path)
        flat = shape if len(shape) == 3 else (shape[0], *shape[2:]) if len(shape) == 4 and shape[1] == 1 else ()
        if not flat:
            raise UserError(f"{path}: {name} of shape {shape}: must be (n, y, x) or (n, 1, y, x)")
        if kind.kind not in "iufb":
            raise UserError(f"{path}: {name} of type {kind}: must be whole numbers")
        out = np.empty(shape, dtype=np.uint8)
        for start, block in _blocks(stream, shape, kind):
            if not (block.min() >= -1 and block.max() <= MOST_OBJECTS) or (block != np.floor(block)).any():
                raise UserError(f"{path}: {name} hold values that are no whole numbers from -1 to {MOST_OBJECTS}")
            out[start : start + len(block)] = np.where(block < 0, IGNORED, block)
    return out.reshape(flat)


def _header(archive: zipfile.ZipFile, name: str, stream: Any, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of an array, if the file holds as many bytes as they say."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, kind = read(stream)
    if kind.hasobject:
        raise UserError(f"{path}: {name} holds Python objects, which are never opened")
    if by_columns and len(shape) > 1:
        raise UserError(f"{path}: {name} is stored by columns; save np.ascontiguousarray of it")
    held = archive.getinfo(f"{name}.npy").file_size - stream.tell()
    if min(shape, default=1) < 1 or held != int(np.prod(shape, dtype=object)) * kind.itemsize:
        raise UserError(f"{path}: {name} of shape {shape} is cut off or empty")
    return shape, kind


def _blocks(stream: Any, shape: tuple[int, ...], kind: np.dtype):
    """Yield the first place and the values of consecutive blocks of an array."""
    one = int(np.prod(shape[1:])) * kind.itemsize
    step = max(1, _AT_ONCE // one)
    for start in range(0, shape[0], step):
        count = min(step, shape[0] - start)
        content = stream.read(count * one)
        if len(content) < count * one:
            raise EOFError("cut off")
        yield start, np.frombuffer(content, dtype=kind).reshape(count, *shape[1:])
