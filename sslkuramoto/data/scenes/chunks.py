"""Generated scenes come in chunks, each from its own generator: the first N are the same however many are made.

Shapes: n images, s side of the images.
"""

from collections.abc import Callable

import torch
from jaxtyping import UInt8
from torch import Tensor

from sslkuramoto.randomness import Key, generator

CHUNK = 500
"""Scenes that are made at once."""


def made_in_chunks(
    make: Callable[[torch.Generator], tuple[UInt8[Tensor, "c 3 s s"], UInt8[Tensor, "c s s"]]], count: int, *key: Key
) -> tuple[UInt8[Tensor, "n 3 s s"], UInt8[Tensor, "n s s"]]:
    """Return ``count`` scenes.

    Args:
        make: makes the images and masks of one chunk of ``CHUNK`` scenes.
        count: n.
        key: chunk number c is made by ``generator("cpu", *key, c)``.
    """
    images, masks = [], []
    for start in range(0, count, CHUNK):
        made = make(generator("cpu", *key, start // CHUNK))
        images.append(made[0][: count - start])
        masks.append(made[1][: count - start])
    return torch.cat(images), torch.cat(masks)
