"""What holds for every corruption."""

import pytest
import torch

from sslkuramoto.evaluation.corruptions import CORRUPTIONS, corrupted
from sslkuramoto.evaluation.corruptions.strengths import STRENGTHS, growth

HENDRYCKS = [
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
]
# whose published strengths do not raise the distance at every step; test_strengths.py says what they do instead
NOT_BY_DISTANCE = ("glass_blur", "motion_blur", "frost", "elastic_transform")

every_corruption = pytest.mark.parametrize("name", HENDRYCKS)


def distances(name, images, draw) -> list[float]:
    return [float((corrupted(name, images, s, draw()) - images).square().mean()) for s in range(1, 6)]


def test_they_are_the_fifteen_in_the_order_of_the_paper():
    assert list(CORRUPTIONS) == list(STRENGTHS) == HENDRYCKS
    assert {len(levels) for levels in STRENGTHS.values()} == {5}


@every_corruption
@pytest.mark.parametrize("size", [8, 32, 40])
def test_the_result_is_an_eight_bit_image_of_the_same_size(name, size, pictures, draws):
    images = pictures(4, size)
    before = images.clone()
    for severity in (1, 5):
        result = corrupted(name, images, severity, draws(4))
        assert result.shape == images.shape
        assert result.dtype == torch.float32
        assert 0.0 <= float(result.min()) <= float(result.max()) <= 1.0
        assert torch.equal((result * 255).round() / 255, result)
    assert torch.equal(images, before), "the input was changed"


@every_corruption
def test_extreme_images_stay_in_range(name, draws):
    for value in (0.0, 1.0):
        result = corrupted(name, torch.full((2, 3, 16, 16), value), 5, draws(2), eight_bit=False)
        assert bool(result.isfinite().all())
        assert 0.0 <= float(result.min()) <= float(result.max()) <= 1.0


@every_corruption
def test_an_image_is_corrupted_alike_in_any_batch_and_the_global_generator_stays(name, pictures, draws):
    images = pictures(6, 32)
    before = torch.get_rng_state()
    whole = corrupted(name, images, 3, draws(6))
    part = corrupted(name, images[[4, 1]], 3, draws([4, 1]))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(part, whole[[4, 1]], rtol=0, atol=1.01 / 255)  # sums in another order may round apart
    assert float((part != whole[[4, 1]]).float().mean()) < 1e-3
    assert torch.equal(whole, corrupted(name, images, 3, draws(6)))


@every_corruption
def test_other_draws_change_what_is_drawn_and_nothing_else(name, pictures, draws):
    images = pictures(2, 32)
    same = torch.equal(corrupted(name, images, 3, draws(2)), corrupted(name, images, 3, draws(2, "other")))
    nothing_drawn = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    assert same == (name in nothing_drawn)


@pytest.mark.parametrize("name", [name for name in HENDRYCKS if name not in NOT_BY_DISTANCE])
@pytest.mark.parametrize("size", [16, 32, 48])
def test_a_higher_severity_moves_the_image_farther(name, size, pictures, draws):
    found = distances(name, pictures(24, size), lambda: draws(24))
    assert found[0] > 0
    assert found == sorted(found), found
    assert len(set(found)) == 5


def test_lengths_grow_with_the_image_from_32_pixels_on():
    assert [growth(size) for size in (8, 32, 48, 64, 224)] == [1.0, 1.0, 1.5, 2.0, 7.0]


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "zoom_blur", "fog", "elastic_transform"])
def test_a_larger_image_is_corrupted_to_about_the_same_extent(name, pictures, draws):
    # The same picture at twice the side: what is lost should be the same share, not a quarter of it.
    small = pictures(16, 32)
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear").clamp(0, 1)
    one, two = (sum(distances(name, images, lambda: draws(16))) for images in (small, large))
    assert 0.4 < two / one < 1.6
