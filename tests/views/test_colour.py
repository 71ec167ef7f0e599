"""Flip, jitter, grey, blur and solarize agree with torchvision."""

import pytest
import torch
from torchvision.transforms.v2 import functional as vision

from sslkuramoto.views.appearance import appearance, blur_kernel
from sslkuramoto.views.colour import ColorJitter, adjust_colours

STILL = {
    "crop_scale": (1.0, 1.0),
    "crop_ratio": (1.0, 1.0),
    "horizontal_flip": 0.0,
    "jitter": (0.4, 0.4, 0.4, 0.1),
    "jitter_strength": 1.0,
    "jitter_probability": 0.0,
    "grayscale": 0.0,
    "blur": 0.0,
    "blur_sigma": (0.1, 2.0),
    "solarize": 0.0,
}
THEIRS = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_hue)


def noise(count, size=12):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def step(size, **options):
    """Return the one step after the crop that these options switch on."""
    _, last = appearance(size, **(STILL | options))
    return last


@pytest.mark.parametrize(
    ("index", "values"), [(0, (0.2, 1.8)), (1, (0.2, 1.8)), (2, (0.0, 1.8)), (3, (-0.5, -0.1, 0.2, 0.5))]
)
def test_one_adjustment_is_torchvisions(index, values):
    for value in values:
        factors = torch.full((5, 4), 7.0)  # the other adjustments must not be touched
        factors[:, index] = value
        got = adjust_colours(noise(5), factors, torch.full((5, 1), index))
        assert torch.allclose(got, THEIRS[index](noise(5), value), atol=2e-4)  # grey weights: 0.299 here, 0.2989 there


def test_every_image_has_its_own_factors_and_its_own_order():
    torch.manual_seed(0)
    images = noise(40)
    factors, order = ColorJitter(0.8, 0.8, 0.8, 0.2, p=1.0).parameters_for(40)
    assert len(order.unique(dim=0)) > 15
    got = adjust_colours(images, factors, order)
    for image, factor, sequence, view in zip(images, factors.tolist(), order.tolist(), got, strict=True):
        for index in sequence:
            image = THEIRS[index](image, factor[index])
        assert torch.allclose(view, image, atol=1e-3)


def test_orders_are_permutations_and_all_24_equally_likely():
    torch.manual_seed(0)
    _, order = ColorJitter(0.4, 0.4, 0.4, 0.1, p=1.0).parameters_for(24000)
    found, counts = order.unique(dim=0, return_counts=True)
    assert len(found) == 24
    assert (found.sort(dim=1).values == torch.arange(4)).all()
    assert counts.min() > 850
    assert counts.max() < 1150


def test_factors_are_uniform_between_torchvisions_limits():
    torch.manual_seed(0)
    factors, _ = ColorJitter(0.4, 1.2, 0.2, 0.1, p=1.0).parameters_for(20000)
    low, high = torch.tensor([0.6, 0.0, 0.8, -0.1]), torch.tensor([1.4, 2.2, 1.2, 0.1])
    assert (factors >= low).all()
    assert (factors <= high).all()
    scaled = (factors - low) / (high - low)
    assert torch.allclose(scaled.mean(0), torch.tensor(0.5), atol=0.01)
    assert torch.allclose(scaled.std(0), torch.tensor(12.0) ** -0.5, atol=0.01)
    assert (torch.corrcoef(scaled.T) - torch.eye(4)).abs().max() < 0.03


def test_strength_zero_is_left_out_of_the_order():
    _, order = ColorJitter(0.4, 0.0, 0.4, 0.0, p=1.0).parameters_for(50)
    assert set(order.flatten().tolist()) == {0, 2}


def test_jitter_falls_on_the_asked_share_and_leaves_the_others_bit_for_bit():
    torch.manual_seed(0)
    images = noise(2000, 4)
    changed = (ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8)(images) != images).any(1).any(1).any(1)
    assert abs(changed.float().mean() - 0.8) < 0.03


def test_flip_is_exact():
    images = noise(4)
    assert torch.equal(step(12, horizontal_flip=1.0)(images), vision.horizontal_flip(images))


def test_grey_is_torchvisions_within_the_fourth_digit_of_its_weights():
    images = noise(4)
    grey = step(12, grayscale=1.0)(images)
    assert torch.allclose(grey, vision.rgb_to_grayscale(images, num_output_channels=3), atol=2e-4)
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_solarize_inverts_from_exactly_one_half():
    below = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)).item()
    image = torch.tensor([0.0, 0.2, below, 0.5, 0.75, 1.0]).repeat(1, 3, 6, 1)
    solarized = step(6, solarize=1.0)(image)
    assert torch.equal(solarized, vision.solarize(image, 0.5))
    assert solarized[0, 0, 0, 2].item() == below


def test_blur_is_torchvisions_with_a_width_for_every_image():
    torch.manual_seed(0)
    images = noise(6, 64)
    blur = step(64, blur=1.0)
    blurred = blur(images)
    sigmas = blur._params["sigma"].tolist()
    assert len(set(sigmas)) == 6
    assert all(0.1 <= sigma <= 2.0 for sigma in sigmas)
    for image, sigma, view in zip(images, sigmas, blurred, strict=True):
        assert torch.allclose(view, vision.gaussian_blur(image, [7, 7], [sigma, sigma]), atol=1e-5)


def test_kernel_of_the_blur_is_an_odd_tenth_of_the_image():
    assert [blur_kernel(size) for size in (4, 32, 64, 96, 224)] == [3, 3, 7, 9, 23]


@pytest.mark.parametrize("size", [4, 5, 8])
def test_smallest_images_can_take_every_step(size):
    every = {"horizontal_flip": 1.0, "jitter_probability": 1.0, "grayscale": 1.0, "blur": 1.0, "solarize": 1.0}
    chain = appearance(size, **(STILL | every | {"crop_scale": (0.08, 1.0)}))
    assert len(chain) == 6
    assert chain(noise(20, size)).isfinite().all()
