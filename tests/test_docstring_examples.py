"""The examples in docstrings print what they show."""

import doctest
from importlib import import_module

import pytest

EXAMPLES = [
    "sslkuramoto.dynamics.energy",
    "sslkuramoto.dynamics.kuramoto",
    "sslkuramoto.dynamics.layer",
    "sslkuramoto.dynamics.sphere",
    "sslkuramoto.dynamics.winfree",
    "sslkuramoto.dynamics.winfree_layer",
    "sslkuramoto.encoders.akorn",
    "sslkuramoto.encoders.timm",
    "sslkuramoto.encoders.winfree",
    "sslkuramoto.randomness",
]


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_of_a_module_print_what_they_show(module: str) -> None:
    found = doctest.testmod(import_module(module))
    assert found.attempted > 0
    assert found.failed == 0
