"""FG-ARI against pair counting and scikit-learn, mean best overlap against double loops, and their edge cases."""

from itertools import combinations
from math import isnan

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sslkuramoto.evaluation.objects.metrics import (
    adjusted_rand_index,
    fg_ari,
    intersections_over_unions,
    mean_best_overlap,
    shared_pixels,
)


def scene(seed: int, objects: int = 4, clusters: int = 5, side: int = 9) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.integers(-1, objects + 1, (side, side)), draw.integers(0, clusters, (side, side))


def ari_by_pairs(truth: np.ndarray, clusters: np.ndarray) -> float:
    """(index - expected) / (maximum - expected), every pair of pixels counted."""
    pairs = list(combinations(range(len(truth)), 2))
    in_truth = [truth[i] == truth[j] for i, j in pairs]
    in_clusters = [clusters[i] == clusters[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(in_truth, in_clusters, strict=True))
    expected = sum(in_truth) * sum(in_clusters) / len(pairs)
    return (both - expected) / ((sum(in_truth) + sum(in_clusters)) / 2 - expected)


def mbo_by_loops(truth: np.ndarray, clusters: np.ndarray) -> float:
    best = []
    for label in {*truth[truth > 0].tolist()}:
        found = []
        for cluster in {*clusters.flatten().tolist()}:
            shared = union = 0
            for t, c in zip(truth.flatten(), clusters.flatten(), strict=True):
                if t >= 0:
                    shared += t == label and c == cluster
                    union += t == label or c == cluster
            found.append(shared / union if union else 0.0)
        best.append(max(found))
    return sum(best) / len(best)


@pytest.mark.parametrize("seed", range(8))
def test_fg_ari_is_the_adjusted_share_of_pairs_over_the_pixels_of_objects(seed: int) -> None:
    truth, clusters = scene(seed, objects=2 + seed % 4, clusters=1 + seed)
    inside = truth > 0
    assert fg_ari(truth, clusters) == pytest.approx(ari_by_pairs(truth[inside], clusters[inside]), abs=1e-12)
    assert fg_ari(truth, clusters) == pytest.approx(adjusted_rand_score(truth[inside], clusters[inside]), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_mean_best_overlap_is_the_best_intersection_over_union_of_each_object(seed: int) -> None:
    truth, clusters = scene(seed, objects=1 + seed % 4, clusters=1 + seed)
    assert mean_best_overlap(truth, clusters) == pytest.approx(mbo_by_loops(truth, clusters), abs=1e-12)


def test_clusters_that_are_the_objects_score_one_whatever_their_numbers() -> None:
    truth, _ = scene(0)
    clusters = np.where(truth < 0, 17, 90 - truth)  # pixels that are not counted have a cluster too
    assert fg_ari(truth, clusters) == 1.0
    assert mean_best_overlap(truth, clusters) == 1.0


def test_the_background_changes_fg_ari_nowhere_and_ignored_pixels_change_nothing() -> None:
    truth, clusters = scene(1)
    elsewhere = np.where(truth > 0, clusters, 99)
    assert fg_ari(truth, elsewhere) == fg_ari(truth, clusters)
    ignored = np.where(truth < 0, (clusters + 1) % 5, clusters)
    assert fg_ari(truth, ignored) == fg_ari(truth, clusters)
    assert mean_best_overlap(truth, ignored) == mean_best_overlap(truth, clusters)


def test_an_image_without_objects_has_neither_score() -> None:
    for truth in (np.zeros((4, 4), dtype=int), np.full((4, 4), -1)):
        assert isnan(fg_ari(truth, np.arange(16).reshape(4, 4)))
        assert isnan(mean_best_overlap(truth, np.arange(16).reshape(4, 4)))


def test_a_single_object_has_a_best_overlap_and_no_fg_ari() -> None:
    truth = np.zeros((4, 4), dtype=int)
    truth[:2] = 3
    clusters = np.zeros((4, 4), dtype=int)
    clusters[:2, :2], clusters[:2, 2:] = 1, 2
    assert isnan(fg_ari(truth, clusters))
    assert mean_best_overlap(truth, clusters) == 0.5


def test_the_ari_of_equal_trivial_partitions_is_one_as_in_scikit_learn() -> None:
    one, each = np.zeros(6, dtype=int), np.arange(6)
    for partition in (one, each):
        assert (
            adjusted_rand_index(shared_pixels(partition, partition)) == 1.0 == adjusted_rand_score(partition, partition)
        )
    assert adjusted_rand_index(shared_pixels(one, each)) == 0.0 == adjusted_rand_score(one, each)


def test_more_clusters_than_objects_cost_overlap_and_fewer_too() -> None:
    truth = np.repeat([1, 2, 3, 4], 4).reshape(4, 4)
    assert mean_best_overlap(truth, np.arange(16).reshape(4, 4)) == 0.25
    assert mean_best_overlap(truth, np.zeros((4, 4), dtype=int)) == 0.25
    assert fg_ari(truth, np.zeros((4, 4), dtype=int)) == 0.0


def test_objects_that_are_hidden_completely_are_not_counted() -> None:
    truth = np.array([[0, 0, 5, 5], [0, 0, 9, 9]])  # numbers with gaps
    clusters = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    assert intersections_over_unions(truth, clusters).tolist() == [[0.0, 0.5], [0.0, 0.5]]
    assert mean_best_overlap(truth, clusters) == 0.5


@pytest.mark.parametrize("shift", [0, -1, 10**12])
def test_shared_pixels_depend_on_the_partition_not_on_the_names_of_its_parts(shift):
    truth, clusters = np.array([0, 0, 1, 1, 1, 1, 2, 2]), np.array([1, 1, 2, 2, 2, 0, 3, 3])
    counted = np.array([[0, 2, 0, 0], [1, 0, 3, 0], [0, 0, 0, 2]])
    assert np.array_equal(shared_pixels(truth, clusters + shift), counted)
