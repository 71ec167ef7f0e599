from itertools import permutations

import numpy as np
import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.representation.clustering import matched, matching_accuracy


@pytest.mark.parametrize("seed", range(5))
def test_matching_equals_the_best_of_all_permutations(seed):
    draw = np.random.default_rng(seed)
    labels, clusters = draw.integers(0, 5, 40), draw.integers(0, 5, 40)
    best = max(float((np.array(order)[clusters] == labels).mean()) for order in permutations(range(5)))
    assert matching_accuracy(labels, clusters) == pytest.approx(best)


def test_more_clusters_than_classes_leave_some_unmatched():
    labels = np.array([0, 0, 0, 1, 1, 1])
    clusters = np.array([3, 3, 2, 0, 0, 0])
    assert matched(labels, clusters).tolist() == [True, True, False, True, True, True]


def test_renamed_labels_cluster_perfectly():
    labels = np.array([0, 1, 2, 2, 1, 0])
    assert matching_accuracy(labels, (labels + 1) % 3) == 1.0


def test_clustering_reports_draws_and_seeds(noisy, subject_of):
    result = PROTOCOLS.build("clustering", {"seeds": 2, "starts": 1})(subject_of(noisy))
    assert set(result.metrics) == {"accuracy", "nmi", "ari"}
    for metric in result.metrics.values():
        assert (metric.n, metric.draws, metric.seeds) == (360, 20, 2)
        assert metric.std_over_draws > 0
        assert metric.std_over_seeds > 0
    accuracy = result.metrics["accuracy"]
    assert 0.2 < accuracy.low < accuracy.value < accuracy.high
    assert result.metrics["nmi"].low is None
    assert np.mean(result.per_image["correct"]) == pytest.approx(accuracy.value, abs=1e-5)


def test_clustering_repeats_exactly(cnn, subject_of):
    protocol = PROTOCOLS.build("clustering", {"seeds": 2, "starts": 1})
    before = np.random.get_state()[1].copy()
    assert protocol(subject_of(cnn)).metrics == protocol(subject_of(cnn)).metrics
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("options", [{"seeds": 0}, {"starts": 0}, {"clusters": 1}])
def test_bad_options_are_named(options):
    with pytest.raises(UserError, match=f"{next(iter(options))}="):
        PROTOCOLS.build("clustering", options)
