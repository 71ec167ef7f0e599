"""Scenes that were stored beside a result of object discovery: image, clusters, objects, colours of the map.

Shapes: m images, s side of the images, h w grid of the map, o objects, k clusters.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.objects.metrics import intersections_over_unions
from sslkuramoto.evaluation.objects.pictures import ENDING
from sslkuramoto.report.evidence import IMAGES
from sslkuramoto.results import Result


@dataclass(frozen=True)
class Scenes:
    """Scenes with what a network makes of them.

    Attributes:
        index: place of each image in its set.
        images: pixels in [0,1].
        masks: objects from 1, 0 background, -1 not counted.
        clusters: from 0.
        colours: first three principal components of the map, in [0,1].
    """

    index: Int64[Tensor, " m"]
    images: Float[Tensor, "m 3 s s"]
    masks: Int64[Tensor, "m s s"]
    clusters: Int64[Tensor, "m s s"]
    colours: Float[Tensor, "m 3 h w"]


def scenes_of(result: Result) -> Scenes | None:
    """Return the scenes that were stored beside a result, or None.

    Raises:
        UserError: their file is broken.
    """
    path = result.path.parent / IMAGES / f"{result.path.stem}{ENDING}"
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        images, colours = tensors["images"].float(), tensors["colours"].float()
        index, masks, clusters = (tensors[name].long() for name in ("index", "masks", "clusters"))
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path}: truncated or no record of scenes ({error}); measure again") from None
    pictures = all(each.ndim == 4 and each.shape[1] == 3 and each.numel() for each in (images, colours))
    m, side = len(images), images.shape[2:]
    alike = masks.shape == clusters.shape == (m, *side) and index.shape == (m,) and len(colours) == m
    if not pictures or not alike or min(int(masks.min()), int(clusters.min())) < -1:
        raise UserError(
            f"{path}: images {tuple(images.shape)}, masks {tuple(masks.shape)}: are no scenes; measure again"
        )
    return Scenes(index, images, masks, clusters, colours)


def matched_objects(truth: Int64[np.ndarray, "y x"], clusters: Int64[np.ndarray, "y x"]) -> dict[int, int]:
    """Return cluster -> object, or 0 for the background: the one-to-one matching with the largest sum of overlaps.

    The overlap is the intersection over union (Kuhn 1955 for the matching). Clusters without a partner are left out.
    """
    from scipy.optimize import linear_sum_assignment  # half a second that most reports do not need

    counted = truth >= 0
    if not counted.any():
        return {}
    labels, found = np.unique(truth[counted]), np.unique(clusters[counted])
    overlaps = intersections_over_unions(np.where(counted, truth + 1, -1), clusters)  # the background as an object too
    pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
    return {int(found[column]): int(labels[row]) for row, column in pairs if overlaps[row, column] > 0}
