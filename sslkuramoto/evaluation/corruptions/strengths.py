"""The strength of a corruption at each severity, and how its lengths scale with the image size.

The numbers are those of the 32-pixel set, CIFAR-10-C (Hendrycks and Dietterich 2019, 1903.12261; values from the
authors' repository hendrycks/robustness, Apache-2.0).

The rule for other sizes is ours: **lengths in pixels are multiplied by max(1, size / 32); everything else (amplitudes,
probabilities, shares of the image, qualities) is unchanged.** A blur in an image of 64 pixels is twice as wide, so the
image looks the same when shown at the same size. Images below 32 pixels keep the lengths of 32 pixels, since a blur of
less than a pixel has no effect. The amplitude of pixel noise is unchanged; the authors increase it for larger images.
"""

from typing import Any

NATIVE_SIZE = 32
SEVERITIES = (1, 2, 3, 4, 5)

# One entry per severity. Lengths are pixels at 32 x 32, intensities pixels in [0,1].
STRENGTHS: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "shot_noise": (500, 250, 100, 75, 50),  # photons of a white pixel
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of values that become black or white
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),  # radius of the disk, sigma on it
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),  # sigma, distance, repetitions
    "motion_blur": ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),  # reach (half the kernel), sigma
    "zoom_blur": (6, 11, 15, 20, 25),  # largest zoom, percent above 1; every percent below it takes part
    # mean, deviation, flake size, threshold, reach, sigma, share of the image that is not whitened
    "snow": (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    ),
    "frost": ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # weight of the image, of the frost
    "fog": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),  # thickness, decay of the fractal
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the value of HSV
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor of the distance from the mean
    # amplitude and sigma of the displacement, reach of the affine corners: shares of the side
    "elastic_transform": (
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # share of the side that is left
    "jpeg_compression": (80, 65, 58, 50, 40),  # quality
}


def strength(name: str, severity: int) -> Any:
    """Return the parameters of a corruption at a severity from 1 to 5."""
    assert severity in SEVERITIES, f"severity={severity}"
    return STRENGTHS[name][severity - 1]


def growth(size: int) -> float:
    """Return the factor of lengths for images of side ``size``: 1 up to 32 pixels, 2 at 64."""
    return max(1.0, size / NATIVE_SIZE)
