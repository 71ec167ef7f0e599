"""Attacks state what kind of number they lead to, and what of them means nothing without noise."""

import pytest
from small_attacks import Step

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.attacks.attack import built, reading_of

CE = {"name": "autoattack", "member": "apgd-ce"}
SQUARE = {"name": "autoattack", "member": "square"}
HALF = {"name": "pgd", "backward": "half_gamma", "k": 16}


@pytest.mark.parametrize(
    ("attacks", "reading"),
    [
        ([{"name": "autoattack", "version": "standard"}], "as published"),
        ([{"name": "autoattack", "version": "plus"}], "as published"),
        ([{"name": "autoattack", "version": "rand"}], "EoT"),
        ([CE, SQUARE], "as published"),
        ([CE], "as published"),
        ([{"name": "apgd", "k": 1}], "as published"),
        ([{"name": "apgd", "k": 20}], "EoT"),
        ([CE | {"eot_iter": 8}, SQUARE], "EoT"),
        (["held_noise"], "adaptive"),
        (["held_noise", HALF, "square_eot", "transfer", "random_sign"], "adaptive"),
        ([{"name": "apgd", "noise": "held"}], "adaptive"),
        ([SQUARE], None),
        ([{"name": "autoattack", "member": "fab-t"}, SQUARE], None),
        (["square_eot"], None),
        (["hop_skip_jump"], None),
        (["surrogate"], None),
        (["transfer"], None),
        (["random_sign"], None),
        (["gaussian"], None),
        ([HALF], None),
        ([{"name": "held_noise", "backward": "half_gamma"}], None),
        ([{"name": "pgd", "k": 1}], None),
        ([CE, "square_eot"], None),
        ([{"name": "autoattack", "version": "rand"}, "transfer"], None),
    ],
)
def test_a_battery_is_read_as_its_attacks_say(attacks, reading):
    assert reading_of(built(attacks)) == reading


def test_an_attack_that_declares_nothing_gives_no_reading_and_leaves_one_to_an_adaptive_battery_only():
    theirs = Step("theirs")
    assert reading_of([theirs]) is None
    assert reading_of([*built([CE]), theirs]) is None
    assert reading_of([*built(["held_noise"]), theirs]) == "adaptive"


@pytest.mark.parametrize("name", list(ATTACKS))
def test_options_that_are_idle_without_noise_are_options(name):
    for attack in built([{"name": name, "version": "plus"}] if name == "autoattack" else [name]):
        assert attack.idle_without_noise <= set(attack.options)
