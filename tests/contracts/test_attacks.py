"""The contract of every attack, on a deterministic and a stochastic network, in both norms."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, get_args

import pytest
import torch
from small_attacks import few
from small_networks import NoisyCNN, SmallCNN
from torch import nn

from sslkuramoto.attacks import ATTACKS, Attack, Work
from sslkuramoto.attacks.attack import ImpossibleAttackError, Source, Target, built
from sslkuramoto.classifier import Classifier
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator
from sslkuramoto.threat import Norm, Threat

CLASSES = 10
EPS: dict[Norm, float] = {"linf": 0.1, "l2": 1.0}
NETWORKS = {"deterministic": SmallCNN, "stochastic": NoisyCNN}

every_attack = pytest.mark.parametrize("name", list(ATTACKS))
every_network = pytest.mark.parametrize("network", list(NETWORKS))
every_norm = pytest.mark.parametrize("norm", list(EPS))


def classifier_of(network: str, classes: int = CLASSES) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = NETWORKS[network]().eval()
        head = nn.Linear(encoder.num_features, classes)
    return Classifier(encoder, head, seed=0)


def prepared(name: str, classifier: Classifier, classes: int = CLASSES) -> list[Attack]:
    """Return the attacks of one entry, or skip where it does not apply to this network and says so."""
    found = []
    for attack in built([few(name)]):
        with suppress(ImpossibleAttackError):
            found.append(attack.prepared(Target(classifier.encoder, classes, source=partial(source, classes))))
    if not found:
        pytest.skip("declares itself impossible for this network")
    return found


def source(classes: int, run: str | None, changes: Mapping[str, Any]) -> Source:
    """Return another network for attacks that need one."""
    other = classifier_of("deterministic", classes)
    return Source(other.encoder, other.head, classes, "another network", {"weights": "another"})


def images_and_labels(classes: int = CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(4, 3, 8, 8, generator=generator("cpu", "images"))
    return images, torch.arange(4) % classes


def candidates(attack: Attack, classifier: Classifier, threat: Threat, classes: int = CLASSES) -> torch.Tensor:
    images, labels = images_and_labels(classes)
    classifier.restart("contract")  # the noise of a stochastic one is a stream, which a battery restarts for each unit
    return attack(classifier, images, labels, threat=threat, work=Work(seed=0, chunk=0)).detach()


@every_attack
@every_network
@every_norm
def test_candidates_are_pixels_inside_the_ball_and_the_same_each_time(name: str, network: str, norm: Norm) -> None:
    classifier = classifier_of(network)
    images, _ = images_and_labels()
    for attack in prepared(name, classifier):
        found = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            found.append(candidates(attack, classifier, Threat(norm, EPS[norm])))
            assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
        assert torch.equal(*found)
        assert found[0].shape == images.shape
        assert found[0].dtype == torch.float32
        assert 0 <= found[0].min() <= found[0].max() <= 1
        moved = (found[0] - images).flatten(1)
        length = moved.abs().amax(dim=1) if norm == "linf" else moved.norm(dim=1)
        assert (length <= EPS[norm] * (1 + 1e-5)).all()


@every_attack
@every_network
@every_norm
def test_a_ball_of_radius_0_leaves_the_images(name: str, network: str, norm: Norm) -> None:
    classifier = classifier_of(network)
    for attack in prepared(name, classifier):
        assert torch.equal(candidates(attack, classifier, Threat(norm, 0.0)), images_and_labels()[0])


def of_every_loss(name: str) -> list[Attack]:
    """Return the attacks of an entry and, if it has a choice of losses, those with each loss that it accepts."""
    losses = [loss for loss in get_args(ATTACKS.annotations(name).get("loss")) if isinstance(loss, str)]
    found = built([few(name)])
    for loss in losses:
        with suppress(UserError):  # a targeted loss, of which most attacks have none and say so
            found += built([few(name, loss=loss)])
    assert len(found) > len(losses) - 3
    return found


def is_targeted(attack: Attack) -> bool:
    return any(str(attack.options.get(key, "")).endswith(("_targeted", "-t")) for key in ("loss", "member"))


@every_attack
@every_network
@pytest.mark.parametrize("classes", [2, 3])
def test_of_two_and_three_classes_it_makes_candidates_and_says_what_it_changed(
    name: str, network: str, classes: int
) -> None:
    classifier, threat = classifier_of(network, classes), Threat("linf", 0.1)
    images, _ = images_and_labels(classes)
    refused: list[tuple[str, str]] = []
    for attack in of_every_loss(name):
        try:
            ready = attack.prepared(Target(classifier.encoder, classes, source=partial(source, classes)))
        except ImpossibleAttackError as error:
            refused.append((attack.label, str(error)))
            continue
        threat.check(candidates(ready, classifier, threat, classes), images, name)
        changed = [key for key in ("loss", "targets") if attack.options.get(key) != ready.options.get(key)]
        said = " ".join(ready.notes)
        if "loss" in changed:
            assert f"needs {3 if attack.options['loss'] == 'dlr' else 4} classes, there are {classes}" in said
        if "targets" in changed and is_targeted(ready):
            assert f"{classes - 1} target classes in place of {attack.options['targets']}" in said
    assert all(label in reason for label, reason in refused)


@every_attack
def test_it_says_what_it_is_by_its_options(name: str) -> None:
    for attack in built([few(name)]):
        assert attack.label
        assert attack.restarts >= 1
        assert attack.options
