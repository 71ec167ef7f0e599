"""Filled outlines on a grid of pixels, by the rules of scikit-image.

A pixel belongs to a polygon if its centre is inside, on an edge or on a corner; to a disk if the distance of its centre
from that of the disk is less than the radius.

Shapes: n images, k stamps of an image, q kinds of stamps, a side of a stamp, p colours, y x pixels, s side of images.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor


def polygon(corners: Sequence[tuple[int, int]], side: int) -> Bool[Tensor, "y x"]:
    """Return the pixels of a polygon.

    Args:
        corners: (row, column) of each, in order around the polygon.
        side: of the square grid, pixels.
    """
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside = torch.zeros(side, side, dtype=torch.bool)
    edge = torch.zeros(side, side, dtype=torch.bool)
    for (y0, x0), (y1, x1) in pairwise([*corners, corners[0]]):
        cross = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        edge |= (cross == 0) & (y >= min(y0, y1)) & (y <= max(y0, y1)) & (x >= min(x0, x1)) & (x <= max(x0, x1))
        # a ray to the right crosses the edge if the pixel is left of it
        inside ^= ((y0 > y) != (y1 > y)) & (cross > 0 if y1 > y0 else cross < 0)
    return inside | edge


def disk(centre: tuple[int, int], radius: int, side: int) -> Bool[Tensor, "y x"]:
    """Return the pixels of a disk.

    Args:
        centre: (row, column).
        radius: pixels.
        side: of the square grid, pixels.
    """
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2


def rectangle(top: int, left: int, bottom: int, right: int, side: int) -> Bool[Tensor, "y x"]:
    """Return the pixels from one corner to the other, both included."""
    found = torch.zeros(side, side, dtype=torch.bool)
    found[top : bottom + 1, left : right + 1] = True
    return found


def painted(
    stamps: Bool[Tensor, "q a a"],
    kind: Int64[Tensor, "n k"],
    top: Int64[Tensor, "n k"],
    left: Int64[Tensor, "n k"],
    present: Bool[Tensor, "n k"],
    *,
    side: int,
    overlap: int | None = None,
) -> UInt8[Tensor, "n s s"]:
    """Return the number, from 1, of the stamp at each pixel; 0 where there is none.

    Args:
        stamps: the pixels of each kind of stamp.
        kind: which stamps each image gets, in this order.
        top, left: where the first pixel of each lies.
        present: whether it is painted at all.
        side: s, pixels.
        overlap: what a pixel of several stamps becomes; None: the number of the last.
    """
    shapes, reach = stamps.numpy(), stamps.shape[-1]
    images = np.zeros((len(kind), side, side), dtype=np.uint8)
    for image, *rows in zip(images, *(each.tolist() for each in (kind, top, left, present)), strict=True):
        for number, (which, y, x, there) in enumerate(zip(*rows, strict=True), start=1):
            if there:
                patch = image[y : y + reach, x : x + reach]
                value = number if overlap is None else np.where(patch == 0, np.uint8(number), np.uint8(overlap))
                np.copyto(patch, value, where=shapes[which], casting="unsafe")
    return torch.from_numpy(images)


def coloured(numbers: UInt8[Tensor, "n s s"], palette: UInt8[Tensor, "n p 3"]) -> UInt8[Tensor, "n 3 s s"]:
    """Return images in which each pixel has the colour of its number.

    Args:
        numbers: place of each pixel's colour in the palette of its image.
        palette: colours of each image.
    """
    images = np.empty((len(numbers), 3, *numbers.shape[1:]), dtype=np.uint8)
    for image, own, colours in zip(images, numbers.numpy(), palette.permute(0, 2, 1).numpy(), strict=True):
        np.take(colours, own, axis=1, out=image, mode="clip")
    return torch.from_numpy(images)
