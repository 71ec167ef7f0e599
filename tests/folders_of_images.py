"""Reading folders of images in tests: the images, or the one line that refuses them."""

from pathlib import Path

import pytest
import torch

from sslkuramoto.data import DATA, ImageSet, batches, in_order
from sslkuramoto.errors import UserError


def build(root: Path, split: str = "train", **options: object) -> ImageSet:
    return DATA.build("image_folder", {"root": str(root), **options}, split)


def images_of(data: ImageSet) -> torch.Tensor:
    return torch.cat([batch.inputs for batch in batches(data, in_order(len(data), 64), device="cpu")])


def fault(root: Path, split: str = "train", **options: object) -> str:
    with pytest.raises(UserError) as caught:
        build(root, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
