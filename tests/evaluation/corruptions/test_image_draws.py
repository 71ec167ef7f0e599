import math

import pytest
import torch

from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws

MASK = 2**64 - 1


def splitmix(state: int) -> int:
    """SplitMix64's output function on unsigned integers of Python."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_numbers_are_those_of_splitmix64():
    index, draw = 7, ImageDraws(torch.tensor([7]), "cpu", "key")
    origin = int(draw._origin) & MASK
    numbers = draw.uniform(5)[0]
    for i in range(5):
        bits = splitmix((origin + (i + 1) * 0x9E3779B97F4A7C15) & MASK) >> (64 - 23)
        assert float(numbers[i]) == (bits + 0.5) / 2**23
    assert origin != int(ImageDraws(torch.tensor([index + 1]), "cpu", "key")._origin) & MASK


def test_an_image_has_the_same_numbers_wherever_it_stands_in_a_batch():
    whole = ImageDraws(torch.arange(10), "cpu", "key")
    part = ImageDraws(torch.tensor([7, 2]), "cpu", "key")
    for _ in range(2):  # the second call continues where the first ended
        assert torch.equal(whole.normal(3, 4)[[7, 2]], part.normal(3, 4))


def test_keys_images_and_calls_differ():
    draw = ImageDraws(torch.tensor([0, 1]), "cpu", "key")
    first, second = draw.uniform(100), draw.uniform(100)
    other = ImageDraws(torch.tensor([0, 1]), "cpu", "other").uniform(100)
    for numbers in (first[1], second[0], other[0]):
        assert (first[0] == numbers).float().mean() < 0.05


def test_the_global_generator_is_neither_read_nor_moved():
    before = torch.get_rng_state()
    first = ImageDraws(torch.arange(3), "cpu").uniform(4)
    torch.rand(5)
    torch.testing.assert_close(ImageDraws(torch.arange(3), "cpu").uniform(4), first, rtol=0, atol=0)
    torch.set_rng_state(before)


@pytest.mark.parametrize(
    ("kind", "mean", "variance"), [("uniform", 0.5, 1 / 12), ("normal", 0.0, 1.0), ("signs", 0.0, 1.0)]
)
def test_moments_are_those_of_the_distribution_and_images_are_uncorrelated(kind, mean, variance):
    numbers = getattr(ImageDraws(torch.arange(40), "cpu", kind), kind)(5000).double()
    error = math.sqrt(variance / numbers.numel())
    assert abs(float(numbers.mean()) - mean) < 4 * error
    assert float(numbers.var()) == pytest.approx(variance, rel=0.02)
    between = torch.corrcoef(numbers) - torch.eye(40)
    assert float(between.abs().max()) < 5 / math.sqrt(5000)
    after = torch.corrcoef(torch.stack([numbers[:, :-1].flatten(), numbers[:, 1:].flatten()]))[0, 1]
    assert abs(float(after)) < 4 / math.sqrt(numbers.numel())


def test_uniform_numbers_lie_inside_the_open_interval():
    numbers = ImageDraws(torch.arange(200), "cpu").uniform(5000)
    assert 0.0 < float(numbers.min()) < 1e-4
    assert 1 - 1e-4 < float(numbers.max()) < 1.0
    assert bool(ImageDraws(torch.arange(200), "cpu").normal(5000).isfinite().all())
