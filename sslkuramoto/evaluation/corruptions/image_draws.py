"""Random numbers that depend on the image, not on its place in a batch.

Each number is a function of the key, the index of the image in its set, and the count of numbers already drawn for that
image. It is the counter-based generator SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators"), with a different start for each image. The corruption of an image is therefore the same in every batch and
order, and on every device up to rounding. With torch's generators it would depend on the batch and the device.

Shapes: b batch.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.randomness import Key, seed_of

WEYL = 0x9E3779B97F4A7C15  # step of the counter: 2^64 over the golden ratio, odd
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB
BITS = 23  # of a uniform number: (k + 1/2) / 2^23 is exact in float32 and never 0 or 1


class ImageDraws:
    """A stream of random numbers for each image of a batch.

    Args:
        index: of each image in its set.
        device: where the numbers are made.
        key: names the streams; the same key and index give the same numbers.
    """

    def __init__(self, index: Int64[Tensor, " b"], device: torch.device | str, *key: Key) -> None:
        origin = torch.tensor(_signed(seed_of("image draws", *key)), device=device)
        self._origin = _mixed(_mixed(index.to(device)) + origin)[:, None]
        self._drawn = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float[Tensor, "b ..."]:
        """Return numbers of ``shape`` for each image, uniform in the open interval (low, high), float32."""
        count = math.prod(shape)
        place = torch.arange(self._drawn + 1, self._drawn + count + 1, device=self._origin.device)
        self._drawn += count
        bits = _shifted(_mixed(self._origin + place * _signed(WEYL)), 64 - BITS)
        unit = (bits.float() + 0.5) / 2**BITS
        return (low + (high - low) * unit).view(-1, *shape)

    def normal(self, *shape: int) -> Float[Tensor, "b ..."]:
        """Return numbers of ``shape`` for each image, standard normal (quantiles of uniform ones), float32."""
        return torch.erfinv(self.uniform(*shape, low=-1.0)) * math.sqrt(2.0)

    def signs(self, *shape: int) -> Float[Tensor, "b ..."]:
        """Return -1 or 1, each with probability one half."""
        return torch.where(self.uniform(*shape) < 0.5, -1.0, 1.0)


def _signed(value: int) -> int:
    """Return the int64 with the bits of an unsigned number."""
    return value - 2**64 if value >= 2**63 else value


def _shifted(bits: Int64[Tensor, "..."], by: int) -> Int64[Tensor, "..."]:
    """Shift to the right and fill with zeros (torch fills with the sign)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mixed(bits: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """Return SplitMix64's hash of 64 bits; products wrap."""
    bits = (bits ^ _shifted(bits, 30)) * _signed(FIRST)
    bits = (bits ^ _shifted(bits, 27)) * _signed(SECOND)
    return bits ^ _shifted(bits, 31)
