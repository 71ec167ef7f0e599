"""The handwritten digits of scikit-learn: 1,797 grey images of 8x8 pixels in ten classes, without a download.

Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
Their grey levels are 0..16; a pixel is round(255 * level / 16) / 255, which is within 0.002 of level / 16.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.image_set import ImageSet, own_side
from sslkuramoto.data.images.readers import ArraySamples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, UnseenSeed, proportional
from sslkuramoto.errors import UserError
from sslkuramoto.files import of_package
from sslkuramoto.values import Count, Mark, Side, checked, small

FILE = "datasets/data/digits.csv.gz"  # of scikit-learn: one line an image, 64 grey levels and the class
TEST_IMAGES = 360  # a fifth


@own_side(8)
@small(limit=60, limit_test=30)
@checked
def digits(
    split: str,
    *,
    size: Side | None = None,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: UnseenSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return handwritten digits: 1,437 images for training and 360 for testing, stratified by class.

    Args:
        split: "train", "val" (with ``holdout``) or "test".
        size: side of the images in pixels (null: 8, their own; other sizes are interpolated bilinearly).
        split_seed: seed of the split into training and test images, of limits and of the holdout.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    part = choice.part(split, ("train", "test"), "the digits data")
    file = of_package("sklearn", FILE)
    if file is None or not file.is_file():
        raise UserError(f"data.name=digits: the installed scikit-learn holds no {FILE}; version 1.9 does")
    table = _table(file)
    pixels, targets = table[:, :-1].view(-1, 1, 8, 8).mul(255 / 16).round().to(torch.uint8), table[:, -1].long()
    order = proportional(len(targets), targets, seed=split_seed, key="digits test", lower_class_first=True)
    rows = (order[:TEST_IMAGES] if part == "test" else order[TEST_IMAGES:]).sort().values
    images = pixels[rows].expand(-1, 3, -1, -1).contiguous()
    samples = ArraySamples(images, targets[rows], tuple("0123456789"), f"digits {part}")
    return assemble("digits", split, part, samples, choice)


@cache
def _table(file: Path) -> Tensor:
    """Return the lines of scikit-learn's file, read once in a process (numpy takes 40 ms) and not to be changed."""
    return torch.from_numpy(np.loadtxt(file, delimiter=","))
