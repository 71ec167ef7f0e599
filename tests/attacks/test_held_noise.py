"""The attack on held noise: where it beats fresh noise, when it stops to double, and what it says about that."""

import pytest
import torch
from small_attacks import said

from sslkuramoto.attacks import Work, held_noise
from sslkuramoto.attacks.apgd import Apgd
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.held_noise import HeldNoise
from sslkuramoto.classifier import Classifier, frozen, predictions_over_draws
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.threat import Threat

THREAT = Threat("linf", 0.05)


def first(digits, n):
    return digits["test"].images[:n] / 255, digits["test"].labels[:n].clone()


def share_right(classifier, candidates, labels):
    return (predictions_over_draws(classifier, [candidates], 100, "score") == labels).float().mean(dim=0)


@pytest.mark.parametrize(("optimiser", "threat"), [("momentum", THREAT), ("apgd", Threat("l2", 0.5))], ids=str)
def test_it_is_no_weaker_than_apgd_on_fresh_noise_at_the_same_number_of_gradients(noisy, digits, optimiser, threat):
    """Noise that is added to the features leaves gradients alone: here holding it only must not cost anything."""
    images, labels = first(digits, 40)
    classifier = Classifier(*noisy)
    held = HeldNoise(k=8, max_k=8, iterations=12, optimiser=optimiser)
    fresh = Apgd(loss="ce", noise="fresh", k=8, iterations=12)
    with frozen(classifier):
        found, other = (attack(classifier, images, labels, threat=threat, work=Work(0, 0)) for attack in (held, fresh))
    threat.check(found, images, "held noise")
    ours, theirs, clean = (float(share_right(classifier, x, labels).mean()) for x in (found, other, images))
    assert ours < theirs + 0.02
    assert ours < clean - 0.2, "the example must be one that can be attacked"


def test_more_fields_are_stronger_on_fresh_draws(noisy, digits):
    noisy[0].noise = 3.0
    images, labels = first(digits, 48)
    classifier = Classifier(*noisy)
    with frozen(classifier):
        one, many = (
            HeldNoise(k=k, max_k=k, iterations=8)(classifier, images, labels, threat=THREAT, work=Work(0, 0))
            for k in (1, 16)
        )
    assert share_right(classifier, many, labels).mean() < share_right(classifier, one, labels).mean() - 0.03


def test_fields_double_until_the_share_right_settles_and_it_says_so(noisy, digits, subject_of):
    noisy[0].noise = 3.0
    images, labels = first(digits, 24)
    classifier = Classifier(*noisy)
    attack = HeldNoise(k=1, max_k=16, iterations=4, settle=0.9).prepared(attack_target(subject_of(noisy), 10))
    greedy = HeldNoise(k=1, max_k=5, iterations=4, settle=0.0).prepared(attack_target(subject_of(noisy), 10))
    assert attack.findings(attack.noticed) == []
    with frozen(classifier):
        for restart in (0, 1):
            attack(classifier, images, labels, threat=THREAT, work=Work(0, 0, restart))
        greedy(classifier, images, labels, threat=THREAT, work=Work(0, 0))
    (line,) = attack.findings(attack.noticed)
    assert line == "held-noise: K reached 4 in 2 units of work: the accuracy over fresh draws converged"
    (line,) = greedy.findings(greedy.noticed)
    assert (
        line == "held-noise: K reached 4 in 1 unit of work: not converged, a larger max_k may find stronger candidates"
    )


@pytest.mark.parametrize(
    ("reached", "settled"),
    [
        ([], False),
        ([0.9], False),
        ([0.9, 0.895], False),
        ([0.9, 0.895, 0.89], True),
        ([0.9, 0.7, 0.695], False),
        ([0.9, 0.7, 0.695, 0.69], True),
        ([0.5, 0.6, 0.7], True),
    ],
)
def test_two_doublings_in_a_row_that_find_little_settle_it(reached, settled):
    assert HeldNoise(settle=0.01)._has_settled(reached) is settled


def test_draws_that_chose_nothing_say_whether_it_settled(noisy, digits, monkeypatch):
    """The lowest of several candidates falls on the draws that choose, whatever the attack did."""
    images, labels = first(digits, 6)
    classifier, asked = Classifier(*noisy), []

    def judged(self, classifier, candidates, labels, work, purpose):
        asked.append(purpose)
        falling = 0.9 - 0.1 * asked.count("judged")
        return torch.full((len(labels),), falling if purpose == "judged" else 0.8)

    monkeypatch.setattr(HeldNoise, "_right_on_fresh_draws", judged)
    attack = HeldNoise(k=1, max_k=64, iterations=1, settle=0.01)
    with frozen(classifier):
        attack(classifier, images, labels, threat=THREAT, work=Work(0, 0))
    assert asked == ["judged", "settled"] * 3, "it had fallen by 10 points each time on the others"


def test_the_two_kinds_of_draws_are_not_the_same(noisy, digits):
    noisy[0].noise = 3.0
    images, labels = first(digits, 24)
    classifier, attack = Classifier(*noisy), HeldNoise(draws=20)
    with frozen(classifier):
        choose, tell = (
            attack._right_on_fresh_draws(classifier, images, labels, Work(0, 0), purpose)
            for purpose in ("judged", "settled")
        )
    assert not torch.equal(choose, tell)


def test_of_all_ascents_each_image_keeps_the_candidate_that_fresh_draws_get_right_least(noisy, digits):
    noisy[0].noise = 3.0
    images, labels = first(digits, 24)
    classifier = Classifier(*noisy)
    attack = HeldNoise(k=2, max_k=4, iterations=4, settle=0.0)
    with frozen(classifier):
        chosen = attack(classifier, images, labels, threat=THREAT, work=Work(0, 0))
        first_only = HeldNoise(k=2, max_k=2, iterations=4)(classifier, images, labels, threat=THREAT, work=Work(0, 0))
        judged = [
            attack._right_on_fresh_draws(classifier, x, labels, Work(0, 0), "judged") for x in (chosen, first_only)
        ]
    assert (judged[0] <= judged[1]).all()
    same = (chosen == first_only).flatten(1).all(dim=1)
    assert 0 < same.sum() < 24, "both ascents are kept for some"


@pytest.mark.parametrize("mode", ["fixed", "fixed_per_image"])
def test_a_deterministic_reading_gets_one_ascent(noisy, digits, mode):
    images, labels = first(digits, 12)
    classifier = Classifier(*noisy, mode).at(torch.arange(12))
    attack = HeldNoise(k=4, max_k=64, iterations=6)
    with counted(classifier.encoder) as count, frozen(classifier):
        attack(classifier, images, labels, threat=THREAT, work=Work(0, 0))
    passes = said(attack, classifier)
    assert (passes.forward, passes.backward) == (1, 6)
    assert count.forward <= 12
    assert count.backward <= 12 * 6
    assert attack.findings(attack.noticed) == []


@pytest.mark.parametrize("mean", ["loss", "log_probability"])
def test_the_cost_is_that_of_growing_to_the_end(noisy, digits, mean):
    images, labels = first(digits, 8)
    classifier = Classifier(*noisy)
    attack = HeldNoise(k=2, max_k=9, iterations=3, settle=0.0, draws=20, mean=mean)
    passes = said(attack, classifier)
    assert passes.backward == 3 * (2 + 4 + 8)
    with counted(classifier.encoder) as count, frozen(classifier):
        attack(classifier, images, labels, threat=THREAT, work=Work(0, 0))
    assert count.backward <= 8 * passes.backward
    assert count.forward <= 8 * passes.forward
    assert (count.forward + count.backward) % 8 == 0
    if "K reached 8" in attack.findings(attack.noticed)[0]:
        assert (count.forward, count.backward) == (8 * passes.forward, 8 * passes.backward)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 8, "max_k": 4}, "max_k=4: must be at least k=8"),
        ({"settle": 1.0}, r"settle=1.0: must be in \[0, 1\)"),
        ({"draws": 8}, "draws=8: must be >= 20"),
        ({"loss": "dlr_targeted"}, "use apgd with noise=held"),
        ({"iterations": 0}, "iterations=0"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(UserError, match=message):
        HeldNoise(**options)


def test_every_ascent_and_every_restart_has_fields_of_its_own(noisy, digits, monkeypatch):
    """Fields that an ascent was fitted to must not come again: none of 1 + 2 + 4, in two restarts, equals another."""
    images, labels = first(digits, 4)
    asked, own = [], held_noise.objective_of

    def recorded(*arguments, **options):
        objective = own(*arguments, **options)
        if options["noise"] == "held":
            asked.append(objective.fields)
        return objective

    monkeypatch.setattr(held_noise, "objective_of", recorded)
    with frozen(classifier := Classifier(*noisy)):
        for restart in (0, 1):
            attack = HeldNoise(k=1, max_k=4, iterations=1, settle=0.0)
            attack(classifier, images, labels, threat=THREAT, work=Work(0, 0, restart))
    assert [len(fields) for fields in asked] == [1, 2, 4] * 2
    fields = torch.cat([fields.flatten(1) for fields in asked])
    assert len(fields.unique(dim=0)) == 14
