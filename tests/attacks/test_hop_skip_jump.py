"""HopSkipJump: on a linear network it ends at the distance that theory gives; it sees decisions and nothing else."""

import copy

import pytest
import torch
from small_attacks import said
from torch import nn

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.hop_skip_jump import HopSkipJump
from sslkuramoto.attacks.square import SquareEot
from sslkuramoto.classifier import Classifier, frozen, predictions_over_draws
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator
from sslkuramoto.threat import Threat

PIXELS = 48
L2, LINF = Threat("l2", 0.5), Threat("linf", 0.1)


class Flat(Encoder):
    """Pixels as features; noise of its own moves all of a colour together."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.num_features, self.noise, self.stochastic = PIXELS, noise, noise > 0

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        if self.stochastic:
            initial = self.sample_initial(images, draw) if initial is None else initial
            images = images + self.noise * initial
        return Features(images.flatten(1), images)

    def sample_initial(self, images, draw):
        return torch.randn(len(images), 3, 1, 1, generator=draw)


def linear(noise: float = 0.0) -> tuple[Classifier, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a classifier with one plane as its boundary, images on one side, labels, and the plane's normal."""
    draw = generator("cpu", "plane")
    normal = torch.randn(PIXELS, generator=draw)
    head = nn.Linear(PIXELS, 2)
    with torch.no_grad():
        head.weight.copy_(torch.stack([normal, torch.zeros(PIXELS)]))
        head.bias.copy_(torch.tensor([-0.5 * float(normal.sum()), 0.0]))
    images = 0.5 + 0.02 * torch.randn(8, 3, 4, 4, generator=draw)
    heights = (images - 0.5).flatten(1) @ normal
    wanted = torch.linspace(0.3, 1.5, 8)  # far enough inside the cube for the nearest point to lie there too
    images += ((wanted - heights)[:, None] * normal / normal.square().sum()).view_as(images)
    return Classifier(Flat(noise), head), images, torch.zeros(8, dtype=torch.int64), normal


def fooled(classifier, images, labels, attack, threat):
    with frozen(classifier):
        found = attack(classifier, images, labels, threat=threat, work=Work(0, 0))
    threat.check(found, images, attack.label)
    return classifier(found).argmax(1) != labels


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_on_a_linear_network_it_finds_the_nearest_point_of_the_plane(norm):
    classifier, images, labels, normal = linear()
    heights = (images - 0.5).flatten(1) @ normal
    distances = heights / (normal.norm() if norm == "l2" else normal.abs().sum())
    attack = HopSkipJump(queries=4000)
    two = images[1::4].split(1), labels[1::4].split(1), distances[1::4].tolist()
    for image, label, distance in zip(*two, strict=True):
        assert fooled(classifier, image, label, attack, Threat(norm, 1.12 * distance)).all()
        assert not fooled(classifier, image, label, attack, Threat(norm, 0.99 * distance)).any()


def test_it_sees_decisions_and_nothing_else(cnn, digits):
    images, labels = digits["test"].images[:12] / 255, digits["test"].labels[:12].clone()
    encoder, head = cnn
    louder = copy.deepcopy(head)
    with torch.no_grad():
        louder.weight.mul_(2.0**12)
        louder.bias.mul_(2.0**12)
    found = {}
    for name, last in {"own": head, "louder": louder}.items():
        with frozen(classifier := Classifier(encoder, last)):
            attack = HopSkipJump(queries=300)
            found[name] = attack(classifier, images, labels, threat=LINF, work=Work(0, 0))
    torch.testing.assert_close(found["louder"], found["own"], rtol=0, atol=0)
    assert not torch.equal(found["own"], images)


def test_in_l2_it_needs_fewer_queries_than_square(cnn, digits):
    images, labels = digits["test"].images[:48] / 255, digits["test"].labels[:48].clone()
    classifier = Classifier(*cnn)
    broken = [
        fooled(classifier, images, labels, attack, L2).sum()
        for attack in (HopSkipJump(queries=1000), SquareEot(queries=1000))
    ]
    assert broken[0] > broken[1] > 0


def test_votes_of_more_draws_find_the_boundary_of_a_network_that_draws():
    classifier, images, labels, normal = linear(noise=0.1)
    threat = Threat("l2", 0.25)

    def right(candidates):
        return float((predictions_over_draws(classifier, [candidates], 200, "score") == labels).float().mean())

    shares = {}
    for draws in (1, 16):
        with frozen(classifier):
            attack = HopSkipJump(queries=600, draws=draws)
            shares[draws] = right(attack(classifier, images, labels, threat=threat, work=Work(0, 0)))
    best = right(images - threat.eps * (normal / normal.norm()).view(3, 4, 4))
    assert right(images) > 0.95
    assert best < 0.05
    assert shares[16] < 0.5 * (best + shares[1]), "votes must be worth more than half of what is left to find"
    assert shares[16] < 0.3


class Band(nn.Module):
    """Wrong between two parallel planes, right on both sides of them."""

    def __init__(self, normal: torch.Tensor) -> None:
        super().__init__()
        self.normal = nn.Parameter(normal)

    def forward(self, features):
        heights = (features - 0.5) @ self.normal
        return torch.stack([(heights + 0.5).abs() - 0.5, torch.zeros_like(heights)], dim=1)


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.6), ("linf", 0.15)])
def test_a_region_that_ends_before_the_ball_does_is_kept(norm, eps):
    """The edge of the ball lies behind the band; only points on the way there are wrong."""
    plain, images, labels, normal = linear()
    classifier, threat = Classifier(plain.encoder, Band(normal)), Threat(norm, eps)
    steepest = threat.steepest(-normal.view(1, 3, 4, 4).expand(8, -1, -1, -1))
    behind = threat.project(images + eps * steepest, images)
    assert bool((classifier(behind).argmax(1) == labels).all())
    attack = HopSkipJump(queries=2000)
    # one at a time: others of the batch would be starts
    broken = [
        fooled(classifier, *one, attack, threat).item() for one in zip(images.split(1), labels.split(1), strict=True)
    ]
    assert all(broken)


@pytest.mark.parametrize("queries", [1, 9, 40, 400])
@pytest.mark.parametrize("mode", ["random", "fixed_per_image"])
def test_queries_are_never_more_than_said(noisy, digits, queries, mode):
    images, labels = digits["test"].images[:6] / 255, digits["test"].labels[:6].clone()
    classifier = Classifier(*noisy, mode).at(torch.tensor([3, 14, 15, 92, 65, 35]))
    attack = HopSkipJump(queries=queries, draws=3)
    most = queries * (3 if classifier.stochastic else 1)
    with frozen(classifier), counted(classifier.encoder) as count:
        attack(classifier, images, labels, threat=LINF, work=Work(0, 0))
    assert 0 < count.forward <= 6 * said(attack, classifier).forward <= 6 * most
    assert count.graphs == count.backward == 0
    if queries == 400:
        assert count.forward > 0.5 * 6 * most


def test_an_image_alone_and_an_empty_batch(cnn, digits):
    images, labels = digits["test"].images[:1] / 255, digits["test"].labels[:1].clone()
    attack = HopSkipJump(queries=400)
    assert fooled(Classifier(*cnn), images, labels, attack, Threat("linf", 0.5)).all()
    assert attack(Classifier(*cnn), images[:0], labels[:0], threat=LINF, work=Work(0, 0)).shape == images[:0].shape


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"probe_size": 0.0}, "probe_size=0.0: must be in (0, 1]"),
        ({"probe_size": 1.5}, "probe_size=1.5: must be in (0, 1]"),
        ({"queries": 0}, "queries=0: must be >= 1"),
        ({"probes": 0}, "probes=0: must be >= 1"),
    ],
)
def test_bad_options(options, said):
    with pytest.raises(UserError) as error:
        HopSkipJump(**options)
    assert said in str(error.value)
