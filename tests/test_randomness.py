"""Generators keyed by what they are for, and the global one lent and given back."""

import itertools

import pytest
import torch

from sslkuramoto.randomness import borrowed_global, generator, seed_of


def test_a_key_always_gives_the_same_seed():
    assert seed_of(0, "views", 3) == seed_of(0, "views", 3)


def test_seeds_fit_a_torch_generator_and_differ_when_any_part_of_the_key_does():
    keys = list(itertools.product(range(20), ("views", "order", "field"), range(20)))
    seeds = [seed_of(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("one", "other"), [((1, 23), (12, 3)), (("1",), (1,)), (("a", "b"), ("ab",)), (("a", ""), ("a",)), ((), ("",))]
)
def test_keys_are_not_glued_together(one, other):
    assert seed_of(*one) != seed_of(*other)


def test_a_generator_is_fresh_at_each_call_and_depends_on_its_key():
    def numbers(*key):
        return torch.rand(4, generator=generator("cpu", *key))

    assert torch.equal(numbers(0, "a"), numbers(0, "a"))
    assert not torch.equal(numbers(0, "a"), numbers(1, "a"))


def test_what_is_drawn_from_the_borrowed_global_generator_depends_on_the_lender_only():
    def borrowed(seed: int, key: int) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with borrowed_global(generator("cpu", key)):
                return torch.rand(4)

    assert torch.equal(borrowed(0, 0), borrowed(1, 0))
    assert not torch.equal(borrowed(0, 0), borrowed(0, 1))


def test_the_global_generator_continues_as_if_it_had_not_been_lent():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        wanted = torch.rand(3)
        torch.manual_seed(5)
        with borrowed_global(generator("cpu", 0)):
            torch.rand(7)
        assert torch.equal(torch.rand(3), wanted)


def test_the_global_generator_is_given_back_after_an_error():
    def fail() -> None:
        with borrowed_global(generator("cpu", 0)):
            torch.rand(7)
            raise RuntimeError("within")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="within"):
        fail()
    assert torch.equal(before, torch.get_rng_state())


def test_lending_twice_from_one_generator_gives_other_numbers():
    draw, found = generator("cpu", 0), []
    for _ in range(2):
        with borrowed_global(draw):
            found.append(torch.rand(4))
    assert not torch.equal(*found)
