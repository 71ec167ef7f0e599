"""Minimal-norm attacks: on a linear classifier the distance to the nearest mistake is known exactly."""

import pytest
import torch
from torch import nn

from sslkuramoto.attacks import Attack, Work
from sslkuramoto.attacks.ddn import Ddn
from sslkuramoto.attacks.fmn import Fmn
from sslkuramoto.attacks.gradients import Evaluated
from sslkuramoto.attacks.nearest import Nearest, needed
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.randomness import generator
from sslkuramoto.threat import Norm, Threat

FAR = {"l2": Threat("l2", torch.inf), "linf": Threat("linf", 1.0)}


class Pixels(Encoder):
    """Returns the pixels as features."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 48

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        return Features(images.flatten(1), images)


class Sphere(Pixels):
    """Squared length of the pixels around the middle of the cube."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 1

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        return Features((images - 0.5).flatten(1).square().sum(dim=1, keepdim=True), images)


def linear(classes: int) -> tuple[Classifier, torch.Tensor, torch.Tensor]:
    """Return a linear classifier, images in the middle of the cube, and the labels that it gives them."""
    head = nn.Linear(48, classes)
    draw = generator("cpu", "linear")
    with torch.no_grad():
        head.weight.copy_(torch.randn(classes, 48, generator=draw))
        head.bias.copy_(-head.weight.sum(dim=1) / 2)
    classifier = Classifier(Pixels(), head)
    images = 0.5 + 0.05 * torch.randn(16, 3, 4, 4, generator=draw)
    return classifier, images, classifier(images).argmax(dim=1)


def exact(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return the distance to the nearest of all other classes."""
    return to_each(classifier, images, labels, norm).amin(dim=0)


def to_each(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return, class by class, margin / dual norm of the difference of weights: where that class overtakes the label."""
    weight, logits = classifier.head.weight, classifier(images)
    per_class = []
    for other in range(len(weight)):
        difference = weight[labels] - weight[other]
        size = difference.norm(dim=1) if norm == "l2" else difference.abs().sum(dim=1)
        margin = logits.gather(1, labels[:, None]).squeeze(1) - logits[:, other]
        per_class.append((margin / size).where(labels != other, torch.inf))
    return torch.stack(per_class).detach()


def reached(attack: Attack, classifier: Classifier, images, labels, threat: Threat) -> torch.Tensor:
    with frozen(classifier):
        found = attack(classifier, images, labels, threat=threat, work=Work(0, 0))
        assert (classifier(found).argmax(dim=1) != labels).all()
    return threat.distances(found, images)


ATTACKS = pytest.mark.parametrize(
    ("attack", "norm", "tolerance"),
    [
        (Ddn(iterations=200, loss="margin"), "l2", 0.06),
        (Fmn(iterations=200), "l2", 0.03),
        (Fmn(iterations=200), "linf", 0.03),
    ],
    ids=lambda value: getattr(value, "label", str(value)),
)


@ATTACKS
def test_the_distance_of_two_linear_classes_is_the_margin_over_the_dual_norm(attack, norm, tolerance):
    classifier, images, labels = linear(2)
    true = exact(classifier, images, labels, norm)
    found = reached(attack, classifier, images, labels, FAR[norm])
    assert (found >= true * (1 - 1e-4)).all(), "nothing is nearer than the exact distance"
    assert (found <= true * (1 + tolerance)).all()


@ATTACKS
def test_among_several_classes_the_distance_is_that_of_the_class_where_the_descent_ends(attack, norm, tolerance):
    """A descent may end in a class that is not the nearest, but always at that class's exact distance."""
    classifier, images, labels = linear(5)
    with frozen(classifier):
        candidates = attack(classifier, images, labels, threat=FAR[norm], work=Work(0, 0))
        ends = classifier(candidates).argmax(dim=1)
    assert (ends != labels).all()
    found, each = FAR[norm].distances(candidates, images), to_each(classifier, images, labels, norm)
    assert (found >= each.amin(dim=0) * (1 - 1e-4)).all()
    assert (found <= each.gather(0, ends[None]).squeeze(0) * (1 + tolerance)).all()
    assert (found <= each.amin(dim=0) * (1 + tolerance)).sum() >= 15, "and nearly all end in the nearest"


@pytest.mark.parametrize("attack", [Ddn(iterations=200), Fmn(iterations=200)], ids=lambda attack: attack.label)
def test_the_distance_to_a_sphere_is_the_difference_of_radii(attack):
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0], [1.0]]))
        head.bias.copy_(torch.tensor([1.0, 0.0]))  # class 1 outside the sphere of radius 1
    noise = torch.randn(8, 3, 4, 4, generator=generator("cpu", "sphere"))
    images = 0.5 + 0.6 * noise / noise.flatten(1).norm(dim=1)[:, None, None, None]
    labels = torch.zeros(8, dtype=torch.long)
    found = reached(attack, Classifier(Sphere(), head), images, labels, FAR["l2"])
    assert ((found >= 0.4 - 1e-4) & (found <= 0.4 * 1.06)).all()


@pytest.mark.parametrize("attack", [Ddn(), Fmn()], ids=lambda attack: attack.label)
def test_an_image_without_a_mistake_inside_the_ball_is_returned_unchanged(attack):
    classifier, images, labels = linear(2)
    near = Threat("l2", float(exact(classifier, images, labels, "l2").min()) * 0.99)
    with frozen(classifier):
        assert torch.equal(attack(classifier, images, labels, threat=near, work=Work(0, 0)), images)


def test_the_nearest_of_all_offered_mistakes_is_kept():
    images = torch.full((3, 3, 1, 1), 0.5)
    nearest = Nearest(images, Threat("linf", 0.2), 1)
    none = torch.zeros(3)
    for size, right in ((0.15, [0.0, 0.0, 1.0]), (0.1, [0.0, 1.0, 1.0]), (0.12, [0.0, 0.0, 1.0])):
        fooled = nearest.offer(images + size, Evaluated(none, torch.tensor(right), none))
        assert fooled.tolist() == [not each for each in right]
    nearest.offer(images + 0.3, Evaluated(none, none, none))  # outside the ball
    assert nearest.distances.tolist() == pytest.approx([0.1, 0.12, torch.inf])
    torch.testing.assert_close(nearest.candidates[:, 0, 0, 0], torch.tensor([0.6, 0.62, 0.5]))


def test_a_mistake_of_several_draws_is_beyond_chance():
    assert [needed(k) for k in (1, 2, 4, 5, 8, 20, 32, 100)] == [1, 2, 4, 5, 7, 15, 22, 59]
    images = torch.full((3, 3, 1, 1), 0.5)
    right = torch.tensor([0.25, 0.3, 0.5])  # of 20 draws
    fooled = Nearest(images, Threat("linf", 0.2), 20).offer(images + 0.1, Evaluated(right, right, right))
    assert fooled.tolist() == [True, False, False]
