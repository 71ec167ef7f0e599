"""What an attack says it costs is what it costs when no image breaks, or more: never less."""

import pytest
import torch
from small_attacks import NAMES, few, ready
from sslkuramoto.attacks.cost import cost_of

from sslkuramoto.attacks import Passes, Work
from sslkuramoto.attacks.attack import built
from sslkuramoto.attacks.counting import counted
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.cost import Cost, shown_hours
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.threat import Threat

STEADY = Threat("linf", 1e-7)  # breaks nothing
MEMBERS = ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
MORE = [
    {"name": "apgd", "loss": "dlr_targeted", "iterations": 3, "targets": 2, "k": 2, "noise": "held"},
    {"name": "apgd", "loss": "ce", "iterations": 3, "k": 3, "mean": "log_probability"},
    {"name": "held_noise", "k": 2, "max_k": 8, "iterations": 2, "draws": 20, "settle": 0.0},
    {"name": "pgd", "iterations": 1, "k": 2},
]


def entries(name):
    if name != "autoattack":
        return [few(name)]
    return [few(name, version=None, iterations=4, restarts=2, queries=6) | {"member": member} for member in MEMBERS]


def spent(attack, classifier, images):
    """Return the passes of one image, and what was announced."""
    labels = classifier(images, draw=torch.Generator().manual_seed(0)).argmax(dim=1)
    with counted(classifier.encoder) as count, frozen(classifier):
        attack(classifier.at(torch.arange(len(images))), images, labels, threat=STEADY, work=Work(0, 0))
    return count, attack.passes(10, classifier.stochastic)


@pytest.fixture
def images(digits):
    return digits["test"].images[:4] / 255


@pytest.fixture
def silent(noisy):
    """A network that draws without effect: nothing breaks by bad luck."""
    noisy[0].noise = 0.0
    return noisy


@pytest.mark.parametrize("mode", ["random", "fixed", "averaged"])
@pytest.mark.parametrize("name", NAMES)
def test_no_attack_takes_more_passes_than_it_says(silent, images, subject_of, name, mode):
    starts = 2 if mode == "averaged" else 1
    for attack in ready(subject_of(silent), *entries(name)):
        count, said = spent(attack, Classifier(*silent, mode, draws=2), images)
        assert count.backward <= said.backward * len(images) * starts, (attack.label, count, said)
        assert count.all <= (said.forward + said.backward) * len(images) * starts, (attack.label, count, said)
        assert (said.backward == 0) == attack.queries_only or name in ("random_sign", "gaussian")


@pytest.mark.parametrize("more", MORE, ids=lambda entry: f"{entry['name']}-{entry.get('loss', '')}")
def test_other_options_are_reckoned_too(silent, images, subject_of, more):
    (attack,) = ready(subject_of(silent), more)
    for mode in ("random", "fixed"):
        count, said = spent(attack, Classifier(*silent, mode), images)
        assert count.backward <= said.backward * len(images), (mode, count, said)
        assert count.all <= (said.forward + said.backward) * len(images), (mode, count, said)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("transfer", "surrogate")])
def test_a_deterministic_attack_that_breaks_nothing_costs_what_it_says(cnn, images, subject_of, name):
    for attack in ready(subject_of(cnn), *entries(name)):
        count, said = spent(attack, Classifier(*cnn), images)
        announced = (said.forward + said.backward) * len(images)
        assert 0.75 * announced <= count.forward + count.backward <= announced, (attack.label, count, said)


def test_longer_attacks_cost_in_proportion():
    def passes(stochastic=True, **options):
        (attack,) = built([{"name": "autoattack", **options}])
        return attack.passes(10, stochastic)

    assert passes(member="apgd-ce") == Passes(1, 101)
    assert passes(member="apgd-ce", eot_iter=20) == Passes(1, 20 * 101)
    assert passes(member="apgd-ce", eot_iter=20, stochastic=False) == Passes(1, 101)
    assert passes(member="apgd-t").backward == 9 * 101
    assert passes(member="square") == Passes(5003, 0)


RAND = {"name": "autoattack", "version": "rand", "iterations": 3, "eot_iter": 2}
WAYS = {
    "one": {"initial": "random", "attacks": [RAND]},
    "two": {"initial": "fixed", "attacks": [few("autoattack"), few("pgd", restarts=3)]},
    "three": {"initial": "random", "decided_by": "one draw", "attacks": [few("square_eot"), few("gaussian")]},
    "four": {"initial": "averaged", "average": 3, "attacks": [few("pgd"), few("gaussian")]},
}


@pytest.mark.parametrize(
    "options", [{"ways": WAYS}, WAYS["two"], WAYS["three"], WAYS["four"]], ids=["ways", "two", "three", "four"]
)
@pytest.mark.parametrize("control", [0, 4])
def test_a_protocol_costs_at_most_what_the_dry_run_says(silent, subject_of, control, options):
    protocol = PROTOCOLS.build(
        "robustness", {"eps": 1e-7, "images": 9, "chunk": 4, "select_draws": 20, "control": control, **options}
    )
    subject = subject_of(silent)
    with counted(subject.encoder) as count:
        costs = [cost for _, cost in protocol.estimate(subject)]
    assert count.backward <= 3 * 4 * (len(costs) + 2), "only a few passes are timed, three times as many of averages"
    with counted(subject.encoder) as count:
        protocol(subject)
    said = sum(cost.forward + cost.backward for cost in costs)
    assert 0.6 * said < count.forward + count.backward <= said, "and not much less when nothing breaks"
    assert all(cost.images == 9 and cost.hours > 0 for cost in costs)


def test_a_dry_run_attacks_nothing_and_writes_nothing(noisy, subject_of):
    subject = subject_of(noisy)
    lines = []
    subject.report = lines.append
    costs = PROTOCOLS.build("robustness", {"attacks": [few("autoattack")], "images": 8}).estimate(subject)
    assert [name for name, _ in costs] == [""]
    assert lines == []
    assert not subject.run_dir.exists()


def test_the_sum_is_said_in_passes_and_in_time():
    cost = Cost({"one": Passes(3, 10), "two": Passes(5, 0)}, 20, 1000, 0.001, 0.002)
    assert (cost.forward, cost.backward) == (28_000, 10_000)
    assert cost.hours == pytest.approx((28 + 20) / 3600)
    lines = cost.lines()
    assert lines[0] == "one: 3,000 forward, 10,000 forward and backward"
    assert "at most 28,000 forward and 10,000 forward and backward" in lines[-1]
    assert "48 s on this device" in lines[-1]
    assert [shown_hours(hours) for hours in (0.001, 0.5, 30.25)] == ["4 s", "30 min", "30.2 h"]


def test_restarts_and_the_judging_draws_count(noisy, images, subject_of):
    attacks = ready(subject_of(noisy), few("pgd", restarts=3))
    once = attacks[0].passes(10, True)
    cost = cost_of(Classifier(*noisy), attacks, images, 50, 20, 100)
    assert cost.attacks == {attacks[0].label: Passes(3 * (once.forward + 101), 3 * once.backward)}
    assert cost.seconds_backward > 0
    assert cost.seconds_forward > 0


def test_what_the_ledger_holds_is_not_counted_again(silent, subject_of):
    """Every part of the work: attacks, restarts, clean images, control; a word says so."""
    subject = subject_of(silent)
    options = {"eps": 1e-7, "images": 9, "chunk": 4, "select_draws": 20, "control": 4}
    pgd = few("pgd", label="mine", restarts=2)
    fresh = PROTOCOLS.build("robustness", {**options, "attacks": [pgd, few("gaussian")]})
    ((_, before),) = fresh.estimate(subject)
    assert not any("ledger" in line for line in before.lines())
    PROTOCOLS.build("robustness", {**options, "attacks": [pgd]})(subject)
    ((_, after),) = fresh.estimate(subject)
    assert after.backward == 0
    assert after._of("mine") == Passes(0, 0)
    (other,) = set(after.attacks) - {"mine"}
    assert 0.9 * before._of(other).forward < after._of(other).forward < before._of(other).forward, "one is wrong clean"
    assert before.images * before.scoring - after.images * after.scoring + after.spared == (9 + 4) * 20
    with counted(subject.encoder) as count:
        fresh(subject)
    assert count.forward <= after.forward < before.forward
    assert any("what the ledger holds already is left out" in line for line in after.lines())
    more = PROTOCOLS.build("robustness", {**options, "attacks": [{**pgd, "restarts": 3}]})
    ((_, third),) = more.estimate(subject)
    assert 0.9 * before.backward / 2 < third.backward < before.backward / 2, "one start of three, where two were"


def test_a_source_and_images_attacked_one_by_one_are_timed_as_they_are(silent, subject_of, monkeypatch):
    """A clock that gives each network a duration of its own."""
    seen = []

    def timed(classifier, images, *, gradient):
        logits = classifier.at(torch.arange(len(images)))(images, draw=torch.Generator().manual_seed(0))
        seconds = {"fixed_per_image": 1.0, "fixed": 40.0}[classifier.mode] * (10 if gradient else 1)
        seen.append((classifier.mode, len(images)))
        return seconds, logits

    monkeypatch.setattr("sslkuramoto.attacks.cost._timed", timed)
    ce = {"name": "autoattack", "member": "apgd-ce", "iterations": 3}
    protocol = PROTOCOLS.build(
        "robustness",
        {
            "initial": "fixed_per_image",
            "images": 8,
            "chunk": 4,
            "control": 0,
            "attacks": [ce, {"name": "transfer", "initial": "fixed", "iterations": 5}, few("pgd")],
        },
    )
    ((_, cost),) = protocol.estimate(subject_of(silent))
    assert set(seen) == {("fixed_per_image", 4), ("fixed_per_image", 1), ("fixed", 4)}
    assert (cost.seconds_forward, cost.seconds_backward) == (0.25, 2.5)
    assert cost.extra["apgd-ce"] == pytest.approx(1 * (1 - 0.25) + 4 * (10 - 2.5))
    assert cost.extra["transfer-own-fixed"] == pytest.approx(5 * 100)
    assert cost.elsewhere == {"transfer-own-fixed": Passes(0, 5)}
    assert set(cost.extra) == {"apgd-ce", "transfer-own-fixed"}
    plain = cost.forward * 0.25 + (cost.backward - 8 * 5) * 2.5
    assert 3600 * cost.hours == pytest.approx(plain + 8 * sum(cost.extra.values()))


def test_the_average_of_several_starts_counts_each(silent, images):
    one, three = (Classifier(*silent, "averaged", draws=draws) for draws in (1, 3))
    attacks = built([few("pgd")])
    assert cost_of(three, attacks, images, 5, 20, 20).backward == 3 * cost_of(one, attacks, images, 5, 20, 20).backward
    assert cost_of(three, attacks, images, 5, 20, 20).forward == 3 * cost_of(one, attacks, images, 5, 20, 20).forward


def test_who_counts_passes_of_a_classifier_gets_those_of_its_network(silent, images):
    """The audit puts its own counts in place: three starts of an average take three times as long."""
    cost = cost_of(Classifier(*silent, "averaged", draws=3), [], images, 5, 20, 20)
    own = cost._replace(attacks={"mine": Passes(1, 2)}, scoring=4, seconds_forward=1.0, seconds_backward=10.0)
    assert (own.forward, own.backward) == (3 * 5 * (4 + 1), 3 * 5 * 2)
    assert 3600 * own.hours == pytest.approx(75 + 300)
