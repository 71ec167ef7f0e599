"""APGD: its schedule, its rules on functions that can be solved by hand, its strength beside pyautoattack's."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from small_attacks import said
from torch import nn

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.apgd import Apgd, apgd, checkpoints
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.gradients import Best, Evaluated, Objective
from sslkuramoto.attacks.targets import likeliest_others
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.threat import Threat

LINF, L2 = Threat("linf", 0.05), Threat("l2", 0.5)


def test_checkpoints_are_those_of_the_paper():
    """p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 (section 4.1)."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(7) == [2, 3, 4, 5, 6, 7]


class Quadratic(Objective):
    """f(x) = -|x - peak|^2, an objective without a network."""

    def __call__(self, candidates, *, gradient=True):
        away = candidates - self.peak
        loss = -away.square().sum(dim=(1, 2, 3))
        self.path.append(candidates.clone())
        return Evaluated(loss, torch.ones_like(loss), loss, -2 * away if gradient else None)

    def of(self, rows):
        return self


@pytest.fixture
def quadratic(noisy):
    """Build the objective of a peak; its network is never asked, and draws, so that no image is left alone."""

    def build(peak):
        objective = Quadratic(Classifier(*noisy), torch.zeros(len(peak), dtype=torch.long), "ce", 1)
        object.__setattr__(objective, "peak", peak)
        object.__setattr__(objective, "path", [])
        return objective

    return build


@pytest.mark.parametrize("threat", [Threat("linf", 0.1), Threat("l2", 0.3)], ids=str)
def test_it_finds_the_point_of_the_ball_that_is_nearest_to_a_peak(quadratic, threat):
    draw = torch.Generator().manual_seed(0)
    images = 0.4 + 0.2 * torch.rand(5, 3, 3, 3, generator=draw)
    peak = images + 0.08 * torch.randn(images.shape, generator=draw)
    start = threat.random_start(images, draw)
    best = Best(images)
    apgd(quadratic(peak), images, start, threat=threat, iterations=100, best=best)
    nearest = threat.project(peak, images)
    torch.testing.assert_close(best.candidates, nearest, rtol=0, atol=2e-3)


def test_the_first_steps_are_those_of_the_algorithm_and_the_step_is_halved_from_the_best_point(quadratic):
    """One pixel value near the peak: x swings by eta around it, which must end with steps that small."""
    threat, images = Threat("linf", 0.1), torch.full((1, 3, 1, 1), 0.5)
    objective = quadratic(images + 0.03)
    apgd(objective, images, images, threat=threat, iterations=10, best=Best(images))
    path = [float(x[0, 0, 0, 0]) - 0.5 for x in objective.path]
    x0, x1 = 0.0, 0.1  # P(0 + 0.2)
    z = -0.1  # the gradient at 0.1 points down: P(0.1 - 0.2)
    x2 = x1 + 0.75 * (z - x1) + 0.25 * (x1 - x0)
    assert path[:3] == pytest.approx([x0, x1, x2], abs=1e-6)
    z = min(x2 + 0.2, 0.1)
    x3 = x2 + 0.75 * (z - x2) + 0.25 * (x2 - x1)
    assert path[3] == pytest.approx(x3, abs=1e-6)
    # checkpoint 3 of 10: one of three steps went up, so eta = 0.1 and x = x3's best predecessor, the start at 0 or x3
    top = min((x0, x1, x2, x3), key=lambda x: abs(x - 0.03))
    z = max(-0.1, min(0.1, top + 0.1 * (1 if top < 0.03 else -1)))
    x4 = max(-0.1, min(0.1, top + 0.75 * (z - top) + 0.25 * (top - x2)))
    assert path[4] == pytest.approx(x4, abs=1e-6)


@pytest.mark.parametrize("condition", ["neither eta nor the best changed", "eta changed", "the best changed"])
def test_the_second_rule_halves_a_step_that_found_nothing_better(quadratic, monkeypatch, condition):
    """Where 3 of 4 steps went up rule 1 is silent; rule 2 speaks unless eta or the best value has changed."""
    monkeypatch.setattr("sslkuramoto.attacks.apgd.checkpoints", lambda iterations: [4, 8])
    plain = quadratic(torch.zeros(1, 3, 1, 1))
    losses = {
        # rule 1 wants 3 rises of 4: 5 < 6 < 7 < 8 after a fall from 100, and once more; eta has changed by then
        "neither eta nor the best changed": [100, 5, 6, 7, 8, 5, 6, 7, 8, 9],
        # at the first checkpoint 2 of 4 rise: eta is halved there, and may not be halved at the second by rule 2
        "eta changed": [100, 5, 4, 5, 6, 5, 6, 7, 8, 9],
        "the best changed": [4, 3, 4, 5, 6, 5, 6, 7, 8, 9],
    }[condition]

    class Told(Quadratic):
        def __call__(self, candidates, *, gradient=True):
            self.path.append(candidates.clone())
            loss = torch.full((len(candidates),), float(losses[len(self.path) - 1]))
            return Evaluated(loss, torch.ones_like(loss), loss, torch.ones_like(candidates) if gradient else None)

    objective = Told(plain.classifier, plain.labels, "ce", 1)
    object.__setattr__(objective, "path", [])
    etas = []
    threat = Threat("linf", 0.1)
    monkeypatch.setattr(Threat, "steepest", lambda self, gradient: torch.ones_like(gradient))
    project = Threat.project

    def seen(self, candidates, images):
        etas.append(candidates)
        return project(self, candidates, images)

    monkeypatch.setattr(Threat, "project", seen)
    images = torch.full((1, 3, 1, 1), 0.5)
    apgd(objective, images, images, threat=threat, iterations=9, best=Best(images))
    # z is projected first and the point second: z before the cut minus where the step began is eta
    begun = [float(point[0, 0, 0, 0]) for point in objective.path]
    steps = [round(float(z[0, 0, 0, 0]) - begin, 4) for z, begin in zip(etas[::2], begun, strict=False)]
    if condition != "the best changed":  # step 5 begins at the best point, which is the first
        steps[4] = round(float(etas[8][0, 0, 0, 0]) - 0.5, 4)
    expected = {
        "neither eta nor the best changed": [0.2] * 4 + [0.1] * 4 + [0.1],
        "eta changed": [0.2] * 4 + [0.1] * 5,
        "the best changed": [0.2] * 9,
    }[condition]
    assert steps == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_it_is_as_strong_as_autoattacks_on_a_deterministic_network(cnn, digits, threat):
    images, labels = digits["test"].images[:100] / 255, digits["test"].labels[:100].clone()
    classifier = Classifier(*cnn)
    norm = {"linf": "Linf", "l2": "L2"}[threat.norm]
    with frozen(classifier):
        for loss, name in (("ce", "ce"), ("dlr", "dlr"), ("dlr_targeted", None)):
            common = {"n_iter": 15, "eps": threat.eps, "norm": norm, "seed": 0, "device": "cpu"}
            theirs = (
                APGDAttack(classifier, loss=name, n_restarts=1, **common)
                if name
                else APGDAttack_targeted(classifier, n_target_classes=2, n_restarts=1, **common)
            )
            with torch.random.fork_rng(devices=[]):
                expected = theirs.perturb(images, labels)
            found = Apgd(loss=loss, iterations=15, targets=None if name else 2)(
                classifier, images, labels, threat=threat, work=Work(0, 0)
            )
            threat.check(found, images, loss)
            ours, other = ((classifier(x).argmax(1) == labels).sum().item() for x in (found, expected))
            assert 0 < other < 90, "the example must hold both outcomes"
            assert ours <= other + 1, loss


def test_targets_are_the_likeliest_wrong_classes_and_shrink_with_a_word(cnn, digits, subject_of):
    images, labels = digits["test"].images[:8] / 255, digits["test"].labels[:8].clone()
    classifier = Classifier(*cnn)
    targets = likeliest_others(Objective(classifier, labels, "dlr_targeted", 1), images, 4)
    logits = classifier(images).detach()
    for i in range(8):
        order = [c for c in logits[i].argsort(descending=True).tolist() if c != labels[i]]
        assert [int(each[i]) for each in targets] == order[:4]
    attack = Apgd(loss="dlr_targeted", iterations=2)
    assert attack.prepared(attack_target(subject_of(cnn), 10)).notes == []
    shrunk = attack.prepared(attack_target(subject_of(cnn), 5))
    assert (shrunk.targets, attack.targets, shrunk.options["targets"]) == (4, 9, 4)
    assert "4 target classes in place of 9: there are 5 classes" in shrunk.notes[0]
    few = attack.prepared(attack_target(subject_of(cnn), 3))
    assert (few.loss, few.targets, len(few.notes)) == ("margin_targeted", 2, 2)
    three = Classifier(cnn[0], nn.Linear(24, 3))
    with frozen(three):
        found = few(three, images, labels % 3, threat=LINF, work=Work(0, 0))
    LINF.check(found, images, "three classes")


@pytest.mark.parametrize("noise", ["fresh", "held"])
@pytest.mark.parametrize(
    "options", [{}, {"loss": "dlr_targeted", "targets": 3}, {"mean": "log_probability"}], ids=["ce", "targeted", "log"]
)
def test_the_cost_is_counted_right(noisy, cnn, digits, noise, options):
    images = digits["test"].images[:4] / 255
    attack = Apgd(iterations=4, k=3, noise=noise, **options)
    for network in (noisy, cnn):
        classifier = Classifier(*network)
        labels = classifier(images).argmax(1)
        with counted(classifier.encoder) as count, frozen(classifier):
            attack(classifier, images, labels, threat=Threat("linf", 1e-6), work=Work(0, 0))
        passes = said(attack, classifier)
        assert (count.forward, count.backward) == (4 * passes.forward, 4 * passes.backward)
        if options.get("mean"):
            assert passes == ((3 + 4 * 3, 4 * 3) if classifier.stochastic else (1, 4)), "another forward a gradient"
