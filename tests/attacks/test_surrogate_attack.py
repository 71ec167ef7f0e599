"""The attack with other derivatives: what it tries, what it keeps, and networks that have no such step."""

import pytest
import torch
from small_attacks import said
from torch import nn

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.attack import ImpossibleAttackError
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.gradients import objective_of
from sslkuramoto.attacks.held_noise import HeldNoise
from sslkuramoto.attacks.pgd import Pgd
from sslkuramoto.attacks.surrogate_attack import Surrogate
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.dynamics.kuramoto import kuramoto_step
from sslkuramoto.dynamics.surrogate import SURROGATES, TANGENT_ONLY, kuramoto_layers
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.threat import Threat


def akorn(**options):
    """A small random AKOrN; its labels are taken to be what it says."""
    with borrowed_global(generator("cpu", "akorn to attack")):
        encoder = ENCODERS.build("akorn", {"channels": 8, "kernel_sizes": (3, 3), "num_steps": 2, **options})
        return encoder, nn.Linear(encoder.num_features, 10)


def batch(digits, classifier, n=8):
    images = digits["test"].images[:n] / 255
    with torch.no_grad():
        return images, classifier(images).argmax(1)


@pytest.mark.parametrize("threat", [Threat("linf", 0.1), Threat("l2", 1.0)], ids=str)
def test_of_all_surrogates_the_strongest_candidate_is_kept_image_by_image(digits, subject_of, threat):
    network = akorn()
    classifier, work = Classifier(*network), Work(0, 0)
    images, labels = batch(digits, classifier)
    names = ["autograd", "no_norm", "root_arctan"]
    options = {"k": 2, "iterations": 3}
    joint = Surrogate(surrogates=names, **options).prepared(attack_target(subject_of(network), 10))
    with frozen(classifier):
        found = joint(classifier, images, labels, threat=threat, work=work)
        threat.check(found, images, "surrogate")
        alone = [
            Surrogate(surrogates=[name], **options)(classifier, images, labels, threat=threat, work=work)
            for name in names
        ]
        objective = objective_of(
            classifier, images, labels, loss="log_margin", noise="held", k=2, work=work, key="surrogate"
        )
        judged = [objective(x, gradient=False) for x in (found, *alone)]
    ranks = [[(bool(each.right[i] <= 0.5), float(each.wrong_by[i])) for i in range(8)] for each in judged]
    assert ranks[0] == [max(column) for column in zip(*ranks[1:], strict=True)]
    assert not torch.equal(alone[0], alone[1])
    assert all(layer.advance is kuramoto_step for layer in kuramoto_layers(network[0]))
    (line,) = joint.findings(joint.noticed)
    kept = dict(
        part.rsplit(" ", 1)
        for part in line.removeprefix("surrogate: number of strongest candidates by surrogate: ").split(", ")
    )
    assert list(kept) == names
    assert sum(int(n) for n in kept.values()) == 8


@pytest.mark.parametrize("mode", ["random", "fixed", "fixed_per_image"])
def test_the_cost_is_counted_right(digits, mode):
    network = akorn()
    classifier = Classifier(*network, mode).at(torch.tensor([4, 8, 1, 3]))
    images, labels = batch(digits, classifier, 4)
    attack = Surrogate(surrogates=["autograd", "half_norm"], k=3, iterations=2)
    with counted(classifier.encoder) as count, frozen(classifier):
        attack(classifier, images, labels, threat=Threat("linf", 1e-6), work=Work(0, 0))
    passes = said(attack, classifier)
    assert count.backward <= 4 * passes.backward
    assert count.forward <= 4 * passes.forward
    if mode == "random":
        assert (count.forward, count.backward) == (4 * passes.forward, 4 * passes.backward)


def test_surrogates_without_a_meaning_are_left_out_with_a_word(subject_of):
    ready = Surrogate().prepared(attack_target(subject_of(akorn(project=False)), 10))
    assert set(ready.surrogates) == set(SURROGATES) - TANGENT_ONLY
    assert ready.options["surrogates"] == ready.surrogates
    assert ready.notes == ["surrogate: root_arctan, linear_arctan, exponential skipped: the drive is not projected"]
    assert Surrogate().prepared(attack_target(subject_of(akorn()), 10)).notes == []
    with pytest.raises(ImpossibleAttackError, match="surrogate skipped: its surrogates need a projected drive"):
        Surrogate(surrogates=["root_arctan"]).prepared(attack_target(subject_of(akorn(project=False)), 10))


def test_a_network_without_oscillators_cannot_be_attacked_so(cnn, subject_of):
    with pytest.raises(ImpossibleAttackError, match="surrogate skipped: the network has no oscillator layer"):
        Surrogate().prepared(attack_target(subject_of(cnn), 10))


@pytest.mark.parametrize("kind", [HeldNoise, Pgd])
def test_other_attacks_take_a_surrogate_too(kind, digits, cnn, subject_of):
    network = akorn()
    classifier, threat = Classifier(*network), Threat("linf", 0.1)
    images, labels = batch(digits, classifier)
    options = {"k": 2, "iterations": 3} | ({"max_k": 2} if kind is HeldNoise else {"noise": "held"})
    with frozen(classifier):
        plain, other = (
            kind(backward=name, **options)(classifier, images, labels, threat=threat, work=Work(0, 0))
            for name in ("autograd", "small_gamma")
        )
    assert not torch.equal(plain, other)
    assert kind(backward="small_gamma").label == kind().label + "-small_gamma"
    assert kind(backward="autograd").prepared(attack_target(subject_of(cnn), 10)).notes == []
    with pytest.raises(ImpossibleAttackError, match="skipped: backward=small_gamma is not defined for this network"):
        kind(backward="small_gamma").prepared(attack_target(subject_of(cnn), 10))


@pytest.mark.parametrize("surrogates", [[], ["autograd", "autograd"]])
def test_bad_options_are_one_line(surrogates):
    with pytest.raises(UserError, match=r"surrogates=.*: must name at least one of autograd, half_norm"):
        Surrogate(surrogates=surrogates)
