"""What the ledger knows a unit by: what its outcome depends on, and no more."""

from dataclasses import replace

import pytest
import torch
from small_attacks import few

from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.ledger import ledger_for
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.sources import content_key
from sslkuramoto.threat import Threat

CE = {"name": "autoattack", "member": "apgd-ce", "iterations": 4, "eot_iter": 2}
OPTIONS = {"eps": 0.05, "images": 8, "chunk": 4, "select_draws": 20, "control": 0}


def measured(subject, **options):
    """Return the result and the units that were begun for it."""
    units = []
    subject.report = lambda line: units.append(line) if ": chunk " in line else None
    return PROTOCOLS.build("robustness", {**OPTIONS, **options})(subject), units


@pytest.mark.parametrize(
    ("name", "idle"),
    [
        ("apgd", {"k": 3, "mean": "log_probability"}),
        ("pgd", {"k": 3, "mean": "log_probability"}),
        ("gaussian", {"draws": 3}),
        ("random_sign", {"draws": 3}),
        ("square_eot", {"draws": 3}),
        ("hop_skip_jump", {"draws": 3}),
    ],
)
def test_options_that_change_nothing_for_a_deterministic_network_make_no_other_unit(cnn, noisy, subject_of, name, idle):
    usual, other = few(name, label="mine"), few(name, label="mine", **idle)
    subject = subject_of(cnn)
    first, begun = measured(subject, attacks=[usual])
    again, more = measured(subject, attacks=[other], ledger=str(subject.run_dir / "another"))
    assert len(begun) == len(more) > 0
    assert again.per_image == first.per_image, "they change nothing indeed"
    assert measured(subject, attacks=[other])[1] == []
    drawing = subject_of(noisy)
    measured(drawing, attacks=[usual])
    assert len(measured(drawing, attacks=[other])[1]) > 0, "a network that draws is another matter"


def test_ways_to_read_noise_make_no_other_unit_of_a_network_without(cnn, noisy, subject_of):
    subject, drawing = subject_of(cnn), subject_of(noisy)
    measured(subject, attacks=[CE])
    idle = {"initial": "averaged", "average": 3, "decided_by": "one draw", "select_draws": 30}
    assert measured(subject, attacks=[CE], **idle)[1] == []
    measured(drawing, attacks=[CE], initial="fixed")
    assert measured(drawing, attacks=[CE], **{**idle, "initial": "fixed"})[1] == []
    assert len(measured(drawing, attacks=[CE], **idle)[1]) > 0


def test_the_control_is_kept_in_the_ledger_too(noisy, subject_of):
    subject = subject_of(noisy)
    first, _ = measured(subject, attacks=[CE], control=3)
    with counted(subject.encoder) as count:
        again, units = measured(subject, attacks=[CE], control=3)
    assert units == []
    assert count.backward == 0, "neither the attack nor its control is run again"
    assert again.metrics == first.metrics
    assert torch.tensor(first.per_image["correct"]).equal(torch.tensor(again.per_image["correct"]))


@pytest.mark.parametrize("name", ["pgd", "held_noise", "gaussian", "square_eot", "hop_skip_jump"])
def test_more_restarts_extend_what_was_found(noisy, subject_of, name):
    """The third start is made and the first two are read; the outcome is that of three made at once."""
    subject = subject_of(noisy)
    entries = {n: few(name, label="mine", restarts=n) for n in (2, 3)}
    _, two = measured(subject, attacks=[entries[2]])
    assert len(two) == 4, "two starts of two chunks"
    extended, third = measured(subject, attacks=[entries[3]])
    assert third
    assert all("start 3 of 3" in line for line in third)
    at_once, units = measured(subject, attacks=[entries[3]], ledger=str(subject.run_dir / "another"))
    assert len(units) == 6
    assert extended.per_image == at_once.per_image
    assert measured(subject, attacks=[entries[2]])[1] == []


def test_restarts_inside_an_attack_are_part_of_what_it_is(cnn, subject_of):
    subject = subject_of(cnn)
    for restarts in (1, 2, 3):
        assert len(measured(subject, attacks=[CE | {"restarts": restarts}])[1]) == 2, "two chunks"


@pytest.mark.parametrize("what", ["code", "weights", "head", "encoder options", "data", "precision", "attack's code"])
def test_whatever_numbers_hang_on_makes_another_unit(cnn, subject_of, some_set, monkeypatch, what):
    subject = subject_of(cnn)
    assert len(measured(subject, attacks=[CE])[1]) == 2
    assert measured(subject, attacks=[CE])[1] == []
    before = torch.get_float32_matmul_precision()
    if what == "code":
        monkeypatch.setattr("sslkuramoto.attacks.ledger.code_version", lambda paths: "another")
    elif what == "attack's code":
        monkeypatch.setattr("sslkuramoto.attacks.battery._code_of", lambda attack: "another")
    elif what == "weights":
        subject = subject_of(cnn, encoder_hash="1" * 64)
    elif what == "head":
        with torch.no_grad():
            cnn[1].bias += 1e-6
    elif what == "encoder options":
        subject = subject_of(cnn, encoder_options={"num_steps": 1})
    elif what == "data":
        own = subject.data("test")
        subject = subject_of(cnn, data=lambda split: replace(own, fingerprint="another"))
    elif what == "precision":
        torch.set_float32_matmul_precision("high")
    try:
        assert len(measured(subject, attacks=[CE])[1]) == 2
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_unit_belongs_to_a_kind_of_device(cnn, subject_of):
    subject = subject_of(cnn)
    index = torch.arange(3)
    folders = set()
    for device in ("cpu", "cuda"):
        made = ledger_for(
            subject.network,
            subject.code,
            subject.run_dir,
            seed=0,
            device=torch.device(device),
            threat=Threat("linf", 0.1),
            data={},
            index=index,
            mode={},
        )
        folders.add(made.folder)
    assert len(folders) == 2


def test_a_head_of_another_package_is_known_by_its_code_too(cnn, subject_of):
    """Equal weights in another class may answer otherwise."""
    subject = subject_of(cnn)
    _, begun = measured(subject, attacks=[CE])
    assert begun
    assert measured(subject, attacks=[CE])[1] == []

    class Doubled(torch.nn.Linear):
        def forward(self, features):
            return 2 * super().forward(features)

    head = Doubled(subject.head.in_features, subject.head.out_features)
    head.load_state_dict(subject.head.state_dict())
    other = replace(subject, head=head.eval())
    assert other.network == subject.network
    assert len(measured(other, attacks=[CE])[1]) == len(begun)


def test_a_key_depends_on_everything_and_on_no_order():
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert len({content_key(content) for content in ({"a": 1}, {"a": 2}, {"a": "1"}, {"b": 1}, {"a": [1]})}) == 5


def test_another_seed_makes_another_unit_and_another_score_does_not(noisy, subject_of):
    subject = subject_of(noisy)
    measured(subject, attacks=[CE])
    assert measured(subject, attacks=[CE], draws=30, store=2, control=1)[1] == []
    subject.seed = 1
    assert len(measured(subject, attacks=[CE])[1]) == 2
