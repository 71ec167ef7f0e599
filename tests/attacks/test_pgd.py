"""Projected gradient ascent: FGSM and momentum by their equations, and what is returned when noise is fresh."""

import pytest
import torch
from small_attacks import said
from torch.nn import functional as F

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.gradients import objective_of
from sslkuramoto.attacks.pgd import Pgd, step_sizes
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.errors import UserError
from sslkuramoto.threat import Threat


def first(digits, n):
    return digits["test"].images[:n] / 255, digits["test"].labels[:n].clone()


@pytest.mark.parametrize("threat", [Threat("linf", 0.03), Threat("l2", 0.3)], ids=str)
def test_one_step_without_a_random_start_is_fgsm(cnn, digits, threat):
    images, labels = first(digits, 12)
    classifier = Classifier(*cnn)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(classifier(leaf), labels, reduction="sum"), leaf)
    step = gradient.sign() if threat.norm == "linf" else gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    expected = (images + threat.eps * step).clamp(0, 1)
    attack = Pgd(iterations=1, random_start=False)
    with frozen(classifier):
        found = attack(classifier, images, labels, threat=threat, work=Work(0, 0))
    assert attack.label == "fgsm-ce-fresh"
    weaker = classifier(images).argmax(1) != labels  # wrong from the start: left alone
    torch.testing.assert_close(found[~weaker], expected[~weaker], rtol=0, atol=1e-6)
    assert torch.equal(found[weaker], images[weaker])


def test_momentum_adds_gradients_of_length_one(noisy, digits):
    images, labels = first(digits, 6)
    classifier, threat, work = Classifier(*noisy), Threat("linf", 0.05), Work(0, 0)
    attack = Pgd(iterations=4, momentum=0.7, step_size=0.4, noise="fresh", k=3, random_start=False)
    with frozen(classifier):
        found = attack(classifier, images, labels, threat=threat, work=work)
        objective = objective_of(classifier, images, labels, loss="ce", noise="fresh", k=3, work=work, key="pgd")
        x, v = images, torch.zeros_like(images)
        for _ in range(4):
            g = objective(x).gradient
            v = 0.7 * v + g / g.abs().sum(dim=(1, 2, 3), keepdim=True)
            x = (images + (x + 0.02 * v.sign() - images).clamp(-0.05, 0.05)).clamp(0, 1)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)  # fresh noise: the last point


def test_the_cosine_falls_from_the_first_size_towards_nothing():
    sizes = step_sizes("cosine", 0.8, 4)
    assert sizes == pytest.approx([0.8, 0.8 * (1 + 0.5**0.5) / 2, 0.4, 0.8 * (1 - 0.5**0.5) / 2])
    assert step_sizes("constant", 0.3, 2) == [0.3, 0.3]


def test_on_held_noise_the_strongest_point_of_the_path_is_returned(noisy, digits):
    images, labels = first(digits, 16)
    classifier, threat, work = Classifier(*noisy), Threat("linf", 0.05), Work(0, 0)
    with frozen(classifier):
        few, more = (
            Pgd(iterations=n, step_size=1.0, loss="log_margin", noise="held", k=4)(
                classifier, images, labels, threat=threat, work=work
            )
            for n in (3, 9)
        )
        objective = objective_of(classifier, images, labels, loss="log_margin", noise="held", k=4, work=work, key="pgd")
        before, after = objective(few, gradient=False), objective(more, gradient=False)
    fooled = before.right <= 0.5
    assert ((after.right <= 0.5) >= fooled).all(), "more steps never give a fooling point back"
    same = (after.right <= 0.5) == fooled
    assert (after.wrong_by >= before.wrong_by - 1e-6)[same].all()


@pytest.mark.parametrize("noise", ["fresh", "held"])
def test_the_cost_is_counted_right(noisy, cnn, digits, noise):
    images, _ = first(digits, 4)
    attack = Pgd(iterations=3, k=5, noise=noise)
    for network in (noisy, cnn):
        classifier = Classifier(*network)
        labels = classifier(images).argmax(1)
        with counted(classifier.encoder) as count, frozen(classifier):
            attack(classifier, images, labels, threat=Threat("linf", 1e-6), work=Work(0, 0))
        passes = said(attack, classifier)
        assert (count.forward, count.backward) == (4 * passes.forward, 4 * passes.backward)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations=0: must be >= 1"),
        ({"step_size": 0.0}, "step_size=0.0: must be > 0"),
        ({"momentum": -1.0}, "momentum=-1.0: must be >= 0"),
        ({"targets": 3}, "targets=3: the loss ce has no targets; choose one that ends in _targeted"),
        ({"restarts": 2, "random_start": False, "k": 1}, "every restart begins at the image"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError, match=message):
        Pgd(**options)
