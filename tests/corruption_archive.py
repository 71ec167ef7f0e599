"""An archive in the format of CIFAR-10-C, small, made of any image set."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from sslkuramoto.data import ImageSet, batches
from sslkuramoto.evaluation.corruptions import CORRUPTIONS, ImageDraws, corrupted


def write_archive(folder: Path, images: ImageSet, names: Iterable[str] = tuple(CORRUPTIONS)) -> Path:
    """Write our own corruptions of a split, with the noise of corruption seed 0, and return the folder."""
    assert images.labels is not None
    folder.mkdir(parents=True, exist_ok=True)
    index = torch.arange(len(images))
    (pixels,) = (batch.inputs for batch in batches(images, [index], device="cpu"))
    for name in names:
        blocks = [
            corrupted(name, pixels, severity, ImageDraws(index, "cpu", "corruptions", 0, name))
            for severity in range(1, 6)
        ]
        levels = (torch.cat(blocks) * 255).round().to(torch.uint8)
        np.save(folder / f"{name}.npy", levels.permute(0, 2, 3, 1).numpy())
    np.save(folder / "labels.npy", np.tile(images.labels.numpy().astype(np.uint8), 5))
    return folder
