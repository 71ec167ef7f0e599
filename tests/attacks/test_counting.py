"""What an attack is said to take, counted on a stand-in, is what it takes of a network that stands, or more."""

import pytest
import torch
from small_attacks import NAMES, few, ready, said
from torch import nn

from sslkuramoto.attacks import Attack, Work
from sslkuramoto.attacks.attack import built
from sslkuramoto.attacks.counting import StandIn, counted, seconds_of_passes, stand_in_for
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.cost import Cost, Passes, seconds_of
from sslkuramoto.dynamics.surrogate import SURROGATES, surrogates_for
from sslkuramoto.encoders import AKOrN
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.threat import Threat

STEADY = Threat("linf", 1e-7)  # breaks nothing
RADII = {"linf": (1e-7, 0.1), "l2": (1e-6, 1.0)}
MEMBERS = ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
MORE = [
    {"name": "apgd", "loss": "dlr_targeted", "iterations": 3, "targets": 2, "k": 2, "noise": "held"},
    {"name": "apgd", "loss": "ce", "iterations": 3, "k": 3, "mean": "log_probability"},
    {"name": "held_noise", "k": 2, "max_k": 8, "iterations": 2, "draws": 20, "settle": 0.0},
    {"name": "hop_skip_jump", "queries": 200, "draws": 3},
    {"name": "pgd", "iterations": 1, "k": 2},
    {"name": "square_eot", "queries": 40, "draws": 3},
]


def entries(name):
    if name != "autoattack":
        return [few(name)]
    return [few(name, version=None, iterations=4, restarts=2, queries=6) | {"member": member} for member in MEMBERS]


def spent(attack, classifier, images, threat=STEADY):
    """Return what an attack made of an image each: passes of its source, where it has one."""
    with torch.no_grad():
        labels = classifier.at(torch.arange(len(images)))(images, draw=torch.Generator().manual_seed(0)).argmax(dim=1)
    with counted((attack.source or classifier).encoder) as count, frozen(classifier):
        attack(classifier.at(torch.arange(len(images))), images, labels, threat=threat, work=Work(0, 0))
    return count


def check(attack, classifier, images, threat=STEADY):
    count, once = spent(attack, classifier, images, threat), said(attack, classifier, threat.norm)
    assert count.backward <= once.backward * len(images), (attack.label, count, once)
    assert count.forward + count.backward <= sum(once) * len(images), (attack.label, count, once)
    assert count.all <= sum(once) * len(images), (attack.label, count, once)


@pytest.fixture
def images(digits):
    return digits["test"].images[:4] / 255


@pytest.fixture
def silent(noisy):
    """A network that draws without effect: nothing breaks by bad luck."""
    noisy[0].noise = 0.0
    return noisy


@pytest.fixture
def network(request, cnn, noisy):
    """A network by name: two trained ones, and an oscillator network with random weights."""
    if request.param == "akorn":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encoder = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1).eval()
            return encoder, nn.Linear(encoder.num_features, 10)
    return {"cnn": cnn, "noisy": noisy}[request.param]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("network", "mode", "norm"),
    [
        ("cnn", "random", "l2"),
        ("noisy", "random", "linf"),
        ("noisy", "averaged", "l2"),
        ("noisy", "fixed_per_image", "linf"),
        ("akorn", "random", "l2"),
    ],
    indirect=["network"],
)
def test_no_registered_attack_takes_more_passes_than_counted(network, images, subject_of, name, mode, norm):
    for attack in ready(subject_of(network), *entries(name)):
        for eps in RADII[norm] if mode == "random" else RADII[norm][:1]:  # a mode adds passes where nothing breaks
            check(attack, Classifier(*network, mode, draws=2), images, Threat(norm, eps))


@pytest.mark.parametrize("more", MORE, ids=lambda entry: f"{entry['name']}-{entry.get('loss', '')}")
@pytest.mark.parametrize("norm", RADII)
def test_other_options_are_counted_too(noisy, images, subject_of, more, norm):
    (attack,) = ready(subject_of(noisy), more)
    modes = ("random", "fixed") if norm == "linf" else ("fixed", "random")
    for mode, eps in zip(modes, RADII[norm], strict=True):
        check(attack, Classifier(*noisy, mode), images, Threat(norm, eps))


FEWER = ("autoattack", "transfer", "surrogate", "hop_skip_jump")
"""Take at most what is counted."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FEWER])
def test_a_deterministic_attack_that_breaks_nothing_takes_what_was_counted(cnn, images, subject_of, name):
    for attack in ready(subject_of(cnn), *entries(name)):
        count, once = spent(attack, Classifier(*cnn), images), said(attack, Classifier(*cnn))
        assert count.passes() == (4 * once.forward, 4 * once.backward), attack.label


def test_longer_attacks_cost_in_proportion(cnn, noisy):
    def passes(network=noisy, **options):
        (attack,) = built([{"name": "autoattack", **options}])
        return said(attack, Classifier(*network))

    assert passes(member="apgd-ce") == Passes(1, 101)
    assert passes(member="apgd-ce", iterations=5, eot_iter=20) == Passes(1, 20 * 6)
    assert passes(cnn, member="apgd-ce", iterations=5, eot_iter=20) == Passes(1, 6)
    assert passes(member="apgd-t", iterations=5).backward == 9 * 6
    assert passes(member="square", queries=700) == Passes(703, 0)


@pytest.mark.parametrize("name", ["cnn", "noisy"])
@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("queries", [100, 1000])
def test_a_walk_along_the_boundary_is_counted_nearly_to_its_last_query(request, name, norm, queries):
    """The stand-in gives it a place to start from, and no jump succeeds."""
    (walk,) = built([{"name": "hop_skip_jump", "queries": queries, "draws": 3}])
    classifier = Classifier(*request.getfixturevalue(name))
    most = queries * (3 if classifier.stochastic else 1)
    assert 0.9 * most < said(walk, classifier, norm).forward <= most


def test_held_noise_is_counted_as_if_k_grew_to_the_end(noisy):
    """On the stand-in the share right falls with every ascent."""
    (attack,) = built([{"name": "held_noise", "k": 4, "max_k": 64, "iterations": 3, "draws": 32}])
    assert said(attack, Classifier(*noisy)) == Passes(124 + 5 * 2 * 32, 3 * 124)


def test_the_stand_in_is_right_in_every_ball_that_is_attacked_and_errs_far_away(cnn):
    stand_in = stand_in_for(Classifier(*cnn), 10, (8, 8), "l2")
    assert isinstance(stand_in.encoder, StandIn)
    image = stand_in.encoder.image
    near, far = image + 1e-3, torch.ones_like(image)
    assert stand_in(torch.cat([image, near, far])).argmax(dim=1).tolist() == [0, 0, 1]
    assert stand_in(torch.zeros_like(image)).argmax(dim=1) == 0, "farther than where it erred before"
    leaf = near.requires_grad_()
    (gradient,) = torch.autograd.grad(stand_in(leaf)[0, 1], leaf)
    assert gradient.count_nonzero() == gradient.numel()


@pytest.mark.parametrize("project", [True, False])
def test_the_stand_in_allows_the_surrogates_of_the_network(project):
    encoder = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1, project=project)
    stand_in = stand_in_for(Classifier(encoder, nn.Linear(encoder.num_features, 10)), 10, (8, 8), "linf")
    assert surrogates_for(stand_in.encoder) == surrogates_for(encoder)
    assert (len(surrogates_for(encoder)) == len(SURROGATES)) == project


RAND = {"name": "autoattack", "version": "rand", "iterations": 3, "eot_iter": 2}
WAYS = {
    "one": {"initial": "random", "attacks": [RAND]},
    "two": {"initial": "fixed", "attacks": [few("autoattack"), few("pgd", restarts=3)]},
    "three": {"initial": "random", "decided_by": "one draw", "attacks": [few("square_eot"), few("gaussian")]},
    "four": {"initial": "averaged", "average": 3, "attacks": [few("pgd"), few("gaussian")]},
}


@pytest.mark.parametrize(
    ("options", "control"),
    [({"ways": WAYS}, 4), (WAYS["two"], 0), (WAYS["four"], 0)],
    ids=["ways", "two", "four"],
)
@pytest.mark.parametrize("name", ["cnn", "silent"])
def test_a_protocol_takes_at_most_what_the_dry_run_says(request, subject_of, control, options, name):
    protocol = PROTOCOLS.build(
        "robustness", {"eps": 1e-7, "images": 5, "chunk": 4, "select_draws": 20, "control": control, **options}
    )
    subject = subject_of(request.getfixturevalue(name))
    with counted(subject.encoder) as count:
        ((_, cost),) = protocol.estimate(subject)
    assert count.backward <= 3 * 4 * 3, "only a few passes are timed, three times as many of averages"
    with counted(subject.encoder) as count:
        protocol(subject)
    made = count.forward + count.backward
    assert 0.7 * (cost.forward + cost.backward) < made <= cost.forward + cost.backward, "not much less: nothing breaks"
    assert count.backward <= cost.backward
    assert cost.images == 5
    assert cost.seconds > 0


def test_where_images_break_it_takes_less(noisy, subject_of):
    options = {"eps": RADII["linf"][1], "images": 4, "select_draws": 20, "ways": WAYS}
    protocol, subject = PROTOCOLS.build("robustness", options), subject_of(noisy)
    ((_, cost),) = protocol.estimate(subject)
    with counted(subject.encoder) as count:
        protocol(subject)
    assert 0 < count.forward < cost.forward
    assert 0 < count.backward < cost.backward


def test_a_dry_run_attacks_nothing_and_writes_nothing(noisy, subject_of):
    subject = subject_of(noisy)
    lines = []
    subject.report = lines.append
    costs = PROTOCOLS.build("robustness", {"attacks": [few("autoattack")], "images": 8}).estimate(subject)
    assert [name for name, _ in costs] == [""]
    assert lines == []
    assert not subject.run_dir.exists()


def test_the_sum_is_said_in_passes_and_in_time():
    passes = {"one": Passes(3_000, 10_000), "two": Passes(5_000), "scoring": Passes(20_000)}
    cost = Cost(1000, passes, 48.0, early=True)
    assert (cost.forward, cost.backward) == (28_000, 10_000)
    assert cost.lines() == [
        "one: 3,000 forward, 10,000 forward and backward",
        "two: 5,000 forward",
        "scoring: 20,000 forward",
        "together at most 28,000 forward passes and 10,000 forward and backward passes of single images: 48 s on this "
        "device (from timed passes; images that are broken early cost less)",
    ]


def test_restarts_and_the_judging_draws_count(silent, subject_of):
    def passes(**options):
        cost = PROTOCOLS.build("robustness", {"images": 5, "control": 0, **options}).estimate(subject_of(silent))[0][1]
        return cost.passes["mine"], cost.passes["scoring"].forward

    once, scoring = passes(attacks=[few("pgd", label="mine")])
    thrice, more = passes(attacks=[few("pgd", label="mine", restarts=3)])
    assert thrice == (3 * once.forward, 3 * once.backward)
    assert once == (5 * 2, 5 * 3 * 2), "two draws, three steps and a look at the end"
    assert more - scoring == 5 * 2 * 100, "each start's candidates are judged"
    assert passes(attacks=[few("pgd", label="mine")], select_draws=20)[1] == scoring - 5 * 2 * 80


def test_attacks_whose_work_the_ledger_holds_whole_are_not_counted_again(silent, subject_of):
    subject = subject_of(silent)
    options = {"eps": 1e-7, "images": 5, "chunk": 4, "select_draws": 20, "control": 4}
    pgd = few("pgd", label="mine", restarts=2)
    alone = PROTOCOLS.build("robustness", {**options, "attacks": [pgd]})
    ((_, before),) = alone.estimate(subject)
    assert before.backward > 0
    assert not any("ledger" in line for line in before.lines())
    alone(subject)
    ((_, after),) = alone.estimate(subject)
    assert set(after.passes) == {"scoring"}
    assert "attacks: all work is in the ledger already and costs nothing" in after.lines()
    with counted(subject.encoder) as count:
        alone(subject)
    assert count.forward + count.backward <= after.forward
    for changed in ([pgd, few("gaussian")], [{**pgd, "restarts": 3}]):
        ((_, more),) = PROTOCOLS.build("robustness", {**options, "attacks": changed}).estimate(subject)
        assert more.backward >= before.backward, "what is there in part is counted whole: at most"
    ways = {"held": {"attacks": [pgd]}, "new": {"attacks": [few("gaussian")]}}
    ((_, both),) = PROTOCOLS.build("robustness", {**options, "ways": ways}).estimate(subject)
    assert set(both.passes) == {"new: gaussian", "scoring"}
    assert "held: all work is in the ledger already and costs nothing" in both.lines()


def test_a_source_and_images_attacked_one_by_one_are_timed_as_they_are(silent, subject_of, monkeypatch):
    """A clock that gives each network a duration of its own."""
    seen = []

    def timed(classifier, images):
        seen.append((classifier.mode, len(images)))
        seconds = {"fixed_per_image": 1.0, "fixed": 40.0}[classifier.mode] / len(images)
        return seconds, 10 * seconds

    monkeypatch.setattr("sslkuramoto.attacks.counting.seconds_of_passes", timed)
    ce = {"name": "autoattack", "member": "apgd-ce", "iterations": 3}
    transfer = {"name": "transfer", "initial": "fixed", "iterations": 5}
    options = {"initial": "fixed_per_image", "images": 8, "chunk": 4, "control": 0, "attacks": [ce, transfer]}
    ((_, cost),) = PROTOCOLS.build("robustness", options).estimate(subject_of(silent))
    assert sorted(seen) == [("fixed", 4), ("fixed_per_image", 1), ("fixed_per_image", 4)]
    assert cost.passes["apgd-ce"] == (8, 8 * 4)
    assert cost.passes["transfer-own-fixed"] == (0, 8 * 5)
    one_by_one, source = 8 * 1.0 + 8 * 4 * 10.0, 8 * 5 * 100.0
    assert cost.seconds == pytest.approx(one_by_one + source + cost.passes["scoring"].forward * 0.25)


@pytest.mark.parametrize("name", ["cnn", "noisy"])
def test_a_pass_is_timed_on_a_network_that_cuts_the_graph_too(request, name, images):
    encoder, head = request.getfixturevalue(name)
    cut = nn.Sequential(head)
    cut.register_forward_hook(lambda module, given, logits: logits.detach())
    forward, backward = seconds_of_passes(Classifier(encoder, cut), images)
    assert forward > 0
    assert backward > 0


def test_a_slow_pass_is_timed_on_a_few_images_only(monkeypatch):
    clock, seen = [0.0], []

    def run(images: int) -> None:
        seen.append(images)
        clock[0] += images * pace

    monkeypatch.setattr("sslkuramoto.cost.time.perf_counter", lambda: clock[0])
    pace = 0.001
    assert seconds_of(run, 100, torch.device("cpu")) == pytest.approx(0.001)
    assert seen == [8, 8, 8, 100, 100, 100]
    seen.clear()
    pace = 2.0
    assert seconds_of(run, 100, torch.device("cpu")) == pytest.approx(2.0)
    assert seen == [8]


class Fresh(Attack):
    """An attack of another package: it writes down nothing of what it takes."""

    label, restarts, options = "fresh", 1, {"name": "fresh"}

    def __call__(self, classifier, images, labels, *, threat, work):
        leaf = images.clone().requires_grad_()
        torch.autograd.grad(classifier(leaf).sum(), leaf)
        return images


def test_an_attack_need_not_know_what_it_takes(cnn):
    assert said(Fresh(), Classifier(*cnn)) == Passes(0, 1)
