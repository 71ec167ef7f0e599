"""The control voids an audit whose attacks change images with eps = 0 or fail on a network of known robustness."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from small_attacks import said

from sslkuramoto.attacks.apgd import Apgd
from sslkuramoto.attacks.attack import Work
from sslkuramoto.attacks.hop_skip_jump import _Walk
from sslkuramoto.attacks.pgd import Pgd
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.cli import main
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.evaluation import Subject
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.attacks import Arsenal
from sslkuramoto.evaluation.audit.budget import BUDGETS
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.control_check import KNOWN_EPS, control, known, left_of_known
from sslkuramoto.evaluation.audit.gradients import GradientFacts
from sslkuramoto.evaluation.audit.runner import Bench
from sslkuramoto.randomness import generator
from sslkuramoto.threat import Norm, Threat

TINY = {"eps": 0.2, "images": 24, "chunk": 24, "steps": [1, 2], "k": [1, 2], "queries": 100, "samples": 2}
TINY |= {"select_draws": 20}


def case_of(subject: Subject, norm: Norm = "linf", num_classes: int = 10) -> Case:
    classifier = Classifier(subject.encoder, subject.head)
    images = torch.rand(4, 3, 8, 8, generator=generator("cpu", "images"))
    with torch.no_grad():
        labels = classifier(images, draw=generator("cpu", "labels")).argmax(dim=1)
    bench = Bench(classifier, images, labels, threat=Threat(norm, 0.1), seed=0, chunk=4, draws=20)
    budget = BUDGETS["quick"].changed(k=[1, 2, 4], steps=[1, 2], queries=100, samples=2)
    return Case(bench, Arsenal(subject, budget, classifier.stochastic, num_classes), budget, (), (), GradientFacts())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("network", ["cnn", "noisy"])
def test_every_kind_of_ascent_leaves_a_linear_classifier_what_it_keeps_in_theory(
    norm, classes, network, request, subject_of
) -> None:
    expected, left = left_of_known(case_of(subject_of(request.getfixturevalue(network)), norm, classes))
    assert expected == 0.5
    assert len(left) == (5 if network == "noisy" else 3)
    assert set(left.values()) == {0.5}


@pytest.mark.parametrize(("norm", "eps"), [("linf", KNOWN_EPS), ("l2", KNOWN_EPS * 192**0.5)])
def test_the_distances_of_the_known_classifier_are_those_at_which_its_images_fall(norm, eps) -> None:
    threat = Threat(norm, eps)
    classifier, images, labels, distances = known(threat, 10, torch.device("cpu"), draws=False)
    assert bool(((images > eps * 0) & (images < 1)).all())
    weights = classifier.head.weight.detach()[0].reshape(1, 3, 8, 8)
    toward = threat.steepest(weights) * (2.0 * labels - 1)[:, None, None, None]
    with torch.no_grad():
        for share, right in ((0.999, True), (1.001, False)):
            moved = images + share * (distances * eps)[:, None, None, None] * toward
            assert bool(((classifier(moved).argmax(dim=1) == labels) == right).all())
            assert torch.allclose(threat.distances(moved, images), share * distances * eps, rtol=1e-4)
        corners = images + eps * threat.steepest(weights), images - eps * threat.steepest(weights)
    assert all(bool(((corner >= 0) & (corner <= 1)).all()) for corner in corners), "no ball touches the cube's edge"


@pytest.mark.parametrize("network", ["cnn", "noisy"])
def test_an_attack_that_moves_images_at_eps_0_voids_the_audit_and_raises_nothing(
    network, request, subject_of, monkeypatch
) -> None:
    honest = Apgd.__call__

    def astray(self, *arguments, **options):
        return (honest(self, *arguments, **options) + 1e-3).clamp(0, 1)

    monkeypatch.setattr(Apgd, "__call__", astray)
    result = Audit(**TINY)(subject_of(request.getfixturevalue(network)))
    audit = result.details["audit"]
    assert audit["word"] == "void"
    assert set(result.metrics) == {"clean_accuracy", "clean_accuracy_majority", "clean_accuracy_all"}
    first, *rest = audit["checks"]
    assert (first["name"], first["status"]) == ("control", "fail")
    assert "with eps = 0 attacks changed the images" in first["reason"]
    assert "left the ball" in first["reason"]
    assert {check["status"] for check in rest} == {"not run"}


@pytest.mark.parametrize(("kind", "network"), [(Apgd, "cnn"), (Apgd, "noisy"), (Pgd, "noisy")])
def test_an_attack_that_does_nothing_voids_the_audit(kind, network, request, subject_of, monkeypatch) -> None:
    monkeypatch.setattr(kind, "__call__", lambda self, classifier, images, labels, **_: images.clone())
    audit = Audit(**TINY)(subject_of(request.getfixturevalue(network))).details["audit"]
    assert audit["word"] == "void"
    assert (
        "the attacks do not work: the robust accuracy of a linear classifier is 50.0 %" in audit["checks"][0]["reason"]
    )
    assert "leaves 100.0 %" in audit["checks"][0]["reason"]


def test_an_attack_that_leaves_the_ball_of_the_known_classifier_has_broken_nothing(
    cnn, subject_of, monkeypatch
) -> None:
    honest = Apgd.__call__

    def far(self, classifier, images, labels, *, threat, work):
        wide = Threat(threat.norm, 3 * threat.eps)
        return honest(self, classifier, images, labels, threat=wide, work=work)

    monkeypatch.setattr(Apgd, "__call__", far)
    found = control(case_of(subject_of(cnn)))
    assert found.status == "fail"
    assert "leaves 100.0 %" in found.reason


def test_the_battery_itself_still_refuses_what_left_the_ball(cnn, subject_of, monkeypatch) -> None:
    monkeypatch.setattr(Apgd, "__call__", lambda self, classifier, images, labels, **_: (images + 0.2).clamp(0, 1))
    case = case_of(subject_of(cnn))
    with pytest.raises(AssertionError, match="left the ball"):
        case.bench.run(case.arsenal.plain("ce"))


def test_known_images_are_attacked_without_a_trace_in_the_audit(cnn, subject_of) -> None:
    case = case_of(subject_of(cnn))
    left_of_known(case)
    assert case.bench.runs == {}
    classifier, images, labels, _ = known(Threat("linf", KNOWN_EPS), 10, torch.device("cpu"), draws=False)
    attack = case.arsenal.plain("ce", 20)
    with frozen(classifier):
        twice = [attack(classifier, images, labels, threat=Threat("linf", KNOWN_EPS), work=Work(0, 0)) for _ in "ab"]
    assert torch.equal(*twice)


@pytest.mark.parametrize("network", ["cnn", "noisy"])
def test_attacks_that_may_not_move_spend_little_however_large_the_budget(network, request, subject_of) -> None:
    case = case_of(subject_of(request.getfixturevalue(network)))
    most = []
    for name in ("quick", "full"):
        arsenal = replace(case.arsenal, budget=BUDGETS[name]).for_control()
        ascents = [arsenal.plain("ce"), arsenal.targeted(), arsenal.reference(), *arsenal.fab()]
        asked = [said(attack, case.classifier) for attack in [*arsenal.black_boxes(), *ascents]]
        most.append((sum(each.forward for each in asked), sum(each.backward for each in asked)))
    assert all(forward < 1000 and backward < 1000 for forward, backward in most)


@pytest.mark.parametrize("network", ["cnn", "noisy"])
def test_what_the_control_spends_is_enough_for_every_stage_of_an_attack(
    network, request, subject_of, monkeypatch
) -> None:
    case = case_of(subject_of(request.getfixturevalue(network)))
    images = torch.rand(4, 3, 32, 32, generator=generator("cpu", "large"))
    draw = {"draw": generator("cpu", "labels")} if case.stochastic else {}
    with torch.no_grad():
        labels = case.classifier(images, **draw).argmax(dim=1)
    rounds = []
    honest = _Walk.round
    monkeypatch.setattr(_Walk, "round", lambda self, *given: (rounds.append(given), honest(self, *given))[1])
    walk = replace(case.arsenal, budget=BUDGETS["full"]).for_control().black_boxes()[1]
    with frozen(case.classifier):
        walk(case.classifier, images, labels, threat=Threat("linf", 0.0), work=Work(0, 0))
    assert rounds


def test_a_void_audit_prints_no_robust_accuracy_and_stores_none(trained, tmp_path, capsys, monkeypatch) -> None:
    subject = trained("classification")
    run = Path(shutil.copytree(subject.run_dir, tmp_path / "run"))
    monkeypatch.setitem(ENCODERS._members, "three_convolutions", type(subject.encoder))
    monkeypatch.setattr(Apgd, "__call__", lambda self, classifier, images, labels, **_: images.clone())
    options = ["images=8", "steps=[1,2]", "queries=100", "samples=2", "directions=8"]
    assert main(["evaluate", str(run), "audit-quick", *options]) == 0
    (result,) = (run / "results").glob("audit*.json")
    said, stored = capsys.readouterr().out, json.loads(result.read_text())
    assert "void: the measurement itself failed its control" in said
    assert set(stored["metrics"]) == {"clean_accuracy", "clean_accuracy_majority", "clean_accuracy_all"}
    assert "correct" not in stored["per_image"]
    for figure in ("robust_accuracy", "plain_accuracy", "control_accuracy"):
        assert figure not in said


def test_attacks_that_may_not_move_attack_images_that_are_right_from_all_over_the_set(
    subject_of, cnn, monkeypatch
) -> None:
    """An attack that moves images a little is caught, although the first images are wrong and left alone."""
    subject = subject_of(cnn)
    classifier, images = (
        Classifier(subject.encoder, subject.head),
        torch.rand(60, 3, 8, 8, generator=generator("cpu", "sixty")),
    )
    with torch.no_grad():
        labels = classifier(images).argmax(dim=1)
    labels[:20] = (labels[:20] + 1) % 10
    bench = Bench(classifier, images, labels, threat=Threat("linf", 0.1), seed=0, chunk=60, draws=20)
    met = []
    monkeypatch.setattr(Apgd, "__call__", lambda self, _, images, labels, **__: (met.append(images), images + 1e-3)[1])
    case = replace(case_of(subject), bench=bench)
    check = control(case)
    assert check.status == "fail"
    assert "with eps = 0 attacks changed the images: plain apgd-ce-2" in check.reason
    places = [int((met[0][i] == images).flatten(1).all(dim=1).nonzero()) for i in range(16)]
    assert places[0] == 20
    assert places[-1] == 59
    assert {after - before for before, after in pairwise(places)} == {2, 3}


def test_a_network_that_is_always_wrong_has_a_control(subject_of, cnn) -> None:
    case = case_of(subject_of(cnn))
    case.bench.labels = (case.bench.labels + 1) % 10
    case.bench.clean = case.bench.share_right(case.bench.images)
    assert case.bench.clean.sum() == 0
    assert control(case).status == "pass"
