"""Drawings of scenes: image, clusters, objects and colours of the map side by side, matched clusters in one colour.

Shapes: y x pixels.
"""

import numpy as np
from jaxtyping import Int64, UInt8
from markupsafe import Markup
from matplotlib import colormaps

from sslkuramoto.report.pictures.drawing import axes_grid, styled, svg_of
from sslkuramoto.report.pictures.tiles import frame, place, tiles_of
from sslkuramoto.report.scenes import Scenes, matched_objects

SHOWN_SCENES = 8
BACKGROUND, NOT_COUNTED = (40, 40, 40), (255, 255, 255)
_PALETTE = (255 * np.array(colormaps["tab20"].colors)).round().astype(np.uint8)  # pyright: ignore[reportAttributeAccessIssue]
COLOURS = np.concatenate([_PALETTE[::2], _PALETTE[1::2]])
"""Of objects, in the order of their numbers; strong ones first."""
TILE = 0.9  # inches


@styled
def scenes_picture(scenes: Scenes, *, name: str) -> Markup:
    """Return an inline SVG, one row per image: image, clusters, objects, the map's principal components as RGB.

    Args:
        scenes: the first eight are drawn.
        name: unique on the page.
    """
    count = min(len(scenes.images), SHOWN_SCENES)
    figure, ((axes,),) = axes_grid(1, 1, 4 * TILE + 0.9, TILE * count + 0.3)
    images, colours = (tiles_of(each[:count]) for each in (scenes.images, scenes.colours))
    found = []
    for row in range(count):
        truth, clusters = scenes.masks[row].numpy(), scenes.clusters[row].numpy()
        drawn = images[row], painted_clusters(truth, clusters), painted_objects(truth), colours[row]
        for column, tile in enumerate(drawn):
            place(axes, tile, row, column)
        objects = len(np.unique(truth[truth > 0]))
        found.append(f"{objects} objects and {len(np.unique(clusters))} clusters")
    rows = [f"image {int(index)}" for index in scenes.index[:count]]
    frame(axes, rows, ["image", "clusters", "objects", "map (PCA)"])
    told = "; ".join(f"{row}: {what}" for row, what in zip(rows, found, strict=True))
    alt = f"Scenes, one a row: image, clusters of the map, objects, principal components of the map. {told}."
    return svg_of(figure, alt=alt, name=name)


def painted_objects(truth: Int64[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """Return objects in their colours, the background dark, pixels that are not counted white."""
    picture = COLOURS[(truth - 1) % len(COLOURS)]
    picture[truth == 0], picture[truth < 0] = BACKGROUND, NOT_COUNTED
    return picture


def painted_clusters(truth: Int64[np.ndarray, "y x"], clusters: Int64[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """Return clusters in the colours of the objects that they match, the others in colours of no object."""
    objects = matched_objects(truth, clusters)
    spare = int(truth.max(initial=0))
    for cluster in np.unique(clusters).tolist():
        if cluster not in objects:
            spare += 1
            objects[cluster] = spare
    return painted_objects(np.vectorize(objects.__getitem__, otypes=[np.int64])(clusters))
