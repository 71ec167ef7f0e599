"""Adversarial images are classified once more, and measured once more, before they are stored."""

from dataclasses import replace

import pytest
import torch
from small_networks import NoisyCNN
from torch import nn

from sslkuramoto.classifier import Classifier, predictions_over_draws
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.audit import Audit, protocol
from sslkuramoto.evaluation.robustness.built_reading import BuiltReading
from sslkuramoto.evaluation.robustness.protocol import Robustness
from sslkuramoto.evaluation.robustness.second_look import check_place, fault_of_stored
from sslkuramoto.noise_draws import share_right
from sslkuramoto.randomness import generator
from sslkuramoto.threat import MisbehavedError, Norm, Threat

EPS: dict[Norm, float] = {"linf": 0.1, "l2": 0.7}


@pytest.fixture
def images(digits):
    return digits["test"].images[:10].float() / 255


@pytest.fixture
def labels(digits):
    return digits["test"].labels[:10]


def network(cnn, kind: str) -> Classifier:
    if kind == "deterministic":
        return Classifier(*cnn, seed=3)
    encoder = NoisyCNN(0.5).eval()
    encoder.load_state_dict(cnn[0].state_dict())
    return Classifier(encoder, cnn[1], "fixed_per_image" if kind == "fixed per image" else "random", seed=3)


@pytest.mark.parametrize("kind", ["deterministic", "random", "fixed per image"])
def test_what_was_scored_is_found_again_and_another_image_is_not(kind: str, cnn, images, labels) -> None:
    classifier, threat, index = network(cnn, kind), Threat("linf", 0.2), torch.arange(10) + 5
    moved = threat.random_start(images, generator("cpu", "moved"))
    chunks = zip(moved.split(4), index.split(4), strict=True)
    correct = share_right(predictions_over_draws(classifier, chunks, 20, "score"), labels)

    def fault(candidates, said):
        return fault_of_stored(
            classifier, candidates, images, labels, said, threat=threat, index=index, chunk=4, draws=20, key=("score",)
        )

    assert fault(moved, correct) is None
    wrong = [1 - share for share in correct]
    assert "10 of 10 stored adversarial images" in str(fault(moved, wrong))
    one = [*correct[:7], 1 - correct[7], *correct[8:]]
    said = fault(moved, one)
    assert said is not None
    assert (
        "1 of 10 stored adversarial images are not classified as the result says, by the share of correct draws: 12 "
        in said
    )


@pytest.mark.parametrize("norm", list(EPS))
def test_images_outside_the_ball_or_the_range_are_refused(norm: Norm, images) -> None:
    threat = Threat(norm, EPS[norm])
    direction = threat.steepest(torch.randn(images.shape, generator=generator("cpu", "direction")))
    inside = threat.project(images + threat.eps * direction, images)
    check_place(inside, images, threat)
    check_place(images, images, Threat(norm, 0.0))
    grey = torch.full_like(images, 0.5)
    check_place(grey + threat.eps * direction, grey, threat)
    for bad in (grey + 1.01 * threat.eps * direction, torch.full_like(grey, float("nan"))):
        with pytest.raises(MisbehavedError, match="outside the ball"):
            check_place(bad, grey, threat)
    black = torch.zeros_like(images)
    with pytest.raises(MisbehavedError, match=r"or \[0,1\]"):
        check_place(black - 0.5 * threat.eps * direction.abs(), black, threat)


TINY = {"eps": 0.2, "images": 6, "steps": [1, 2], "k": [1, 2], "queries": 100, "samples": 2, "directions": 8}


def test_an_audit_whose_images_are_not_what_it_says_is_void(cnn, subject_of, monkeypatch) -> None:
    kept = []
    subject = subject_of(cnn, keep=lambda name, images: kept.append(name))
    skip = [question.name for question in protocol.CHECKS if question.name != "control"]
    options = {**TINY, "skip": skip}
    assert Audit(**options)(subject).details["audit"]["word"] != "void"
    assert kept == ["adversarial"]
    scores_of = protocol.scores_of

    def of_others(case, *given, **more):
        """Other images than those that were scored: the clean ones."""
        return replace(scores_of(case, *given, **more), worst=case.bench.images)

    monkeypatch.setattr(protocol, "scores_of", of_others)
    result = Audit(**options)(subject)
    audit = result.details["audit"]
    assert audit["word"] == "void"
    assert "stored adversarial images are not classified as the result says" in audit["checks"][0]["reason"]
    assert "robust_accuracy" not in result.metrics
    assert kept == ["adversarial"]


@pytest.mark.parametrize("ways", [None, {"first": {}, "second": {"norm": "l2", "eps": 0.5}}])
def test_a_robust_accuracy_whose_images_are_not_what_it_says_is_refused(ways, cnn, subject_of, monkeypatch) -> None:
    attack = {"name": "pgd", "iterations": 3}
    options = {"attacks": [attack], "eps": 0.001, "images": 8, "ways": ways}
    Robustness(**options)(subject_of(cnn))
    monkeypatch.setattr(BuiltReading, "predictions", lambda self, candidates, *_: torch.full((1, len(candidates)), 11))
    with pytest.raises(UserError, match="void: on a second look"):
        Robustness(**options, control=0)(subject_of(cnn))


class Tiring(nn.Module):
    """Answers in reverse from some call on."""

    def __init__(self, head: nn.Module, last: float) -> None:
        super().__init__()
        self.head, self.last, self.calls, self.out_features = head, last, 0, head.out_features

    def forward(self, features):
        self.calls += 1
        return self.head(features) if self.calls < self.last else -self.head(features)


def test_a_network_that_changes_between_score_and_file_is_refused(cnn, subject_of, tmp_path) -> None:
    def measured(head: Tiring) -> None:
        folder = str(tmp_path / f"until {head.last}")
        options = {"attacks": [{"name": "pgd", "iterations": 3}], "eps": 0.001, "images": 8, "control": 0}
        Robustness(**options, ledger=folder)(subject_of((cnn[0], head)))

    steady = Tiring(cnn[1], float("inf"))
    measured(steady)
    with pytest.raises(UserError, match="void: on a second look"):
        measured(Tiring(cnn[1], steady.calls))
