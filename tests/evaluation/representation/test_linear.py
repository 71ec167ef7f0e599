import dataclasses

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.representation import linear, progress
from sslkuramoto.evaluation.representation.linear import fit_large_probe, fit_probe, held_out
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


def test_a_large_problem_is_solved_to_the_same_probabilities(blobs):
    features, labels = blobs
    for penalty in (1e-1, 1e-3):
        exact = fit_probe(features, labels, num_classes=3, penalty=penalty)
        start = fit_large_probe(features, labels, num_classes=3, penalty=1.0)
        for begin in (None, start):
            quick = fit_large_probe(features, labels, num_classes=3, penalty=penalty, start=begin)
            torch.testing.assert_close(quick(features).softmax(1), exact(features).softmax(1), atol=2e-3, rtol=0)
            torch.testing.assert_close(quick.weight, exact.weight, atol=1e-2, rtol=1e-2)


def test_a_large_problem_of_many_classes_takes_forty_iterations(monkeypatch):
    draw = generator("cpu", "many classes")
    centres = torch.randn(50, 20, generator=draw)
    labels = torch.arange(1500) % 50
    scales = torch.logspace(-3, 3, 20)
    features = (centres[labels] + 0.7 * torch.randn(1500, 20, generator=draw)) * scales
    exact = fit_probe(features, labels, num_classes=50, penalty=1e-4)
    quick = fit_large_probe(features, labels, num_classes=50, penalty=1e-4)
    agree = (exact(features).argmax(1) == quick(features).argmax(1)).float().mean()
    assert agree > 0.995


def test_the_protocol_solves_a_large_problem_so_and_says_it(cnn, subject_of, monkeypatch):
    plain = PROTOCOLS.build("linear", {})(subject_of(cnn))
    monkeypatch.setattr(linear, "LARGE", 1)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    said = []
    subject = subject_of(cnn)
    subject.report = said.append
    large = PROTOCOLS.build("linear", {})(subject)
    assert large.metrics["accuracy"].value == pytest.approx(plain.metrics["accuracy"].value, abs=0.02)
    assert any("a large problem" in note for note in large.notes)
    assert any("passes, loss " in line and "s left" in line for line in said)


@pytest.mark.parametrize("name", ["linear", "knn", "clustering"])
def test_one_class_is_refused_in_one_line(name, cnn, subject_of, some_set):
    one = dataclasses.replace(some_set(20), labels=torch.zeros(20, dtype=torch.int64), classes=("only",))
    with pytest.raises(UserError, match=f"{name} needs at least two classes: data .*, split 'test', has one") as caught:
        PROTOCOLS.build(name, {})(subject_of(cnn, data={"train": one, "test": one}.__getitem__))
    assert "\n" not in str(caught.value)


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
