import dataclasses

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.representation.linear import fit_probe, held_out
from sslkuramoto.randomness import generator


@pytest.fixture
def blobs():
    draw = generator("cpu", "blobs")
    labels = torch.arange(120) % 3
    features = torch.randn(120, 4, generator=draw) + labels[:, None] * torch.tensor([0.9, -0.6, 0.0, 0.3])
    return features * torch.tensor([1.0, 50.0, 0.01, 1.0]) + 7, labels


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_the_probe_equals_scikit_learn(blobs, penalty):
    features, labels = blobs
    probe = fit_probe(features, labels, num_classes=3, penalty=penalty)
    scaled = ((features.double() - features.double().mean(0)) / features.double().std(0, correction=0)).numpy()
    theirs = LogisticRegression(C=1 / (len(labels) * penalty), tol=1e-10, max_iter=5000).fit(scaled, labels.numpy())
    torch.testing.assert_close(probe.weight, torch.from_numpy(theirs.coef_), atol=2e-4, rtol=1e-3)
    ours = probe(features).softmax(1)
    torch.testing.assert_close(ours, torch.from_numpy(theirs.predict_proba(scaled)), atol=1e-4, rtol=1e-3)


def test_a_constant_feature_does_no_harm(blobs):
    features, labels = blobs
    with_constant = torch.cat([features, torch.full((120, 1), 3.0)], dim=1)
    probe = fit_probe(with_constant, labels, num_classes=3, penalty=1e-2)
    plain = fit_probe(features, labels, num_classes=3, penalty=1e-2)
    torch.testing.assert_close(probe(with_constant), plain(features), atol=1e-5, rtol=1e-5)


def test_held_out_images_are_balanced_and_apart():
    labels = torch.tensor([0] * 10 + [1] * 20 + [2])
    kept, out = held_out(labels, 0.2, generator("cpu", 0))
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(31))
    assert labels[out].bincount(minlength=3).tolist() == [2, 4, 0]


def test_the_test_set_chooses_nothing(cnn, subject_of, digits):
    subject = subject_of(cnn)
    result = PROTOCOLS.build("linear", {})(subject)
    wrong = dataclasses.replace(digits["test"], labels=(digits["test"].labels + 1) % 10)
    spoilt = PROTOCOLS.build("linear", {})(subject_of(cnn, data={"train": digits["train"], "test": wrong}.__getitem__))
    assert result.notes == spoilt.notes, "the penalty depends on test labels"
    assert result.metrics["accuracy"].value > 0.94
    assert spoilt.metrics["accuracy"].value < 0.06


def test_the_probe_repeats_exactly(noisy, subject_of, tmp_path):
    first = PROTOCOLS.build("linear", {"penalties": [1e-2, 1e-4]})(subject_of(noisy))
    second = PROTOCOLS.build("linear", {"penalties": [1e-2, 1e-4]})(subject_of(noisy, run_dir=tmp_path / "other"))
    assert first.metrics == second.metrics
    assert first.metrics["accuracy"].draws == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalties": []}, "penalties"),
        ({"penalties": [0.1, -1.0]}, "entry 2 must be > 0"),
        ({"holdout": 1.0}, r"holdout=1.0: must be in \(0, 1\)"),
        ({"max_iterations": 0}, "max_iterations=0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        PROTOCOLS.build("linear", options)
