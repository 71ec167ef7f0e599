"""Targeted attacks: which classes they aim at, what they find on a linear classifier, what they count and refuse."""

from collections import Counter

import pytest
from small_attacks import said
from test_minimal_norm import FAR, exact, linear

from sslkuramoto.attacks import ATTACKS, Attack, Work
from sslkuramoto.attacks.apgd import Apgd
from sslkuramoto.attacks.attack import Target
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.ddn import Ddn
from sslkuramoto.attacks.fmn import Fmn
from sslkuramoto.attacks.pgd import Pgd
from sslkuramoto.attacks.targets import AIMED, REACHED, TARGETS, reached_targets
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.threat import Threat

TARGETED = ["apgd", "ddn", "fmn", "pgd"]


def targeted(name: str, **options) -> Attack:
    loss = {"ddn": "ce_targeted", "fmn": "margin_targeted"}.get(name, "ce_targeted")
    attack = ATTACKS.build(name, {"loss": loss, **options})
    assert isinstance(attack, Attack)
    return attack


@pytest.mark.parametrize(
    ("attack", "norm", "tolerance"),
    [
        (Ddn(loss="margin_targeted", targets="all", iterations=200), "l2", 0.06),
        (Fmn(loss="margin_targeted", targets="all"), "l2", 0.03),
        (Fmn(loss="margin_targeted", targets="all"), "linf", 0.03),
    ],
    ids=["ddn", "fmn", "fmn-linf"],
)
def test_searches_towards_every_class_find_the_nearest_of_all_boundaries(attack, norm, tolerance):
    """An untargeted descent may end at the boundary of another class; this one tries each."""
    classifier, images, labels = linear(5)
    true = exact(classifier, images, labels, norm)
    with frozen(classifier):
        found = FAR[norm].distances(attack(classifier, images, labels, threat=FAR[norm], work=Work(0, 0)), images)
    assert (found >= true * (1 - 1e-4)).all()
    assert (found <= true * (1 + tolerance)).all()


@pytest.mark.parametrize("name", TARGETED)
def test_one_target_is_the_most_probable_wrong_class_and_a_count_of_candidates_there_is_kept(name):
    classifier, images, labels = linear(5)
    ordered = classifier(images).detach().argsort(dim=1, descending=True)
    attack = targeted(name, targets=1, iterations=60)
    with frozen(classifier):
        found = attack(classifier, images, labels, threat=Threat("l2", 0.2), work=Work(0, 0))
        ends = classifier(found).argmax(dim=1)
    assert (ends != labels).all()
    at_target = int((ends == ordered[:, 1]).sum())
    assert at_target >= 12, "nearly all end in the class that they were pulled to"
    assert (attack.noticed[AIMED], attack.noticed[REACHED]) == (16, at_target)
    assert (
        f"{at_target} of 16 candidates are classified as the class that they were aimed at"
        in attack.findings(attack.noticed)[-1]
    )


@pytest.mark.parametrize("noise", ["fresh", "held"])
@pytest.mark.parametrize("name", TARGETED)
def test_each_target_costs_a_search_and_the_choice_of_targets_a_look(name, noise, noisy, cnn, digits):
    images, wide = digits["test"].images[:4] / 255, Threat("linf", 1e-6)
    for network in (noisy, cnn):
        classifier = Classifier(*network)
        labels = classifier(images).argmax(1)
        options = {"iterations": 4, "k": 3, "noise": noise}
        passes = {targets: said(targeted(name, targets=targets, **options), classifier) for targets in (1, 3)}
        k = 3 if classifier.stochastic else 1
        assert passes[3].backward == 3 * passes[1].backward == 3 * 4 * k
        assert passes[3].forward - k == 3 * (passes[1].forward - k)
        attack = targeted(name, targets=3, **options)
        with counted(classifier.encoder) as count, frozen(classifier):
            attack(classifier, images, labels, threat=wide, work=Work(0, 0))
        assert (count.forward, count.backward) == (4 * passes[3].forward, 4 * passes[3].backward)


@pytest.mark.parametrize("name", TARGETED)
def test_there_are_never_more_targets_than_wrong_classes(name, cnn):
    def ready(classes, **options):
        return targeted(name, **options).prepared(Target(cnn[0], classes))

    assert ready(10).options["targets"] == TARGETS == 9, "of AutoAttack, if none are given"
    assert (ready(10).notes, ready(10, targets="all").notes) == ([], [])
    assert ready(5, targets="all").options["targets"] == 4
    few = ready(3, targets=5)
    assert few.options["targets"] == 2
    assert few.notes == [f"{few.label}: 2 target classes in place of 5: there are 3 classes"]


@pytest.mark.parametrize("name", TARGETED)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": 0}, "targets=0"),
        ({"targets": "most"}, "targets='most'"),
        ({"targets": True}, "targets=True"),
        ({"loss": "margin", "targets": 2}, "the loss margin has no targets; choose one that ends in _targeted"),
        ({"loss": "margin", "targets": "all"}, "targets=all: the loss margin has no targets"),
    ],
)
def test_bad_targets_are_refused_in_one_line(name, options, said):
    with pytest.raises(UserError) as error:
        targeted(name, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_untargeted_attack_says_nothing_of_targets():
    assert reached_targets("pgd", Counter()) == []
    assert [Pgd().options["targets"], Apgd().options["targets"], Ddn().options["targets"]] == [None] * 3


def test_a_protocol_scores_them_untargeted_and_says_how_many_reached_their_target(cnn, subject_of):
    attacks = [{"name": "pgd", "loss": "ce_targeted", "targets": 3, "iterations": 10}]
    options = {"attacks": attacks, "images": 20, "eps": 0.2, "select_draws": 20, "control": 0}
    subject = subject_of(cnn)
    result = PROTOCOLS.build("robustness", options)(subject)
    robust = result.metrics["robust_accuracy"].value
    assert robust < result.metrics["clean_accuracy"].value - 0.2
    (line,) = [note for note in result.notes if "aimed at" in note]
    again = PROTOCOLS.build("robustness", options)(subject)
    assert line in again.notes, "the count is in the ledger"
