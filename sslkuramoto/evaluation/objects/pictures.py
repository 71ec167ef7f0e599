"""What is stored of a few scenes beside a result, for pictures.

Shapes: m stored images, s side of the images, h w grid of the map.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.evaluation.objects.clustering import principal
from sslkuramoto.files import write_atomically

ENDING = ".objects.safetensors"
"""Of the file's name, after that of the result."""


def colours_of(grid: Float[Tensor, "c h w"]) -> Float[Tensor, "3 h w"]:
    """Return the first three principal components of a map's unit tokens, each over [0,1]: red, green, blue."""
    tokens = F.normalize(grid.double().flatten(1), dim=0).T.numpy()
    found = principal(tokens, 3)
    found = np.pad(found, ((0, 0), (0, 3 - found.shape[1])))
    low, high = found.min(axis=0), found.max(axis=0)
    scaled = (found - low) / np.where(high > low, high - low, 1)
    return torch.from_numpy(scaled.T.reshape(3, *grid.shape[1:]).copy()).float()


def store_scenes(
    path: Path,
    index: Int64[Tensor, " m"],
    images: Float[Tensor, "m 3 s s"],
    masks: Int64[Tensor, "m s s"],
    clusters: Int64[Tensor, "m s s"],
    colours: Float[Tensor, "m 3 h w"],
) -> None:
    """Write the file.

    Args:
        path: safetensors.
        index: place of each image in its set.
        images: pixels in [0, 1].
        masks: objects, 0 background, -1 not counted.
        clusters: of one draw, from 0.
        colours: of the map of that draw (:func:`colours_of`).
    """
    tensors = {"index": index, "images": images, "masks": masks, "clusters": clusters, "colours": colours}
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
