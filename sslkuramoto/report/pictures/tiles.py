"""Tiles in rows and columns: images, and boards whose answers stand side by side or form over the steps of a network.

Shapes: b images, y x pixels or cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from sslkuramoto.report.pictures.drawing import axes_grid, styled, svg_of

MAX_TILE = 64  # pixels: larger images are shrunk for the page
GAP = 0.06  # between tiles, in tiles
WHITE, GIVEN = (245, 245, 245), (214, 214, 214)
CORRECT, WRONG = (38, 110, 190), (217, 119, 6)
"""Blue and orange, which colour-blind readers tell apart."""
POINTS, LEAST_POINTS = 52, 3.5  # of a symbol in a cell: for a tile of one inch, divided by the side; at least


@dataclass(frozen=True)
class Tile:
    """An image, or a board as colours of its cells with symbols in some of them: row, column, text, colour."""

    cells: UInt8[np.ndarray, "y x 3"]
    symbols: tuple[tuple[int, int, str, str], ...] = ()


def mixed(
    base: UInt8[np.ndarray, "y x 3"],
    colour: Sequence[int] | UInt8[np.ndarray, "y x 3"],
    share: Float[np.ndarray, "y x"],
) -> UInt8[np.ndarray, "y x 3"]:
    """Return colours between a base (share 0) and another colour (share 1)."""
    part = np.clip(share, 0, 1)[..., None]
    return ((1 - part) * base + part * np.asarray(colour)).round().astype(np.uint8)


@styled
def tiles_picture(
    rows: Sequence[tuple[str, Sequence[Tile]]], columns: Sequence[str], *, inches: float, alt: str, name: str
) -> Markup:
    """Return an inline SVG of tiles.

    Args:
        rows: the name of each row, with a tile for each column.
        columns: their names.
        inches: side of a tile.
        alt: what a reader who cannot see it should know.
        name: unique on the page.
    """
    margin = 0.8 if any(label for label, _ in rows) else 0.1
    figure, ((axes,),) = axes_grid(1, 1, inches * len(columns) + margin, inches * len(rows) + 0.3)
    for row, (_, tiles) in enumerate(rows):
        for column, tile in enumerate(tiles):
            place_tile(axes, tile, row, column, inches=inches)
    frame(axes, [label for label, _ in rows], list(columns))
    return svg_of(figure, alt=alt, name=name)


def place_tile(axes: Axes, tile: Tile, row: int, column: int, *, inches: float) -> None:
    """Put a tile with its symbols into a grid of tiles of a side in inches."""
    place(axes, tile.cells, row, column)
    side = len(tile.cells)
    size = max(LEAST_POINTS, POINTS * inches / side)
    for y, x, text, colour in tile.symbols:
        at = GAP / 2 + (1 - GAP) * (np.array([x, y]) + 0.5) / side
        axes.text(column + at[0], row + at[1], text, fontsize=size, color=colour, ha="center", va="center_baseline")


def place(axes: Axes, tile: np.ndarray, row: int, column: int) -> None:
    """Put a tile into a grid of them."""
    extent = (column + GAP / 2, column + 1 - GAP / 2, row + 1 - GAP / 2, row + GAP / 2)
    axes.imshow(tile, extent=extent, interpolation="none", aspect="equal")


def frame(axes: Axes, rows: list[str], columns: list[str]) -> None:
    """Name the rows and columns of a grid of tiles."""
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=7)
    axes.tick_params(length=0, pad=2)
    axes.xaxis.tick_top()
    for spine in axes.spines.values():
        spine.set_visible(False)


def tiles_of(images: Float[Tensor, "b 3 y x"]) -> list[np.ndarray]:
    """Images with pixels in [0,1] as bytes, the long ones averaged down to ``MAX_TILE`` pixels."""
    pixels = images.detach().float().cpu().clamp(0, 1)
    height, width = pixels.shape[-2:]
    longest = max(height, width)
    if longest > MAX_TILE:
        pixels = adaptive_avg_pool2d(
            pixels, (max(1, height * MAX_TILE // longest), max(1, width * MAX_TILE // longest))
        )
    return list((pixels.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8))
