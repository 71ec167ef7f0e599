"""From the map of an encoder to clusters of pixels, image by image.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), appendix on object discovery, and its published code: tokens of unit
length, a finer grid by shifted images (up-tiling), the first principal components, agglomerative clustering.

Shapes: b batch, c channels, h w grid of the map, t = h w tokens, d dimensions, y x pixels.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.errors import UserError

Method = Literal["average", "kmeans"]
STARTS = 3  # of k-means, of which the tightest counts


def up_tiled(
    encode: Callable[[Float[Tensor, "b 3 y x"]], Float[Tensor, "b c h w"]],
    images: Float[Tensor, "b 3 y x"],
    factor: int,
) -> Float[Tensor, "b c hr wr"]:
    """Return a map of ``factor`` times the resolution: maps of shifted images, interleaved.

    With a patch of p pixels and s = p / factor, the image is enlarged by p - s pixels (bilinear) and the windows of its
    own size at multiples of s are encoded, factor**2 of them.

    Args:
        encode: images -> map.
        images: pixels in [0, 1].
        factor: r; 1 returns the map of the images themselves.

    Raises:
        UserError: the patches are not squares whose side the factor divides.

    Differs: bilinear as in the paper; its published code enlarges by bicubic interpolation.
    """
    if factor == 1:
        return encode(images)
    size = images.shape[-1]
    height, side = encode(images[:1]).shape[-2:]
    patch = size // side
    if height != side or size % side or patch % factor:
        square = "the side of a patch" if height == side else "the side of a square patch"
        raise UserError(
            f"up_tile={factor}: must divide {square}; images of {size} pixels have a map of {height} x {side}"
        )
    shift = patch // factor
    enlarged = F.interpolate(images, size=size + patch - shift, mode="bilinear", align_corners=False)
    rows = []
    for y in range(0, patch, shift):
        row = [encode(enlarged[..., y : y + size, x : x + size]) for x in range(0, patch, shift)]
        rows.append(torch.stack(row, dim=-1).flatten(-2))  # the windows of a row alternate along x
    return torch.stack(rows, dim=-2).flatten(-3, -2)


def tokens_of(grid: Float[Tensor, "c h w"], components: int) -> Float[np.ndarray, "t d"]:
    """Return the tokens of a map, of unit length, in their first principal components.

    Fewer components than tokens and channels are a projection; otherwise nothing changes but the axes, which clusters
    do not depend on, so the tokens are returned as they are.

    Raises:
        UserError: the map holds numbers that are not finite.
    """
    tokens = F.normalize(grid.double().flatten(1), dim=0).T.numpy()
    if not np.isfinite(tokens).all():
        raise UserError("objects: the map of the encoder holds numbers that are not finite")
    return principal(tokens, components) if components < min(tokens.shape) else tokens


def principal(tokens: Float[np.ndarray, "t c"], components: int) -> Float[np.ndarray, "t d"]:
    """Return the first principal components of tokens, largest variance first, at most as many as there are."""
    centred = tokens - tokens.mean(axis=0)
    components = min(components, *centred.shape)
    if centred.shape[1] <= len(centred):
        _, axes = np.linalg.eigh(centred.T @ centred)
        return centred @ axes[:, ::-1][:, :components]
    values, axes = np.linalg.eigh(centred @ centred.T)
    return axes[:, ::-1][:, :components] * np.sqrt(values[::-1][:components].clip(0))


def clusters_of(
    tokens: Float[np.ndarray, "t d"], counts: Iterable[int], method: Method, seed: int
) -> dict[int, Int64[np.ndarray, " t"]]:
    """Return the cluster of each token, from 0, for each number of clusters: k -> clusters.

    Average linkage joins tokens once and cuts its tree at each k; k-means clusters anew.

    Args:
        tokens: at least as many as clusters.
        counts: numbers of clusters; fewer clusters are found where tokens are equal.
        method: "average" (agglomerative, average linkage, Euclidean) or "kmeans".
        seed: of k-means.
    """
    if method == "average":
        if len(tokens) == 1:
            return {count: np.zeros(1, dtype=np.int64) for count in counts}
        from scipy.cluster.hierarchy import fcluster, linkage  # slow to load: only what clusters needs them

        tree = linkage(tokens, "average")
        return {count: fcluster(tree, count, "maxclust").astype(np.int64) - 1 for count in counts}
    distinct = len(np.unique(tokens, axis=0))
    from sklearn.cluster import KMeans

    found = {}
    for count in counts:
        kmeans = KMeans(min(count, distinct), n_init=STARTS, random_state=seed)  # pyright: ignore[reportArgumentType]
        found[count] = kmeans.fit_predict(tokens).astype(np.int64)
    return found


def on_pixels(clusters: Int64[np.ndarray, "h w"], size: int) -> Int64[np.ndarray, "y x"]:
    """Return the cluster of each pixel of a square image of ``size`` pixels: that of the nearest token."""
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(np.int64) for side in clusters.shape)
    return clusters[np.ix_(rows, columns)]
