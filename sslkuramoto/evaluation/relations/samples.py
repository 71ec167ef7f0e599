"""What is stored of a few examples beside a result, for pictures: images, targets and the last states of oscillators.

Shapes: m stored examples, p images per example, s side of the images, d oscillators of an object, n dimension.
"""

from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64
from safetensors.torch import save
from torch import Tensor

from sslkuramoto.files import write_atomically

ENDING = ".relations.safetensors"
"""Of the file's name, after that of the result."""


def chosen_samples(same: Bool[Tensor, " n"], number: int) -> Int64[Tensor, " m"]:
    """Return the places of the first ``number`` examples of each kind, those of "same" first."""
    return torch.cat([kind.nonzero().flatten()[:number] for kind in (same, ~same)])


def store_samples(
    path: Path,
    index: Int64[Tensor, " m"],
    images: Float[Tensor, "m p 3 s s"],
    targets: Int64[Tensor, " m"],
    states: Float[Tensor, "m 2 d n"] | None,
) -> None:
    """Write the file.

    Args:
        path: safetensors.
        index: place of each example in its set.
        images: pixels in [0, 1].
        targets: what is right.
        states: the oscillators of both objects after the last step of one draw; None without oscillators.
    """
    tensors = {"index": index, "images": images, "targets": targets}
    if states is not None:
        tensors["states"] = states.float().cpu()
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
