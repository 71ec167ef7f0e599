"""Gaussian noise, the last augmentation of the supervised policy."""

import pytest
import torch

from sslkuramoto.views import VIEWS
from sslkuramoto.views.noise import GaussianNoise

SIZE = 16
STILL = {
    **{"crop_scale": [1.0, 1.0], "crop_ratio": [1.0, 1.0], "horizontal_flip": 0.0, "jitter_strength": 0.0},
    "augmix": False,
}


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view(images: torch.Tensor, options: dict, seed: int = 0) -> torch.Tensor:
    return VIEWS.build("akorn_supervised", options, SIZE)(images, draw(seed))["a"]


def pictures(count: int = 8) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=draw(1))


@pytest.mark.parametrize("sigma", [0.05, 0.1])
def test_noise_has_the_deviation_that_was_asked_for_and_no_mean(sigma: float) -> None:
    grey = torch.full((400, 3, SIZE, SIZE), 0.5)
    noise = view(grey, STILL | {"noise": sigma}) - 0.5
    assert noise.std().item() == pytest.approx(sigma, rel=0.01)
    assert abs(noise.mean().item()) < 0.01 * sigma
    tail = (noise.abs() > 2 * sigma).float().mean().item()
    assert tail == pytest.approx(0.0455, abs=0.002), "normal, not uniform"


def test_noise_falls_on_every_channel_pixel_and_image_by_itself() -> None:
    noise = view(torch.full((400, 3, SIZE, SIZE), 0.5), STILL | {"noise": 0.1}) - 0.5
    for a, b in ((noise[0::2], noise[1::2]), (noise[:, 0], noise[:, 1]), (noise[..., :-1], noise[..., 1:])):
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()) < 0.02


def test_noise_is_cut_to_the_unit_interval() -> None:
    white, black = torch.ones(100, 3, SIZE, SIZE), torch.zeros(100, 3, SIZE, SIZE)
    for images, clipped in ((white, 1.0), (black, 0.0)):
        noisy = view(images, STILL | {"noise": 0.225})
        assert 0 <= noisy.min() <= noisy.max() <= 1
        assert (noisy == clipped).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_an_image_out_of_the_interval_is_cut_before_the_noise_too() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noisy = GaussianNoise(0.1)(torch.full((50, 3, SIZE, SIZE), 3.0))
    assert (noisy < 1).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_the_same_generator_gives_the_same_noise_and_another_does_not() -> None:
    options = {"noise": 0.2}
    first, again, other = (view(pictures(), options, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_noise_is_the_view_without_the_option_to_the_bit_and_draws_nothing() -> None:
    without, zero = draw(5), draw(5)
    a = VIEWS.build("akorn_supervised", {}, SIZE)(pictures(), without)["a"]
    b = VIEWS.build("akorn_supervised", {"noise": 0.0}, SIZE)(pictures(), zero)["a"]
    assert torch.equal(a, b)
    assert torch.equal(without.get_state(), zero.get_state())


def test_noise_comes_last_and_leaves_what_comes_before_as_it_was() -> None:
    plain, noisy = view(pictures(), {}), view(pictures(), {"noise": 0.02})
    difference = noisy - plain
    assert 0 < difference.abs().max() < 0.02 * 6
