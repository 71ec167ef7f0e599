"""From maps to clusters of pixels: tokens, components, linkage by brute force, up-tiling by a loop over windows."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.objects.clustering import clusters_of, on_pixels, principal, tokens_of, up_tiled
from sslkuramoto.evaluation.objects.pictures import colours_of


def tokens(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def average_linkage(points: np.ndarray, count: int) -> list[set[int]]:
    """Join the two clusters with the smallest mean distance of their members until ``count`` are left."""
    clusters = [{place} for place in range(len(points))]

    def apart(one: set[int], other: set[int]) -> float:
        return float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in product(one, other)]))

    while len(clusters) > count:
        one, other = min(combinations(clusters, 2), key=lambda pair: apart(*pair))
        clusters = [each for each in clusters if each not in (one, other)] + [one | other]
    return clusters


@pytest.mark.parametrize("count", [1, 2, 5, 14])
def test_average_linkage_joins_the_clusters_of_the_smallest_mean_distance(count: int) -> None:
    points = tokens(14, 3)
    found = clusters_of(points, [count], "average", seed=0)[count]
    assert found.min() == 0
    assert {frozenset(np.flatnonzero(found == k).tolist()) for k in range(count)} == {
        frozenset(each) for each in average_linkage(points, count)
    }


@pytest.mark.parametrize("method", ["average", "kmeans"])
def test_clusters_that_are_far_apart_are_found(method) -> None:
    centres = 10 * np.eye(4)
    points = np.repeat(centres, 5, axis=0) + 0.1 * tokens(20, 4)
    found = clusters_of(points, [4], method, seed=1)[4]
    assert sorted(found.reshape(4, 5).tolist()) == [[k] * 5 for k in range(4)]


@pytest.mark.parametrize("method", ["average", "kmeans"])
def test_equal_tokens_give_fewer_clusters_and_a_single_token_gives_one(method) -> None:
    points = np.repeat(np.eye(2), 3, axis=0)
    assert len(np.unique(clusters_of(points, [4], method, seed=0)[4])) == 2
    assert clusters_of(points[:1], [1], method, seed=0)[1].tolist() == [0]


def test_tokens_have_unit_length_and_components_keep_their_distances_where_all_are_kept() -> None:
    grid = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    found = tokens_of(grid, components=128)
    assert found.shape == (12, 6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    np.testing.assert_allclose(found[5] * grid[:, 1, 1].norm().item(), grid[:, 1, 1].double(), rtol=1e-6)  # rows first
    distances = np.linalg.norm(found[:, None] - found, axis=2)
    components = principal(found, 6)
    np.testing.assert_allclose(np.linalg.norm(components[:, None] - components, axis=2), distances, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(20, 6), (6, 20)])
def test_components_are_those_of_the_singular_value_decomposition(n: int, d: int) -> None:
    points = tokens(n, d)
    left, values, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    found = principal(points, 3)
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :3] * values[:3]), atol=1e-9)
    assert tokens_of(torch.randn(d, 4, 5), components=3).shape == (20, 3)


def test_a_pixel_has_the_cluster_of_the_nearest_token() -> None:
    clusters = np.arange(4).reshape(2, 2)
    np.testing.assert_array_equal(on_pixels(clusters, 6), np.kron(clusters, np.ones((3, 3), dtype=int)))
    assert on_pixels(np.arange(3)[:, None].repeat(3, axis=1), 4)[:, 0].tolist() == [0, 1, 1, 2]


def patches(images: torch.Tensor) -> torch.Tensor:
    """A map of patches of 4 pixels: their means, and the means of their squares."""
    return F.avg_pool2d(torch.cat([images, images.square()], dim=1), 4)


@pytest.mark.parametrize("factor", [2, 4])
def test_up_tiling_interleaves_the_maps_of_shifted_windows(factor: int) -> None:
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    shift = 4 // factor
    enlarged = F.interpolate(images, size=12 + 4 - shift, mode="bilinear", align_corners=False)
    found = up_tiled(patches, images, factor)
    assert found.shape == (2, 6, 3 * factor, 3 * factor)
    for i, j in product(range(factor), repeat=2):
        window = enlarged[..., i * shift : i * shift + 12, j * shift : j * shift + 12]
        assert torch.equal(found[..., i::factor, j::factor], patches(window))
    assert torch.equal(up_tiled(patches, images, 1), patches(images))


def test_a_patch_that_the_factor_does_not_divide_is_named() -> None:
    with pytest.raises(UserError, match=r"up_tile=3: must divide the side of a patch; images of 12 pixels.*3 x 3"):
        up_tiled(patches, torch.rand(1, 3, 12, 12), 3)


def test_a_map_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UserError, match="not finite"):
        tokens_of(torch.full((2, 2, 2), torch.nan), 128)


def test_the_colours_of_a_map_lie_in_0_1_also_where_it_has_fewer_than_three_components() -> None:
    for grid in (torch.randn(5, 3, 4), torch.randn(2, 3, 4), torch.ones(4, 2, 2)):
        found = colours_of(grid)
        assert found.shape == (3, *grid.shape[1:])
        assert 0 <= found.min() <= found.max() <= 1
