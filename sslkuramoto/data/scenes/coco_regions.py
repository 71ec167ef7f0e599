"""Regions of COCO's annotations as pixels: polygons, and run lengths, plain or written as text.

A pixel belongs to a polygon if its centre is inside. COCO's own library works on a finer grid, so that pixels at an
edge may differ. Shapes: y x pixels.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool

_FAR = 1e9  # pixels


def region(segmentation: Any, height: int, width: int) -> Bool[np.ndarray, "y x"]:
    """Return the pixels of an annotation.

    Args:
        segmentation: a list of polygons, each x0, y0, x1, y1, ..., or an object with ``size`` and ``counts``.
        height, width: of the image.

    Raises:
        ValueError, TypeError, KeyError: it is something else.
    """
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"run lengths of size {segmentation['size']}, the image has {[height, width]}")
        return runs(counts_of(counts) if isinstance(counts, str) else counts, height, width)
    found = np.zeros((height, width), dtype=bool)
    for corners in segmentation:
        found |= filled(corners, height, width)
    return found


def filled(corners: Any, height: int, width: int) -> Bool[np.ndarray, "y x"]:
    """Return the pixels whose centres are inside a polygon (an odd number of edges to their left).

    Args:
        corners: list of x0, y0, x1, y1, ...; pixel (row, column) covers [column, column + 1) x [row, row + 1).
        height, width: of the image.
    """
    points = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
    if not (np.abs(points) < _FAR).all():  # also nan
        raise ValueError("a corner that is no number or far outside the image")
    crossings = np.zeros((height, width + 1), dtype=np.int64)
    rows = np.arange(height) + 0.5
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        crossed = np.flatnonzero((rows >= min(y0, y1)) & (rows < max(y0, y1)))
        at = x0 + (rows[crossed] - y0) * (x1 - x0) / ((y1 - y0) or 1)
        np.add.at(crossings, (crossed, np.ceil(at - 0.5).clip(0, width).astype(np.int64)), 1)
    return crossings.cumsum(axis=1)[:, :width] % 2 == 1


def runs(counts: Any, height: int, width: int) -> Bool[np.ndarray, "y x"]:
    """Return the pixels of a list of run lengths, column by column: outside, inside, outside, ..."""
    lengths = np.asarray(counts)
    size = height * width  # no length may be above it: a sum of huge ones wraps around
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any() or (lengths > size).any():
        raise ValueError(f"run lengths that are no numbers from 0 to {size}")
    if lengths.sum(dtype=np.int64) != size:
        raise ValueError(f"run lengths that do not add up to {size} pixels")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def counts_of(text: str) -> list[int]:
    """Return run lengths that are written as text: five bits a sign, lowest first; differences from the third on."""
    counts: list[int] = []
    value = shift = 0
    for sign in text:
        bits = ord(sign) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError("run lengths with a sign that is not allowed")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths that are cut off")
    return counts
