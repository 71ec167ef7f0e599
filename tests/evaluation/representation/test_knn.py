import math

import pytest
import torch
from lightly.utils.benchmarking import knn as lightly_knn
from torch.nn import functional as F

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.representation.knn import knn_predict
from sslkuramoto.randomness import generator


def by_hand(query, bank, labels, classes, neighbours, temperature, weighted):
    cosine = [float(query @ row / (query.norm() * row.norm())) for row in bank]
    nearest = sorted(range(len(bank)), key=lambda i: -cosine[i])[:neighbours]
    votes = [0.0] * classes
    for i in nearest:
        votes[int(labels[i])] += math.exp(cosine[i] / temperature) if weighted else 1.0
    return votes.index(max(votes))


@pytest.mark.parametrize("vote", ["weighted", "plain"])
@pytest.mark.parametrize(("neighbours", "temperature"), [(1, 0.07), (7, 0.07), (60, 1.0)])
def test_knn_equals_a_double_loop(vote, neighbours, temperature):
    draw = generator("cpu", "knn")
    queries, bank = torch.randn(40, 5, generator=draw).double(), torch.randn(60, 5, generator=draw).double()
    labels = torch.randint(0, 4, (60,), generator=draw)
    found = knn_predict(queries, bank, labels, num_classes=4, neighbours=neighbours, temperature=temperature, vote=vote)
    expected = [by_hand(q, bank, labels, 4, neighbours, temperature, vote == "weighted") for q in queries]
    assert found.tolist() == expected


@pytest.mark.parametrize("vote", ["weighted", "plain"])
def test_knn_equals_lightly_s(vote):
    """An infinite temperature gives lightly's plain votes; of 7 votes for two classes none is a tie."""
    draw = generator("cpu", "lightly")
    queries, bank = (F.normalize(torch.randn(n, 16, generator=draw), dim=1) for n in (200, 500))
    labels = torch.randint(0, 2, (500,), generator=draw)
    temperature = 0.07 if vote == "weighted" else math.inf
    expected = lightly_knn.knn_predict(queries, bank.T, labels, num_classes=2, knn_k=7, knn_t=temperature)[:, 0]
    found = knn_predict(queries, bank, labels, num_classes=2, neighbours=7, vote=vote)
    assert torch.equal(found, expected)


def test_a_small_temperature_does_not_overflow():
    bank = torch.eye(3)
    found = knn_predict(bank, bank, torch.arange(3), num_classes=3, neighbours=3, temperature=1e-4)
    assert found.tolist() == [0, 1, 2]


def test_knn_of_a_stochastic_encoder_takes_twenty_draws(noisy, subject_of):
    result = PROTOCOLS.build("knn", {})(subject_of(noisy))
    accuracy = result.metrics["accuracy"]
    assert (accuracy.n, accuracy.draws) == (360, 20)
    assert accuracy.std_over_draws > 0
    assert 0.3 < result.metrics["accuracy_all"].value < accuracy.value < 0.99
    assert len(result.per_image["correct"]) == 360
    assert sum(result.per_image["correct"]) / 360 == pytest.approx(accuracy.value, abs=1e-6)
    assert result.initial == "random"


def test_knn_of_a_trained_network_is_right(cnn, subject_of):
    result = PROTOCOLS.build("knn", {"neighbours": 5})(subject_of(cnn))
    accuracy = result.metrics["accuracy"]
    assert accuracy.value > 0.9
    assert (accuracy.draws, accuracy.std_over_draws, result.initial) == (1, 0.0, "deterministic")
    assert result.metrics["accuracy_all"].value == result.metrics["accuracy_majority"].value == accuracy.value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "neighbours=0: must be >= 1"),
        ({"temperature": 0.0}, "temperature=0.0: must be > 0"),
        ({"draws": 0}, "draws=0"),
        ({"neighbors": 3}, "did you mean 'neighbours'"),
        ({"temperature": "1e-3"}, "read as text"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        PROTOCOLS.build("knn", options)


def test_more_neighbours_than_images_are_refused(cnn, subject_of):
    with pytest.raises(UserError, match=r"neighbours=2000 is larger than the training set \(1437 images\)"):
        PROTOCOLS.build("knn", {"neighbours": 2000})(subject_of(cnn))
    with pytest.raises(UserError, match=r"neighbours=2000 is larger than the training set \(1437 images\)"):
        PROTOCOLS.build("knn", {"neighbours": 2000}).estimate(subject_of(cnn))
