"""A certificate from Python, of a network that lies in memory."""

from typing import Any

import pytest

import sslkuramoto as sk
from sslkuramoto.errors import UserError


def test_a_certificate_of_a_plain_network_is_the_bracket_of_its_vote_under_noise(plain, some):
    few = {"n0": 20, "n": 100, "draws": 40, "attacks": [{"name": "pgd", "k": 2, "iterations": 2}]}
    found = sk.certify(plain(), some[0][:6], some[1][:6], 0.2, radii=[0.1], options=few)
    assert found["certified_accuracy_0.1"].value <= found["attacked_accuracy_0.1"].value
    assert any(note.startswith("between ") and "at l2 0.1, sigma 0.2" in note for note in found.notes)
    both = sk.certify(plain(), some[0][:2], some[1][:2], [0.1, 0.2], options={**few, "attacks": []})
    assert {"sigma_0.1/smoothed_accuracy", "sigma_0.2/certified_accuracy_0.2"} <= {*both.metrics}
    wrong: list[Any] = [0.0, -1.0, "0.2", [], True]
    for sigma in wrong:
        with pytest.raises(UserError, match="sigma"):
            sk.certify(plain(), some[0], some[1], sigma)
