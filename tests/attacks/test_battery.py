import copy
import logging
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from small_attacks import NAMES, Step, few, ready

from sslkuramoto import threat
from sslkuramoto.attacks import Work, battery, pass_size, run_battery
from sslkuramoto.classifier import Classifier, predictions_over_draws
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator
from sslkuramoto.threat import MisbehavedError, Threat

EPS = 0.06
NORMS = {"linf": Threat("linf", EPS), "l2": Threat("l2", 0.6)}
MODES = ("random", "fixed", "fixed_per_image", "averaged")
STANDARD = {"name": "autoattack", "version": "standard", "iterations": 5, "targets": 2, "queries": 20}
SOME = [("random", "linf"), ("random", "l2"), ("fixed", "l2"), ("fixed_per_image", "linf"), ("averaged", "l2")]


def first(digits, n, start=0):
    return digits["test"].images[start : start + n] / 255, digits["test"].labels[start : start + n].clone()


def battle(classifier, images, labels, attacks, **changed):
    options = {"threat": NORMS["linf"], "seed": 7, "chunk": 16, "draws": 20, **changed}
    return run_battery(classifier, images, labels, attacks, **options)


def same(one, other, n=None):
    """Assert that two batteries found the same on the first n images."""
    assert torch.equal(one.worst[:n], other.worst[:n])
    assert torch.equal(one.wrapper[:n], other.wrapper[:n])
    assert one.broken_by[:n] == other.broken_by[:n]
    assert torch.equal(one.clean_share[:n], other.clean_share[:n])
    for label, share in one.share_right.items():
        assert torch.equal(share[:n], other.share_right[label][:n]), label


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mode", MODES)
def test_without_room_every_attack_returns_the_images_themselves(noisy, digits, subject_of, mode, norm):
    images, labels = first(digits, 6)
    classifier = Classifier(*noisy, mode, draws=2).at(torch.arange(6))
    attacks = ready(subject_of(noisy), *(few(name) for name in NAMES))
    assert {"apgd-ce", "apgd-t", "apgd-dlr", "fab", "fab-t", "square"} <= {attack.label for attack in attacks}
    for attack in attacks:
        found = attack(classifier, images, labels, threat=Threat(norm, 0.0), work=Work(3, 0))
        assert torch.equal(found, images), attack.label
        assert found.data_ptr() != images.data_ptr(), attack.label


@pytest.mark.parametrize(("mode", "norm"), SOME)
def test_every_attack_stays_in_the_ball_repeats_and_leaves_the_generators_alone(
    noisy, digits, subject_of, caplog, mode, norm
):
    images, labels = first(digits, 3)
    before = {key: value.clone() for key, value in noisy[0].state_dict().items()}
    attacks = ready(subject_of(noisy), *(few(name) for name in NAMES))
    found = []
    for seed in (1, 2):  # whatever the global generators hold
        torch.manual_seed(seed)
        np.random.seed(seed)
        states = torch.get_rng_state(), np.random.get_state()[1].copy()
        classifier = Classifier(*noisy, mode, draws=2)
        with caplog.at_level(logging.DEBUG):
            found.append(battle(classifier, images, labels, attacks, chained=False, keep=True, threat=NORMS[norm]))
        assert torch.equal(torch.get_rng_state(), states[0])
        assert (np.random.get_state()[1] == states[1]).all()
    assert caplog.records == []
    for label, candidates in found[0].candidates.items():
        NORMS[norm].check(candidates, images, label)
    same(*found)
    assert all(torch.equal(before[key], value) for key, value in noisy[0].state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in noisy[0].parameters())


def test_no_attack_switches_off_a_debugger_or_changes_loggers(noisy, digits, subject_of):
    images, labels = first(digits, 2)
    classifier = Classifier(*noisy, draws=2)
    attacks = ready(subject_of(noisy), *(few(name) for name in NAMES))
    loggers = {name: getattr(one, "handlers", None) for name, one in logging.root.manager.loggerDict.items()}
    level, handlers = logging.root.level, list(logging.root.handlers)
    before = sys.gettrace()
    sys.settrace(tracer := lambda *event: None)
    try:
        for attack in attacks:
            attack(classifier, images, labels, threat=NORMS["linf"], work=Work(3, 0))
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert loggers == {name: getattr(one, "handlers", None) for name, one in logging.root.manager.loggerDict.items()}
    assert (logging.root.level, logging.root.handlers) == (level, handlers)


def test_adversarial_images_reach_the_edge_of_the_ball(noisy, digits, subject_of):
    images, labels = first(digits, 12)
    for mode in ("random", "fixed"):
        found = battle(Classifier(*noisy, mode), images, labels, ready(subject_of(noisy), STANDARD))
        for candidates in (found.worst, found.wrapper):
            NORMS["linf"].check(candidates, images, mode)
        assert float((found.worst - images).abs().max()) == pytest.approx(EPS, abs=1e-5)


@pytest.mark.parametrize(
    ("beyond", "words"),
    [
        (lambda candidates: candidates.clamp(max=0.8) + 0.2, "left the ball"),
        (lambda candidates: candidates - 1e-3, r"left \[0,1\]"),
        (lambda candidates: candidates * float("nan"), "no numbers"),
        (lambda candidates: candidates[:2], r"\(2, 3, 8, 8\) for"),
    ],
)
def test_an_attack_that_breaks_the_rules_is_caught(cnn, digits, beyond, words):
    images, labels = first(digits, 8)
    with pytest.raises(AssertionError, match=rf"cheat.*{words}"):
        battle(Classifier(*cnn), images, labels, [Step("cheat", move=beyond)])


def test_a_chained_attack_sees_what_stands_and_an_unchained_one_what_was_right(cnn, digits):
    images, labels = first(digits, 40)
    classifier = Classifier(*cnn)
    right = classifier(images).argmax(1) == labels
    assert int((~right).sum()) > 0, "the example must hold an image that is wrong from the start"
    for chained in (True, False):
        one, two = Step("one", random=False), Step("two")
        found = battle(classifier, images, labels, [one, two], chained=chained, chunk=40)
        assert torch.equal(one.seen[0].images, images[right])
        standing = torch.tensor([by not in ("clean", "one") for by in found.broken_by]) if chained else right
        assert torch.equal(two.seen[0].images, images[standing])
        assert torch.equal(two.seen[0].labels, labels[standing])
        assert [by == "clean" for by in found.broken_by] == (~right).tolist()
        assert found.standing_after["one"] == found.broken_by.count("two") / 40 + found.broken_by.count(None) / 40
        if chained:
            assert found.standing_after["two"] == found.broken_by.count(None) / 40
        else:
            shares = {name: float(share.mean()) for name, share in found.share_right.items()}
            assert found.standing_after == pytest.approx(shares)


def test_each_restart_begins_elsewhere_on_what_still_stands(cnn, digits):
    images, labels = first(digits, 60)
    step = Step(restarts=3)
    found = battle(Classifier(*cnn), images, labels, [step], chunk=30, threat=NORMS["l2"])
    calls = [(seen.chunk, seen.restart) for seen in step.seen]
    assert calls == [(chunk, restart) for chunk in (0, 1) for restart in range(3)]
    sizes = [len(seen.images) for seen in step.seen if seen.chunk == 0]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1], "the example must break something"
    once = battle(Classifier(*cnn), images, labels, [Step()], chunk=30, threat=NORMS["l2"])
    broken = [{i for i, by in enumerate(result.broken_by) if by == "step"} for result in (once, found)]
    assert broken[0] < broken[1]
    draws = [Work(7, chunk, restart).generator("cpu", "x").initial_seed() for chunk in (0, 1) for restart in (0, 1)]
    assert len({*draws, Work(8, 0).generator("cpu", "x").initial_seed()}) == 5


def test_an_attack_is_left_alone_when_nothing_stands(cnn, digits, subject_of):
    images, labels = first(digits, 8)
    later = Step("later")
    wide = Threat("linf", 0.5)
    apgd = {"name": "autoattack", "member": "apgd-ce", "iterations": 20}
    found = battle(Classifier(*cnn), images, labels, [*ready(subject_of(cnn), apgd), later], threat=wide)
    assert later.seen == []
    assert found.standing_after == {"apgd-ce": 0.0, "later": 0.0}


def test_the_union_is_never_above_a_single_attack(cnn, digits, subject_of):
    images, labels = first(digits, 32)
    classifier = Classifier(*cnn)
    attacks = ready(subject_of(cnn), STANDARD)
    union = battle(classifier, images, labels, attacks)
    standing = {i for i, by in enumerate(union.broken_by) if by is None}
    assert len(attacks) == 4
    for attack in attacks:
        alone = battle(classifier, images, labels, [attack])
        assert standing <= {i for i, by in enumerate(alone.broken_by) if by is None}, attack.label
    assert list(union.standing_after.values()) == sorted(union.standing_after.values(), reverse=True)


def test_the_worst_candidate_is_the_one_that_the_fewest_draws_get_right(noisy, digits, subject_of):
    images, labels = first(digits, 16)
    attacks = [*ready(subject_of(noisy), STANDARD), Step()]
    found = battle(Classifier(*noisy), images, labels, attacks, chained=False, keep=True)
    shares = torch.stack([found.clean_share, *(found.share_right[attack.label] for attack in attacks)])
    kept = torch.stack([images, *(found.candidates[attack.label] for attack in attacks)])
    assert torch.equal(found.worst, kept[shares.argmin(dim=0), torch.arange(16)])
    assert float(shares.min(dim=0).values.mean()) < float(found.clean_share.mean()) - 0.1


def test_the_share_of_draws_is_that_of_the_selection_draws(noisy, digits):
    images, labels = first(digits, 12)
    classifier = Classifier(*noisy)
    found = battle(classifier, images, labels, [Step()], chunk=12, draws=30, keep=True)
    seen = torch.isin(torch.arange(12), (found.clean_share > 0).nonzero())
    again = predictions_over_draws(classifier, [found.candidates["step"][seen]], 30, "select", "step", 0, 0)
    share = (again == labels[seen]).float().mean(dim=0)
    unmoved = (found.candidates["step"] == images).flatten(1).all(dim=1)[seen]
    assert torch.equal(found.share_right["step"][seen][~unmoved], share[~unmoved])
    assert bool((~unmoved).any())


def test_the_worst_candidate_is_at_least_as_strong_as_the_wrappers(noisy, digits, subject_of):
    images, labels = first(digits, 48)
    classifier = Classifier(*noisy, "random")
    few_steps = {"iterations": 8, "queries": 30, "eot_iter": 4}
    members = ({"name": "autoattack", "member": name, **few_steps} for name in ("apgd-ce", "square"))
    found = battle(classifier, images, labels, ready(subject_of(noisy), *members), decided_by="majority")
    draw = torch.Generator().manual_seed(0)

    def mean(candidates):
        return torch.stack([classifier(candidates, draw=draw).argmax(1) == labels for _ in range(100)]).float().mean()

    assert mean(found.worst) <= mean(found.wrapper) + 0.01
    assert mean(found.worst) < mean(images) - 0.1


def test_one_draw_or_most_draws_decide(noisy, digits):
    images, labels = first(digits, 64)
    found = {by: battle(Classifier(*noisy), images, labels, [], decided_by=by) for by in ("one draw", "majority")}
    share = found["majority"].clean_share
    assert [by == "clean" for by in found["majority"].broken_by] == (share <= 0.5).tolist()
    one = torch.tensor([by == "clean" for by in found["one draw"].broken_by])
    unsure = (share > 0.5) & (share < 1)
    assert bool(one[unsure].any()), "an unlucky draw breaks an image that most draws get right"
    assert not bool(one[share == 1].any()) or float(one[share == 1].float().mean()) < 0.1


@pytest.mark.parametrize("mode", ["random", "fixed"])
def test_the_rows_of_a_pass_change_no_verdict(noisy, digits, subject_of, monkeypatch, mode):
    images, labels = first(digits, 8)
    attacks = ready(subject_of(noisy), *(few(name, k=4, max_k=4) for name in NAMES))
    found, passes = [], []
    for most in (1, 64):
        monkeypatch.setitem(pass_size.MOST, "cpu", most)
        classifier = Classifier(copy.deepcopy(noisy[0]), noisy[1], mode)  # what fits is remembered for each encoder
        passes.append(calls := [])
        classifier.encoder.register_forward_pre_hook(lambda _, given, calls=calls: calls.append(len(given[0])))
        found.append(battle(classifier, images, labels, attacks, chunk=8, chained=False))
    assert len(passes[0]) > len(passes[1])
    assert found[0].broken_by == found[1].broken_by
    assert 0 < sum(by is not None for by in found[0].broken_by) < 8, "the example must hold both outcomes"
    for label, share in found[0].share_right.items():
        assert torch.equal(share, found[1].share_right[label]), label


def test_a_chunk_depends_on_nothing_but_itself(noisy, digits, subject_of):
    images, labels = first(digits, 12)
    entries = [few(name) for name in NAMES if name != "autoattack"]
    entries.append({"name": "autoattack", "member": "apgd-ce", "iterations": 2})
    attacks = [*ready(subject_of(noisy), *entries), Step(restarts=2)]
    for mode in ("random", "fixed_per_image"):
        whole = battle(Classifier(*noisy, mode), images, labels, attacks, chunk=5, chained=False)
        part = battle(Classifier(*noisy, mode), images[:5], labels[:5], attacks, chunk=5, chained=False)
        same(part, whole, 5)


def test_other_seeds_and_chunks_meet_other_noise(noisy, digits):
    images, labels = first(digits, 16)
    worst = [battle(Classifier(*noisy), images, labels, [Step()], seed=seed, chunk=16).worst for seed in (1, 2)]
    assert not torch.equal(*worst)
    twice = battle(Classifier(*noisy), images[:8].repeat(2, 1, 1, 1), labels[:8].repeat(2), [Step()], chunk=8)
    assert not torch.equal(twice.worst[:8], twice.worst[8:])


def test_with_one_state_an_image_every_attack_meets_the_states_of_its_rows(noisy, digits, subject_of):
    images, labels = first(digits, 30)
    index = torch.randperm(360, generator=generator("cpu", "index"))[:30]
    classifier = Classifier(*noisy, "fixed_per_image", seed=5)
    own = classifier.at(index)(images)
    steps = [Step("one"), Step("two", restarts=2)]
    found = battle(classifier, images, labels, steps, index=index, chunk=9)
    for step in steps:
        for seen in step.seen:
            rows = [next(i for i in range(30) if torch.equal(images[i], image)) for image in seen.images]
            torch.testing.assert_close(seen.logits, own[rows])
    assert len(steps[1].seen[0].images) < 9, "the example must leave rows out"
    right = classifier.at(index)(found.worst).argmax(1) == labels
    assert right.tolist() == [by is None for by in found.broken_by]


def test_images_outside_the_range_and_probabilities_are_refused(cnn, digits):
    images, labels = first(digits, 8)
    with pytest.raises(UserError, match=r"images lie in \[0, 255\]"):
        battle(Classifier(*cnn), images * 255, labels, [Step()])
    probabilities = torch.nn.Sequential(cnn[1], torch.nn.Softmax(dim=1))
    with pytest.raises(UserError, match="probabilities"):
        battle(Classifier(cnn[0], probabilities), images, labels, [Step()])


def test_labels_must_differ_and_draws_suffice(noisy, digits):
    images, labels = first(digits, 4)
    with pytest.raises(UserError, match="two have the label 'step'; give one of them another label"):
        battle(Classifier(*noisy), images, labels, [Step(), Step()])
    with pytest.raises(UserError, match="'clean'"):
        battle(Classifier(*noisy), images, labels, [Step("clean")])
    with pytest.raises(UserError, match="draws=19"):
        battle(Classifier(*noisy), images, labels, [Step()], draws=19)
    assert battle(Classifier(*noisy, "fixed"), images, labels, [Step()], draws=1).clean_share.shape == (4,)


def test_progress_is_reported_a_line_a_unit(cnn, digits):
    images, labels = first(digits, 12)
    lines = []
    battle(Classifier(*cnn), images, labels, [Step(restarts=2)], chunk=8, report=lines.append)
    assert len(lines) == 4
    assert lines[0].startswith("step: chunk 1 of 2, start 1 of 2, ")


def test_an_image_that_most_draws_err_on_is_attacked_until_no_draw_is_right(noisy, digits):
    """The headline is a mean over draws: what the first attack leaves to some of them the second goes for."""
    noisy[0].noise = 3.0
    images, labels = first(digits, 48)
    classifier = Classifier(*noisy)
    weak, second = Step("weak"), Step("second")
    found = battle(classifier, images, labels, [weak, second], chunk=48, draws=40, keep=True)
    share = torch.minimum(found.share_right["weak"], found.clean_share)
    half_done = (share > 0) & (share <= 0.5)
    assert bool(half_done.any()), "the example must hold such images"
    assert len(second.seen[0].images) == int((share > 0).sum())
    assert bool((found.clean_share <= 0.5).any()), "and images that are mostly wrong when clean"
    assert len(weak.seen[0].images) == int((found.clean_share > 0).sum())
    once = battle(classifier, images, labels, [weak, second], chunk=48, draws=40, decided_by="one draw")
    assert set(once.broken_by) >= {"clean", None}


def test_a_deterministic_network_that_is_fooled_is_left_alone(cnn, digits):
    images, labels = first(digits, 24)
    weak, second = Step("weak"), Step("second")
    found = battle(Classifier(*cnn), images, labels, [weak, second], chunk=24)
    assert len(second.seen[0].images) == round(24 * found.standing_after["weak"])


OUTSIDE = """
images = torch.full((2, 3, 4, 4), 0.5)
for wrong in (images + 0.2, images.double(), images[:1], images + torch.nan, images + 0.6):
    try:
        Threat("linf", 0.1 if wrong.max() < 1 else 1.0).check(wrong, images, "mine")
    except MisbehavedError:
        continue
    raise ValueError(f"accepted: {wrong.dtype} {wrong.flatten()[0]}")
Threat("linf", 0.1).check(images + 0.1, images, "mine")
"""


def test_candidates_outside_the_ball_are_refused_without_assertions_too(monkeypatch):
    """Threat is compiled as by ``python -O``, in this process; what it imports keeps its assertions."""
    names = {"__name__": "threat_without_assertions", "torch": torch}
    monkeypatch.setitem(sys.modules, names["__name__"], ModuleType(names["__name__"]))
    for source, file in ((Path(threat.__file__).read_text(), threat.__file__), (OUTSIDE, "test")):
        exec(compile(source, file, "exec", optimize=1), names)


@pytest.mark.parametrize("which", ["worst", "wrapper", "candidates"])
def test_what_the_battery_returns_is_checked_once_more(cnn, digits, monkeypatch, which):
    """Whatever happened to candidates that were fine when they were found."""
    images, labels = first(digits, 4)
    joined = battery._joined

    def moved(parts, names, keep):
        found = joined(parts, names, True)
        images = found.candidates["step"] if which == "candidates" else getattr(found, which)
        images[0] = (images[0] + 0.5) % 1
        return found

    monkeypatch.setattr(battery, "_joined", moved)
    with pytest.raises(MisbehavedError, match="the battery left the ball"):
        battle(Classifier(*cnn), images, labels, [Step()])
