"""What the severities do where the mean squared distance does not tell."""

import numpy as np
import torch

from sslkuramoto.evaluation.corruptions import corrupted
from sslkuramoto.evaluation.corruptions.strengths import STRENGTHS

# make_cifar_c.py of the authors; zooms as its numpy.arange calls give them, elastic lengths as shares of the side
PUBLISHED = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": tuple(round(100 * np.arange(1, top, 0.01)[-1] - 100) for top in (1.06, 1.11, 1.16, 1.21, 1.26)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
}


def test_every_strength_is_the_published_one():
    assert STRENGTHS == PUBLISHED


def lost(images, results) -> float:
    """Return the mean share of an image's variance that no change of brightness and contrast brings back."""
    x, y = (part.flatten(1) - part.flatten(1).mean(dim=1, keepdim=True) for part in (images, results))
    return float((1 - (x * y).sum(1) ** 2 / (x.square().sum(1) * y.square().sum(1))).mean())


def roughness(images) -> float:
    return float((images[..., 1:] - images[..., :-1]).square().mean())


def test_strengths_of_one_number_are_in_order():
    # the published values, in the direction that hurts
    for name, levels in STRENGTHS.items():
        if not isinstance(levels[0], tuple):
            falling = name in ("shot_noise", "contrast", "pixelate", "jpeg_compression")
            assert list(levels) == sorted(levels, reverse=falling), name
            assert len(set(levels)) == 5, name


def test_frost_hides_more_of_the_image_at_each_severity(pictures, draws):
    images = pictures(24, 32)
    found = [lost(images, corrupted("frost", images, s, draws(24))) for s in range(1, 6)]
    assert found == sorted(found)
    assert len(set(found)) == 5


def test_frost_is_bright_and_bluish(draws):
    frozen = corrupted("frost", torch.zeros(40, 3, 32, 32), 5, draws(40)) / 0.45
    red, green, blue = frozen.mean(dim=(0, 2, 3)).tolist()
    assert 0.25 < red < green < blue < 0.75


def test_motion_blur_is_the_same_at_severities_3_and_4_as_published(pictures, draws):
    # sigma is 2 in both, and the longer reach has no weight
    images = pictures(8, 32)
    found = [corrupted("motion_blur", images, s, draws(8)) for s in range(1, 6)]
    assert torch.equal(found[2], found[3])
    distance = [float((result - images).square().mean()) for result in found]
    assert distance[0] < distance[1] < distance[2] < distance[4]


def test_glass_blur_moves_once_or_twice_and_smooths_in_between(pictures, draws):
    images = pictures(16, 32)
    found = [corrupted("glass_blur", images, s, draws(16)) for s in range(1, 6)]
    distance = [float((result - images).square().mean()) for result in found]
    assert float((found[0] - found[1]).abs().max()) < 3 / 255, "sigma 0.25 is next to nothing"
    assert distance[3] > 1.4 * distance[1], "moved twice"
    assert distance[4] > 1.4 * distance[2]
    assert roughness(found[2]) < roughness(found[1]), "smoothed"
    assert roughness(found[4]) < roughness(found[3])


def test_elastic_transform_moves_less_and_tears_more(pictures, draws):
    images = pictures(16, 32)
    steps = torch.arange(32.0) / 31
    ramp = steps.expand(16, 3, 32, 32).contiguous()  # its value is where a pixel was read, in x
    places = [corrupted("elastic_transform", ramp, s, draws(16), eight_bit=False) * 31 for s in range(1, 6)]
    inner = slice(8, 24)
    moved = [float((place - steps * 31)[..., inner, inner].square().mean()) for place in places]
    torn = [float((place[..., inner, 9:24] - place[..., inner, 8:23] - 1).var()) for place in places]
    assert moved[0] > moved[4], "the affine map weakens"
    assert torn[1:] == sorted(torn[1:]), "the displacement grows rougher"
    assert torn[4] > 2 * torn[1]
    assert all(torch.isfinite(corrupted("elastic_transform", images, s, draws(16))).all() for s in range(1, 6))
