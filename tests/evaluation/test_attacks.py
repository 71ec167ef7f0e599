import dataclasses
import logging
import sys

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.attacks import check_in_ball, parse_eps, run_attacks
from sslkuramoto.evaluation.classifier import Classifier
from sslkuramoto.evaluation.pyautoattack_members import Settings, linf_members

EPS = 0.06


def first(digits, n):
    return digits["test"].images[:n] / 255, digits["test"].labels[:n].clone()


def attacked(classifier, images, labels, eps, *, names=("apgd-ce", "apgd-t", "fab-t", "square"), batch_size=16, **kept):
    settings = Settings(iterations=8, targets=3, queries=30, eot_iter=kept.pop("eot_iter", None))
    members, _, _ = linf_members(
        classifier, eps=eps, seed=7, num_classes=10, version="custom", attacks=names, settings=settings
    )
    return run_attacks(classifier, images, labels, members, eps=eps, batch_size=batch_size, draws=20, **kept)


@pytest.mark.parametrize(
    ("eps", "value"), [("8/255", 8 / 255), (" 0.5 / 255", 0.5 / 255), (0.1, 0.1), (0.0, 0.0), (1.0, 1.0)]
)
def test_eps_is_a_number_or_a_fraction(eps, value):
    assert parse_eps(eps) == value


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (8.0, r"eps=8: .*did you mean 8/255\?"),
        (1.5, r"did you mean 1.5/255\?"),
        (-0.1, "must be a finite number >= 0"),
        (float("nan"), "must be a finite number"),
        ("8/0", "divides by zero"),
        ("9/8", "must not exceed 1"),
        ("__import__('os')", "a fraction such as 8/255"),
        ("8/255/2", "a fraction such as 8/255"),
    ],
)
def test_a_wrong_eps_is_explained(eps, message):
    with pytest.raises(UserError, match=message):
        parse_eps(eps)


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_versions_have_the_settings_of_pyautoattack(cnn, version):
    classifier = Classifier(*cnn)
    theirs = AutoAttack(classifier, norm="Linf", eps=EPS, seed=7, version=version)
    members, notes, _ = linf_members(classifier, eps=EPS, seed=7, num_classes=10, version=version)
    assert [member.name for member in members] == theirs.attacks_to_run
    for member in members:
        ours = member._adversary(classifier, torch.device("cpu"))
        group = {"apgd-t": theirs.apgd_targeted, "square": theirs.square, "fab": theirs.fab, "fab-t": theirs.fab}
        other = group.get(member.name, theirs.apgd)
        differ = {"loss", "targeted", "logger", "device", "eot_iter"}
        for key in set(vars(other)) - differ:
            if (member.name, key) != ("fab-t", "n_restarts"):  # their loop sets it to 1 before FAB-T
                assert getattr(ours, key) == getattr(other, key), (member.name, key)
    assert bool(notes) == (version == "rand"), "EoT is pointless for a deterministic network, and said to be"


def test_eot_is_kept_for_a_stochastic_network(noisy):
    members, notes, _ = linf_members(Classifier(*noisy), eps=EPS, seed=7, num_classes=10, version="rand")
    assert [member.eot_iter for member in members] == [20, 20]
    assert notes == []


def test_autoattack_agrees_image_by_image_with_pyautoattack(cnn, digits):
    """Standard version, every image: the same adversarial pixels, not only the same count."""
    images, labels = first(digits, 20)
    classifier = Classifier(*cnn).requires_grad_(False)
    theirs = AutoAttack(classifier, norm="Linf", eps=EPS, seed=7, version="standard")
    theirs.apgd.__init__(classifier, n_iter=8, n_restarts=1, eps=EPS, norm="Linf", seed=7, device="cpu")
    theirs.apgd_targeted.__init__(classifier, n_iter=8, eps=EPS, norm="Linf", seed=7, device="cpu")
    theirs.fab.n_iter, theirs.square.n_queries = 8, 30
    with torch.random.fork_rng(devices=[]):
        trace = sys.gettrace()
        expected, _ = theirs.run_standard_evaluation(images, labels, batch_size=8)
        sys.settrace(trace)  # pyautoattack switches it off
    members, _, _ = linf_members(
        classifier,
        eps=EPS,
        seed=7,
        num_classes=10,
        version="standard",
        settings=Settings(iterations=8, queries=30),
    )
    found = run_attacks(classifier, images, labels, members, eps=EPS, batch_size=8, draws=20)
    assert torch.equal(found.worst, expected)
    assert torch.equal(found.wrapper, expected)
    standing = classifier(expected).argmax(1) == labels
    assert [by is None for by in found.broken_by] == standing.tolist()
    assert 0.1 < standing.float().mean() < 0.9, "the example must hold both outcomes"


def test_adversarial_images_stay_in_the_ball_and_in_range(noisy, digits):
    images, labels = first(digits, 24)
    for mode in ("random", "fixed"):
        found = attacked(Classifier(*noisy, mode), images, labels, 0.1)
        for candidates in (found.worst, found.wrapper):
            check_in_ball(candidates, images, 0.1, mode)
        assert float((found.worst - images).abs().max()) == pytest.approx(0.1, abs=1e-5)


def test_leaving_the_ball_is_noticed(digits):
    images, _ = first(digits, 4)
    for beyond in (images.clamp(max=0.8) + 0.2, images - 1e-3, torch.full_like(images, float("nan")), images.double()):
        with pytest.raises(AssertionError):
            check_in_ball(beyond, images, 0.1, "attack")


def test_the_union_is_never_above_a_single_attack(cnn, digits):
    images, labels = first(digits, 32)
    classifier = Classifier(*cnn)
    union = attacked(classifier, images, labels, EPS)
    standing = {i for i, by in enumerate(union.broken_by) if by is None}
    for name in ("apgd-ce", "apgd-t", "fab-t", "square"):
        alone = attacked(classifier, images, labels, EPS, names=(name,))
        assert standing <= {i for i, by in enumerate(alone.broken_by) if by is None}, name
    assert list(union.standing_after.values()) == sorted(union.standing_after.values(), reverse=True)


def test_the_worst_candidate_is_at_least_as_strong_as_the_wrappers(noisy, digits):
    images, labels = first(digits, 48)
    classifier = Classifier(*noisy, "random")
    found = attacked(classifier, images, labels, EPS, names=("apgd-ce", "square"), decided_by="majority", eot_iter=4)
    draw = torch.Generator().manual_seed(0)

    def mean(candidates):
        return torch.stack([classifier(candidates, draw=draw).argmax(1) == labels for _ in range(100)]).float().mean()

    assert mean(found.worst) <= mean(found.wrapper) + 0.01
    assert mean(found.worst) < mean(images) - 0.1


def test_attacks_leave_every_global_generator_and_the_tracer_alone(noisy, digits):
    images, labels = first(digits, 12)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    calls = []
    sys.settrace(before := (lambda *event: calls.append(event)))
    try:
        attacked(Classifier(*noisy, "random"), images, labels, EPS)
        assert sys.gettrace() is before
    finally:
        sys.settrace(None)
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()


def test_attacks_repeat_whatever_the_global_generator_holds(noisy, digits):
    images, labels = first(digits, 12)
    runs = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            runs.append(attacked(Classifier(*noisy, "random", seed=3), images, labels, EPS).worst)
    assert torch.equal(*runs)


def test_attacks_do_not_change_the_network_or_warn(cnn, digits, caplog):
    images, labels = first(digits, 8)
    before = {key: value.clone() for key, value in cnn[0].state_dict().items()}
    with caplog.at_level(logging.WARNING):
        attacked(Classifier(*cnn), images, labels, EPS)
    assert caplog.records == []
    assert all(torch.equal(before[key], value) for key, value in cnn[0].state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in cnn[0].parameters())


@pytest.mark.parametrize(
    ("classes", "left", "words"),
    [
        (6, ["apgd-ce", "apgd-t", "fab-t", "square"], "shrink from 9 to 5"),
        (3, ["apgd-ce", "fab-t", "square"], "apgd-t left out"),
    ],
)
def test_few_classes_shrink_targeted_attacks_with_a_word(cnn, digits, classes, left, words):
    encoder, _ = cnn
    classifier = Classifier(encoder, torch.nn.Linear(24, classes))
    members, notes, _ = linf_members(classifier, eps=EPS, seed=7, num_classes=classes, version="standard")
    assert [member.name for member in members] == left
    assert any(words in note for note in notes), notes
    images, labels = first(digits, 8)
    quick = [dataclasses.replace(member, iterations=3, queries=5) for member in members]
    run_attacks(classifier, images, labels % classes, quick, eps=EPS, batch_size=8, draws=20)


def test_an_attack_that_two_classes_cannot_carry_is_refused(cnn):
    with pytest.raises(UserError, match="no attack is left"):
        linf_members(Classifier(*cnn), eps=EPS, seed=7, num_classes=2, version="custom", attacks=["apgd-dlr"])


def test_images_outside_the_range_and_probabilities_are_refused(cnn, digits):
    images, labels = first(digits, 8)
    with pytest.raises(UserError, match=r"images lie in \[0, 255\]"):
        attacked(Classifier(*cnn), images * 255, labels, EPS)
    probabilities = torch.nn.Sequential(cnn[1], torch.nn.Softmax(dim=1))
    with pytest.raises(UserError, match="probabilities"):
        attacked(Classifier(cnn[0], probabilities), images, labels, EPS)
