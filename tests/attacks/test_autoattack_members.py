"""AutoAttack here and AutoAttack there: the same settings, the same pixels, nothing else touched."""

from itertools import chain

import pytest
import torch
from pyautoattack import AutoAttack
from small_attacks import THEIR_NORMS, directly, few, ready

from sslkuramoto.attacks import AutoAttackVersion, Work, run_battery
from sslkuramoto.attacks.attack import ImpossibleAttackError, built
from sslkuramoto.attacks.counting import counted
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.randomness import seed_of
from sslkuramoto.threat import Threat

LINF, L2 = Threat("linf", 0.06), Threat("l2", 0.6)
MEMBERS = ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]


def first(digits, n):
    return digits["test"].images[:n] / 255, digits["test"].labels[:n].clone()


def member(name, **changed):
    return few("autoattack", version=None, **changed) | {"member": name}


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_versions_have_the_settings_of_pyautoattack(noisy, cnn, subject_of, version, threat):
    """Every attribute of every attack that their loop would run, read from their objects just before it does."""
    classifier, seed = Classifier(*noisy), seed_of(7, "autoattack") % 2**31
    theirs = AutoAttack(classifier, norm=THEIR_NORMS[threat.norm], eps=threat.eps, seed=seed, version=version)
    attacks = AutoAttackVersion(version=version).expanded()
    assert [attack.label for attack in attacks] == theirs.attacks_to_run
    for attack in attacks:
        fitted = attack.prepared(attack_target(subject_of(noisy), 10))
        assert fitted.notes == []
        ours = fitted._adversary(classifier, threat, seed, torch.device("cpu"))
        group = {"apgd-t": theirs.apgd_targeted, "square": theirs.square, "fab": theirs.fab, "fab-t": theirs.fab}
        other = group.get(attack.label, theirs.apgd)
        for key in set(vars(other)) - {"loss", "targeted", "logger", "device", "y_target"}:
            if (attack.label, key) != ("fab-t", "n_restarts"):  # their loop sets it to 1 before FAB-T
                assert getattr(ours, key) == getattr(other, key), (attack.label, key)
        kind = {"apgd-ce": ("loss", "ce"), "apgd-dlr": ("loss", "dlr"), "fab": ("targeted", False)}
        key, value = kind.get(attack.label, ("targeted", True) if attack.label == "fab-t" else ("eps", threat.eps))
        assert getattr(ours, key) == value
    assert next(attack for attack in ours_of("fab-t")).starts == 1


def ours_of(name):
    return built([{"name": "autoattack", "member": name}])


def test_eot_is_kept_for_a_network_that_draws_and_is_pointless_for_one_that_does_not(noisy, cnn, subject_of):
    version = {"name": "autoattack", "version": "rand", "iterations": 2}
    drawing, fixed = ready(subject_of(noisy), version), ready(subject_of(cnn), version)
    assert [attack.eot_iter for attack in drawing] == [20, 20]
    assert [attack.notes for attack in drawing] == [[], []]
    assert [attack.eot_iter for attack in fixed] == [1, 1]
    assert all("one gradient replaces the mean of 20" in attack.notes[0] for attack in fixed)


def test_a_network_whose_oscillators_are_held_is_asked_for_one_gradient(noisy, digits, subject_of):
    images, _ = first(digits, 3)
    (attack,) = ready(subject_of(noisy), member("apgd-ce", eot_iter=20, iterations=2))
    passes = {}
    for mode in ("random", "fixed"):
        classifier = Classifier(*noisy, mode)
        with counted(classifier.encoder) as count, frozen(classifier):
            attack(classifier, images, classifier(images).argmax(1), threat=Threat("linf", 1e-6), work=Work(0, 0))
        passes[mode] = count.backward
    assert passes["fixed"] == 3 * 2, "the gradient at the last point moves nothing"
    assert passes["random"] in (60, 120, 180), "20 draws, 3 gradients, images that the first draw gets right"


@pytest.mark.parametrize(("version", "chunk"), [("standard", 7), ("plus", 20)])
@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_it_agrees_image_by_image_with_pyautoattack_called_directly(cnn, digits, subject_of, version, chunk, threat):
    """Deterministic network: the same verdicts; the same pixels, except that APGD ends at an earlier visited point."""
    images, labels = first(digits, 20)
    settings = {"iterations": 12, "queries": 40, "targets": 2}
    if version == "plus":
        settings |= {"restarts": 2, "iterations": 3}
    classifier, visited = Classifier(*cnn), []
    watching = classifier.encoder.register_forward_pre_hook(lambda _, given: visited.append(given[0].detach()))
    with frozen(classifier):
        parts = zip(images.split(chunk), labels.split(chunk), strict=True)
        expected = torch.cat([directly(classifier, *part, threat, version, 3, **settings) for part in parts])
    watching.remove()
    attacks = ready(subject_of(cnn), {"name": "autoattack", "version": version, **settings})
    found = run_battery(classifier, images, labels, attacks, threat=threat, seed=3, chunk=chunk, draws=20)
    standing = classifier(expected).argmax(1) == labels
    assert [by is None for by in found.broken_by] == standing.tolist()
    assert 0.1 < standing.float().mean() < 0.9, "the example must hold both outcomes"
    assert torch.equal(found.worst, found.wrapper)
    by_apgd = torch.tensor([str(by).startswith("apgd") for by in found.broken_by])
    rounding = 0.0 if threat.norm == "linf" else 1e-6  # l2 candidates of theirs may lie outside by rounding
    assert (found.wrapper - expected)[~by_apgd].abs().max() <= rounding
    points = torch.cat(visited)
    apart = [(points - one).abs().amax(dim=(1, 2, 3)).min() for one in found.wrapper[by_apgd]]
    assert max(apart) <= rounding
    assert (classifier(found.wrapper[by_apgd]).argmax(1) != labels[by_apgd]).all()


def test_with_one_state_an_image_each_is_attacked_as_if_alone(noisy, digits, subject_of):
    images, labels = first(digits, 6)
    index = torch.tensor([3, 14, 15, 92, 65, 35])
    classifier = Classifier(*noisy, "fixed_per_image")
    for attack in ready(subject_of(noisy), *(member(name) for name in MEMBERS)):
        together = attack(classifier.at(index), images, labels, threat=LINF, work=Work(0, 0))
        for i in (0, 4):
            row = slice(i, i + 1)
            alone = attack(classifier.at(index[row]), images[row], labels[row], threat=LINF, work=Work(0, 0))
            assert torch.equal(together[row], alone), attack.label


@pytest.mark.parametrize(
    ("classes", "left", "words"),
    [
        (10, ["apgd-ce", "apgd-t", "fab-t", "square"], None),
        (6, ["apgd-ce", "apgd-t", "fab-t", "square"], "5 target classes in place of 9: there are 6 classes"),
        (4, ["apgd-ce", "apgd-t", "fab-t", "square"], "3 target classes in place of 9: there are 4 classes"),
        (3, ["apgd-ce", "fab-t", "square"], "apgd-t skipped: its loss needs 4 classes, there are 3"),
        (2, ["apgd-ce", "fab-t", "square"], "apgd-t skipped: its loss needs 4 classes, there are 2"),
    ],
)
def test_few_classes_shrink_targeted_attacks_with_a_word(cnn, digits, subject_of, classes, left, words):
    images, labels = first(digits, 8)
    network = (cnn[0], torch.nn.Linear(24, classes))
    fitted, notes = [], []
    for attack in AutoAttackVersion(version="standard", iterations=3, queries=5).expanded():
        try:
            fitted.append(attack.prepared(attack_target(subject_of(network), classes)))
            notes += fitted[-1].notes
        except ImpossibleAttackError as reason:
            notes.append(str(reason))
    assert [attack.label for attack in fitted] == left
    assert (notes == []) if words is None else any(words in note for note in notes), notes
    run_battery(Classifier(*network), images, labels % classes, fitted, threat=LINF, seed=0, chunk=8, draws=20)


def test_the_difference_of_logits_ratio_needs_three_classes(cnn, subject_of):
    (attack,) = ours_of("apgd-dlr")
    assert attack.prepared(attack_target(subject_of(cnn), 3)).notes == []
    with pytest.raises(ImpossibleAttackError, match="apgd-dlr skipped: its loss needs 3 classes, there are 2"):
        attack.prepared(attack_target(subject_of(cnn), 2))


def test_images_without_a_gradient_are_reported(cnn, digits, subject_of):
    images, labels = first(digits, 4)
    head = torch.nn.Linear(24, 10)
    torch.nn.init.zeros_(head.weight)
    attacks = ready(subject_of((cnn[0], head)), member("apgd-t"), member("square"))
    labels = head.bias.argmax().expand(4).clone()
    for attack in attacks:
        attack(Classifier(cnn[0], head), images, labels, threat=LINF, work=Work(0, 0))
    assert "apgd-t: 2 restarts had images with a zero gradient" in attacks[0].findings(attacks[0].noticed)[0]
    assert attacks[1].findings(attacks[1].noticed) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of version .* and member"),
        ({"version": "rand", "member": "square"}, "exactly one of version .* and member"),
        ({"version": "rand", "label": "x"}, "label='x' names one member; version=rand has several"),
        ({"version": "custom"}, "attack.version='custom'"),
        ({"member": "apgd"}, "attack.member='apgd'.*apgd-ce"),
        ({"member": "square", "queries": 0}, "queries=0: must be >= 1"),
        ({"member": "apgd-ce", "iterations": -1}, "iterations=-1: must be >= 1"),
        ({"member": "apgd-ce", "eot_iter": 0}, "eot_iter=0: must be >= 1"),
        ({"member": "apgd-t", "targets": 0}, "targets=0: must be >= 1"),
        ({"member": "fab", "restarts": 0}, "restarts=0: must be >= 1"),
        ({"member": "fab", "steps": 3}, "unknown key of attack autoattack 'steps'"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        built([{"name": "autoattack", **options}])
    assert "\n" not in str(caught.value)


def test_a_member_may_have_a_label_of_its_own_and_keeps_its_options():
    pair = [{"name": "autoattack", "member": "square", "queries": n, "label": f"square-{n}"} for n in (2, 3)]
    attacks = built(pair)
    assert [attack.label for attack in attacks] == ["square-2", "square-3"]
    assert [attack.options["queries"] for attack in attacks] == [2, 3]
    assert all(attack.queries_only for attack in attacks)
    assert not any(attack.queries_only for attack in chain(*map(ours_of, MEMBERS[:-1])))
    with pytest.raises(UserError, match="two have the label 'square'; give one of them another label"):
        built([{"name": "autoattack", "member": "square"}, {"name": "autoattack", "version": "standard"}])
