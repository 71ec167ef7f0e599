"""How well the clusters of one image agree with its objects: foreground adjusted Rand index, and mean best overlap.

Hubert and Arabie 1985 for the adjusted Rand index (ARI), over the pixels of objects alone (FG-ARI, Greff et al. 2019,
arXiv 1903.00450); Pont-Tuset et al. 2017 for the mean best overlap (MBO). In a mask 0 is background, 1, 2, ... are
objects and -1 pixels that are not counted.

Shapes: y x pixels, o objects, k clusters.
"""

import numpy as np
from jaxtyping import Int, Int64


def shared_pixels(truth: Int[np.ndarray, " n"], clusters: Int[np.ndarray, " n"]) -> Int64[np.ndarray, "o k"]:
    """Return how many pixels each label of ``truth`` shares with each cluster; without labels that do not occur."""
    rows, columns = _places(truth), _places(clusters)
    height, width = int(rows.max()) + 1, int(columns.max()) + 1
    return np.bincount(rows * width + columns, minlength=height * width).reshape(height, width)


def _places(labels: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return the place of each label among those that occur, in order; sorts only where labels are no small numbers."""
    if labels.min() < 0 or labels.max() >= labels.size:
        return np.unique(labels, return_inverse=True)[1]
    occurs = np.bincount(labels) > 0
    return (np.cumsum(occurs) - 1)[labels]


def adjusted_rand_index(table: Int64[np.ndarray, "o k"]) -> float:
    """Return the ARI of two partitions from their shared pixels: 1 for equal ones, about 0 for unrelated ones.

    With n_ij the shared pixels of object i and cluster j, a_i and b_j their sums, and C(m) = m (m - 1) / 2:
    (sum C(n_ij) - E) / ((sum C(a_i) + sum C(b_j)) / 2 - E), where E = sum C(a_i) sum C(b_j) / C(n). 1 where the
    denominator is 0: then both partitions have one part, or each pixel is a part of its own.
    """

    def pairs(counts: np.ndarray) -> int:
        counts = counts.astype(object)  # integers without a limit
        return int((counts * (counts - 1)).sum()) // 2

    both, rows, columns, all_ = map(pairs, (table, table.sum(axis=1), table.sum(axis=0), table.sum(keepdims=True)))
    # times 2 C(n), so that whole numbers decide whether it is 0
    above, below = 2 * (both * all_ - rows * columns), (rows + columns) * all_ - 2 * rows * columns
    return above / below if below else 1.0


def fg_ari(truth: Int[np.ndarray, "y x"], clusters: Int[np.ndarray, "y x"]) -> float:
    """Return the ARI over the pixels of objects, in [-0.5, 1]; nan for an image with fewer than two objects.

    Differs: with a single object the ARI is 1 or 0, whether the object has one cluster or two, so such an image is left
        out; published code counts it.
    """
    inside = truth > 0
    if not inside.any():
        return float("nan")
    table = shared_pixels(truth[inside], clusters[inside])
    return adjusted_rand_index(table) if len(table) > 1 else float("nan")


def mean_best_overlap(truth: Int[np.ndarray, "y x"], clusters: Int[np.ndarray, "y x"]) -> float:
    """Return the mean over objects of the largest intersection over union with a cluster, in [0,1]; nan without any.

    Pixels that are not counted belong to no object and to no cluster. Several objects may have the same best cluster.
    """
    overlaps = intersections_over_unions(truth, clusters)
    return float(overlaps.max(axis=1).mean()) if len(overlaps) else float("nan")


def intersections_over_unions(truth: Int[np.ndarray, "y x"], clusters: Int[np.ndarray, "y x"]) -> np.ndarray:
    """Return the intersection over union of each object that occurs with each cluster, "o k"."""
    counted = truth >= 0
    if not (truth > 0).any():
        return np.zeros((0, 1))
    table = shared_pixels(truth[counted], clusters[counted])
    unions = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return (table / unions)[1 if (truth == 0).any() else 0 :]  # the background is the first row
