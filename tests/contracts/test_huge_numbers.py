"""No whole number of an option, however large, makes a network run, take memory or fail without one clear line."""

from collections.abc import Iterator

import pytest
import torch

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.values import check_value, in_words

HUGE = (10**9, 10**9 + 1, 10**20, 10**20 + 1)
LOOPS = {"num_steps", "layers", "kernel_size", "kernel_sizes", "readout_kernel", "iterations", "restarts", "queries"}
LOOPS |= {"draws", "k", "max_k", "samples", "probes", "eot_iter", "image_size", "side"}
"""Options that say how long a loop is, or how large a grid: beyond a bound they are refused by their type."""


def numbers() -> Iterator[tuple[str, str]]:
    """Yield encoder and option of every whole number."""
    for name in ENCODERS:
        for option, hint in ENCODERS.annotations(name).items():
            if "whole number" in in_words(hint):
                yield name, option


def built_or_line(name: str, options: dict) -> str:
    """Build an encoder without memory; return the line of the error, nothing where there is none."""
    try:
        with torch.device("meta"):
            ENCODERS.build(name, options)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("name", "option"), numbers())
def test_a_huge_number_of_an_encoder_is_a_network_without_memory_or_one_line(name, option):
    for number in HUGE:
        value = (number,) if option == "kernel_sizes" else number
        assert "\n" not in built_or_line(name, {**ENCODERS.small(name), option: value})


@pytest.mark.parametrize("registry", [ENCODERS, ATTACKS], ids=["encoders", "attacks"])
def test_what_counts_the_rounds_of_a_loop_has_an_upper_bound(registry):
    seen = set()
    for name in registry:
        for option, hint in registry.annotations(name).items():
            if option in LOOPS and "whole number" in in_words(hint):
                seen.add(option)
                value = (10**20 + 1,) if option == "kernel_sizes" else 10**20 + 1
                with pytest.raises(UserError, match="must be at most"):
                    check_value(option, value, hint)
    assert seen
