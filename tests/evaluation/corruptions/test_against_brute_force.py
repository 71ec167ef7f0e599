"""Single corruptions against another way to compute them."""

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from sslkuramoto.evaluation.corruptions import corrupted
from sslkuramoto.evaluation.corruptions.blur import along, clipped_zoom, disk
from sslkuramoto.evaluation.corruptions.digital import box_weights, read_at
from sslkuramoto.evaluation.corruptions.weather import fractal, frost_texture

LEVEL = 1.01 / 255
SNOW = (  # as published for 32 pixels
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)


def as_pillow(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def from_pillow(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("size", [8, 32, 41])
@pytest.mark.parametrize(("severity", "quality"), list(zip(range(1, 6), (80, 65, 58, 50, 40), strict=True)))
def test_jpeg_is_what_pillow_writes_and_reads(size, severity, quality, pictures, draws):
    images = pictures(3, size)
    found = corrupted("jpeg_compression", images, severity, draws(3))
    for image, result in zip(images, found, strict=True):
        file = io.BytesIO()
        as_pillow(image).save(file, "JPEG", quality=quality)
        torch.testing.assert_close(result, from_pillow(Image.open(file)), rtol=0, atol=LEVEL)


@pytest.mark.parametrize("size", [8, 32, 45])
@pytest.mark.parametrize(("severity", "share"), list(zip(range(1, 6), (0.95, 0.9, 0.85, 0.75, 0.65), strict=True)))
def test_pixelation_is_pillows_box_filter_down_and_up(size, severity, share, pictures, draws):
    images = pictures(3, size)
    found = corrupted("pixelate", images, severity, draws(3))
    small = int(size * share)
    for image, result in zip(images, found, strict=True):
        reduced = as_pillow(image).resize((small, small), Image.Resampling.BOX)
        wanted = from_pillow(reduced.resize((size, size), Image.Resampling.BOX))
        torch.testing.assert_close(result, wanted, rtol=0, atol=LEVEL)


def test_weights_of_the_box_filter_sum_to_one():
    for before, after in ((32, 20), (20, 32), (8, 5), (7, 7)):
        torch.testing.assert_close(box_weights(before, after).sum(dim=1), torch.ones(after, dtype=torch.float64))


def test_brightness_raises_the_value_of_hsv(pictures, draws):
    image = pictures(1, 8)
    image[0, :, 0, 0] = 0.0  # black has no hue
    for severity, change in enumerate((0.05, 0.1, 0.15, 0.2, 0.3), start=1):
        found = corrupted("brightness", image, severity, draws(1), eight_bit=False)[0]
        for y in range(8):
            for x in range(8):
                hue, saturation, value = colorsys.rgb_to_hsv(*image[0, :, y, x].tolist())
                wanted = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + change))
                assert found[:, y, x].tolist() == pytest.approx(wanted, abs=1e-6)


def test_contrast_pulls_each_channel_to_its_mean(pictures, draws):
    image = pictures(2, 16)
    for severity, factor in enumerate((0.75, 0.5, 0.4, 0.3, 0.15), start=1):
        found = corrupted("contrast", image, severity, draws(2), eight_bit=False)
        for i in range(2):
            for c in range(3):
                channel = image[i, c].numpy()
                wanted = np.clip((channel - channel.mean()) * factor + channel.mean(), 0, 1)
                np.testing.assert_allclose(found[i, c].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(("severity", "deviation"), list(enumerate((0.04, 0.06, 0.08, 0.09, 0.10), start=1)))
def test_gaussian_noise_has_its_deviation(severity, deviation, draws):
    found = corrupted("gaussian_noise", torch.full((20, 3, 32, 32), 0.5), severity, draws(20), eight_bit=False)
    assert float(found.std()) == pytest.approx(deviation, rel=0.02)
    assert float(found.mean()) == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize(("severity", "photons"), list(enumerate((500, 250, 100, 75, 50), start=1)))
def test_shot_noise_is_poisson(severity, photons, draws):
    light = 51 / 255
    images = torch.full((20, 3, 32, 32), light)
    counts = (corrupted("shot_noise", images, severity, draws(20), eight_bit=False) * photons).round().flatten()
    wanted = stats.poisson(light * photons)
    assert float(counts.mean()) == pytest.approx(wanted.mean(), rel=0.01)
    assert float(counts.var()) == pytest.approx(wanted.var(), rel=0.03)
    below = [float((counts <= k).float().mean()) for k in range(200)]
    assert np.abs(np.array(below) - wanted.cdf(np.arange(200))).max() < 1.95 / np.sqrt(len(counts))  # Kolmogorov, 0.1 %
    black = corrupted("shot_noise", torch.zeros(1, 3, 8, 8), severity, draws(1))
    assert float(black.max()) == 0.0


@pytest.mark.parametrize(("severity", "share"), list(enumerate((0.01, 0.02, 0.03, 0.05, 0.07), start=1)))
def test_impulse_noise_hits_its_share_half_black_half_white(severity, share, draws):
    found = corrupted("impulse_noise", torch.full((40, 3, 32, 32), 0.5), severity, draws(40), eight_bit=False)
    error = 4 * (share / found.numel()) ** 0.5
    assert float((found == 0).float().mean()) == pytest.approx(share / 2, abs=error)
    assert float((found == 1).float().mean()) == pytest.approx(share / 2, abs=error)
    assert set(found.unique().tolist()) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("severity", range(1, 6))
def test_defocus_blur_is_a_convolution_with_a_soft_disk(severity, pictures, draws):
    radius, sigma = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity - 1]
    y, x = np.mgrid[-8:9, -8:9]
    kernel = (x**2 + y**2 <= radius**2).astype(float)
    soft = np.exp(-np.array([1.0, 0.0, 1.0]) / (2 * sigma**2))
    kernel = ndimage.convolve(kernel / kernel.sum(), np.outer(soft, soft) / soft.sum() ** 2, mode="constant")
    images = pictures(2, 32)
    found = corrupted("defocus_blur", images, severity, draws(2), eight_bit=False)
    for i in range(2):
        for c in range(3):
            wanted = ndimage.convolve(images[i, c].double().numpy(), kernel, mode="mirror")
            np.testing.assert_allclose(found[i, c].numpy(), wanted, atol=1e-5)


def test_the_disk_grows_with_the_image():
    def spread(kernel):
        place = torch.arange(len(kernel)) - len(kernel) // 2
        return float((kernel.sum(dim=0) * place**2).sum())

    small, large = disk(1.5, 0.1, 1.0), disk(1.5, 0.1, 2.0)
    assert float(large.sum()) == pytest.approx(1.0)
    assert 4 * spread(small) < spread(large) < 6 * spread(small)  # 4, and the width of the hat


def test_motion_blur_is_a_sum_of_shifted_images():
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    angles = torch.tensor([0.0, 30.0])
    found = along(images, angles, 6, 1.5)
    weights = np.exp(-(np.arange(13) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    for b, angle in enumerate((0.0, np.pi / 6)):
        wanted = np.zeros((3, 32, 32))
        for i, weight in enumerate(weights):
            dy, dx = round(i * np.sin(angle)), round(i * np.cos(angle))
            rows, columns = np.clip(np.arange(32) + dy, 0, 31), np.clip(np.arange(32) + dx, 0, 31)
            wanted += weight * images[b].numpy()[:, rows][:, :, columns]
        np.testing.assert_allclose(found[b].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("severity", range(1, 6))
def test_motion_blur_goes_along_a_direction_of_the_image(severity, pictures, draws):
    reach, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity - 1]
    images = pictures(3, 32)
    angles = draws(3).uniform(low=-45.0, high=45.0)
    assert len(set(angles.tolist())) == 3
    found = corrupted("motion_blur", images, severity, draws(3), eight_bit=False)
    torch.testing.assert_close(found, along(images, angles, reach, sigma))


@pytest.mark.parametrize("severity", [4, 5])
def test_glass_blur_reads_neighbours_twice_between_two_gaussians(severity, pictures, draws):
    sigma = (0.05, 0.25, 0.4, 0.25, 0.4)[severity - 1]
    images, draw = pictures(1, 12), draws(1)
    wanted = np.stack([ndimage.gaussian_filter(c.double().numpy(), sigma, mode="nearest") for c in images[0]])
    for _ in range(2):
        step = draw.uniform(2, 12, 12, low=-1.0, high=1.0).floor().long()[0].tolist()
        before = wanted.copy()
        for y in range(2, 12):
            for x in range(2, 12):
                wanted[:, y, x] = before[:, y + step[0][y][x], x + step[1][y][x]]
    wanted = np.stack([ndimage.gaussian_filter(channel, sigma, mode="nearest") for channel in wanted])
    found = corrupted("glass_blur", images, severity, draws(1), eight_bit=False)[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_glass_blur_only_takes_values_of_neighbours(draws):
    # severity 1 does not smooth: every value is that of a pixel at most one up and one to the left
    images = (torch.arange(3 * 32 * 32).view(1, 3, 32, 32) % 251).float() / 255
    found = corrupted("glass_blur", images, 1, draws(1))
    offset = torch.zeros(32, 32, dtype=torch.bool)
    for dy in (0, 1):
        for dx in (0, 1):
            offset |= (found == images.roll((dy, dx), (2, 3))).all(dim=1)[0]
    assert bool(offset.all())
    moved = (found != images).any(dim=1)[0]
    assert not bool(moved[:2].any())
    assert not bool(moved[:, :2].any())
    assert float(moved[2:, 2:].float().mean()) == pytest.approx(0.75, abs=0.06)


def test_fractals_fill_the_unit_interval_and_are_rougher_with_a_small_decay(draws):
    found = [fractal(32, decay, draws(20)) for decay in (3.0, 2.0, 1.5)]
    for heights in found:
        assert heights.shape == (20, 32, 32)
        torch.testing.assert_close(heights.amin(dim=(1, 2)), torch.zeros(20))
        torch.testing.assert_close(heights.amax(dim=(1, 2)), torch.ones(20))
    rough = [float((h[:, 1:] - h[:, :-1]).square().mean()) for h in found]
    assert rough == sorted(rough)
    assert fractal(20, 2.0, draws(2)).shape == (2, 20, 20)


def plasma_of_the_authors(size: int, decay: float, noise) -> np.ndarray:
    """Return the height map of diamond-square, point by point; ``noise(count, amplitude)`` gives squares of numbers."""
    heights = np.zeros((size, size))
    step, wibble = size, 1.0
    while step >= 2:
        half, count = step // 2, size // step
        middles, across, down = (noise(count, wibble**2) for _ in range(3))
        for i in range(count):
            for j in range(count):
                y, x = i * step, j * step
                corners = [heights[(y + a) % size, (x + b) % size] for a in (0, step) for b in (0, step)]
                heights[y + half, x + half] = sum(corners) / 4 + middles[i, j]
        for i in range(count):
            for j in range(count):
                y, x = i * step, j * step
                for row, column, bump in ((y, x + half, across), (y + half, x, down)):
                    beside = [(row - half, column), (row + half, column), (row, column - half), (row, column + half)]
                    heights[row, column] = sum(heights[a % size, b % size] for a, b in beside) / 4 + bump[i, j]
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


@pytest.mark.parametrize("decay", [1.3, 1.75, 2.5, 3.0])
@pytest.mark.parametrize("size", [4, 16, 32])
def test_fractals_are_the_diamond_square_of_the_authors(size, decay, draws):
    found = fractal(size, decay, draws(2))
    for i in range(2):
        draw = draws([i])
        draw.uniform(1, 1)  # of the first point, whose height is 0
        wanted = plasma_of_the_authors(
            size, decay, lambda count, high, draw=draw: draw.uniform(count, count, low=-high, high=high)[0].numpy()
        )
        np.testing.assert_allclose(found[i].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("severity", range(1, 6))
def test_fog_keeps_the_brightest_value_and_veils_the_dark(severity, draws):
    thickness, decay = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))[severity - 1]
    images = torch.zeros(4, 3, 32, 32)
    images[:, :, :4] = 0.8
    found = corrupted("fog", images, severity, draws(4), eight_bit=False)
    heights = fractal(32, decay, draws(4))[:, None]
    wanted = (images + thickness * heights) * 0.8 / (0.8 + thickness)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("severity", range(1, 6))
def test_frost_lies_over_a_dimmed_image(severity, pictures, draws):
    own, ice = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    images = pictures(2, 32)
    found = corrupted("frost", images, severity, draws(2), eight_bit=False)
    wanted = (own * images + ice * frost_texture(32, draws(2))).clamp(0, 1)
    torch.testing.assert_close(found, wanted)


def test_snow_whitens_and_falls_symmetrically(draws):
    found = corrupted("snow", torch.zeros(4, 3, 32, 32), 5, draws(4), eight_bit=False)
    torch.testing.assert_close(found, found.flip(2, 3))
    assert float(found.min()) == pytest.approx(0.2 * 0.5, abs=1e-6)  # (1 - 0.8) * (1.5 * 0 + 0.5)
    assert float(found.max()) > 0.3


def clipped_zoom_of_the_authors(channel: np.ndarray, zoom: float) -> np.ndarray:
    size = len(channel)
    crop = int(np.ceil(size / zoom))
    top = (size - crop) // 2
    large = ndimage.zoom(channel[top : top + crop, top : top + crop], zoom, order=1)
    trim = (len(large) - size) // 2
    return large[trim : trim + size, trim : trim + size]


@pytest.mark.parametrize("size", [8, 13, 32])
@pytest.mark.parametrize("severity", range(1, 6))
def test_zoom_blur_is_the_mean_of_clipped_zooms(severity, size, pictures, draws):
    images = pictures(2, size)
    zooms = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)  # the authors' own call
    found = corrupted("zoom_blur", images, severity, draws(2), eight_bit=False)
    for i in range(2):
        for c in range(3):
            channel = images[i, c].double().numpy()
            total = channel + sum(clipped_zoom_of_the_authors(channel, zoom) for zoom in zooms)
            np.testing.assert_allclose(found[i, c].numpy(), total / (len(zooms) + 1), atol=1e-5)


@pytest.mark.parametrize("zoom", [1.0, 1.03, 1.25, 1.75, 2.0, 2.25, 4.5])
@pytest.mark.parametrize("size", [4, 9, 32, 33])
def test_a_clipped_zoom_is_that_of_scipy(zoom, size):
    images = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(size))
    found = clipped_zoom(images, zoom)
    for i in range(2):
        wanted = clipped_zoom_of_the_authors(images[i, 0].double().numpy(), zoom)
        np.testing.assert_allclose(found[i, 0].numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("size", [8, 32, 48])
@pytest.mark.parametrize("severity", range(1, 6))
def test_snow_is_a_whitened_image_with_thresholded_zoomed_and_blurred_flakes(severity, size, pictures, draws):
    mean, deviation, flake, threshold, reach, sigma, share = SNOW[severity - 1]
    images, draw = pictures(2, size), draws(2)
    noise = (mean + deviation * draw.normal(size, size)).double().numpy()
    angles = draw.uniform(low=-135.0, high=-45.0)
    layer = np.stack([clipped_zoom_of_the_authors(one, flake * max(1.0, size / 32)) for one in noise])
    layer = np.where(layer < threshold, 0.0, layer).clip(0, 1)
    layer = along(torch.from_numpy(layer)[:, None], angles, reach, float(sigma)).numpy()
    x = images.double().numpy()
    grey = (0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])[:, None]
    wanted = share * x + (1 - share) * np.maximum(x, 1.5 * grey + 0.5) + layer + np.rot90(layer, 2, axes=(2, 3))
    found = corrupted("snow", images, severity, draws(2), eight_bit=False).numpy()
    # a flake on the threshold may fall on either side of it in float32
    assert (np.abs(found - wanted.clip(0, 1)) > 1e-4).mean() < 1e-3


def test_images_are_read_mirrored_at_the_border(pictures):
    image = pictures(1, 16)
    place = torch.arange(16.0)
    y, x = torch.meshgrid(place, place, indexing="ij")
    torch.testing.assert_close(read_at(image, x[None], y[None]), image, rtol=0, atol=1e-5)
    shifted = read_at(image, x[None] - 3, y[None])
    torch.testing.assert_close(shifted[..., 3:], image[..., :-3], rtol=0, atol=1e-5)
    torch.testing.assert_close(shifted[..., :3], image[..., 1:4].flip(3), rtol=0, atol=1e-5)
