"""Boards as tiles in rows and columns: answers side by side, or forming over the steps of a network.

Shapes: y x cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from sslkuramoto.report.pictures.drawing import axes_grid, styled, svg_of
from sslkuramoto.report.pictures.oscillators import GAP, frame, place

WHITE, GIVEN = (245, 245, 245), (214, 214, 214)
CORRECT, WRONG = (38, 110, 190), (217, 119, 6)
"""Blue and orange, which colour-blind readers tell apart."""
POINTS, LEAST_POINTS = 52, 3.5  # of a symbol in a cell: for a tile of one inch, divided by the side; at least


@dataclass(frozen=True)
class Tile:
    """A board as colours of its cells, with symbols in some of them: row, column, text, colour."""

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
            place(axes, tile.cells, row, column)
            side = len(tile.cells)
            size = max(LEAST_POINTS, POINTS * inches / side)
            for y, x, text, colour in tile.symbols:
                at = GAP / 2 + (1 - GAP) * (np.array([x, y]) + 0.5) / side
                where = {"ha": "center", "va": "center_baseline"}
                axes.text(column + at[0], row + at[1], text, fontsize=size, color=colour, **where)
    frame(axes, [label for label, _ in rows], list(columns))
    return svg_of(figure, alt=alt, name=name)
