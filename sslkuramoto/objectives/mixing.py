"""CutMix and Mixup: every image of a batch mixed with another one of it, and the share that each label keeps.

CutMix: Yun et al. 2019, arXiv 1905.04899, section 3.1. Mixup: Zhang et al. 2018, arXiv 1710.09412, section 2.
Both are one rule. With own weights w in [0, 1] for each pixel of image i and a partner j = p(i),

    mixed_i = w x_i + (1 - w) x_j,    target_i = l onehot(y_i) + (1 - l) onehot(y_j),    l = mean of w over the pixels

where w is 0 inside a box and 1 outside for CutMix, and the same number in all pixels for Mixup.

Shapes: b batch, m mixtures drawn (1 for the batch, or b), y x pixels, k classes.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional

MixEach = Literal["batch", "image"]


class Mixture(NamedTuple):
    """How a batch is mixed; drawn on the CPU.

    Attributes:
        partner: index of the image that each image is mixed with.
        weights: weight of the image's own pixels in [0, 1], the same in every channel.
    """

    partner: Int64[Tensor, " b"]
    weights: Float[Tensor, "m y x"]

    @property
    def own_share(self) -> Float[Tensor, " m"]:
        """The share of the target that an image's own label keeps."""
        return self.weights.mean((1, 2))

    def images(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        """Return the mixed images, on the device and in the precision of ``images``."""
        weights = self.weights[:, None].to(images)
        return weights * images + (1.0 - weights) * images[self.partner.to(images.device)]

    def targets(self, labels: Int64[Tensor, " b"], num_classes: int) -> Float[Tensor, "b k"]:
        """Return the mixed targets; every row sums to 1."""
        own = functional.one_hot(labels, num_classes).float()
        share = self.own_share[:, None].to(own)
        return share * own + (1.0 - share) * own[self.partner.to(own.device)]


def mixture_for(
    count: int,
    size: tuple[int, int],
    *,
    cutmix: float,
    cutmix_alpha: float,
    mixup: float,
    mixup_alpha: float,
    each: MixEach,
) -> Mixture:
    """Draw a mixture from torch's global generator (:func:`~sslkuramoto.randomness.borrowed_global` lends it one).

    Args:
        count: number of images in the batch.
        size: height and width of the images in pixels.
        cutmix, mixup: probability of either, together at most 1; otherwise the images remain as they are.
        cutmix_alpha, mixup_alpha: parameter of the Beta distributions from which the own share is drawn, > 0.
        each: whether the batch or each image draws its own rule, share and box.
    """
    drawn = 1 if each == "batch" else count
    partner = torch.randperm(count)
    rule = torch.rand(drawn)
    boxes = outside_boxes(_beta(cutmix_alpha, drawn), torch.rand(drawn, 2), size)
    constant = _beta(mixup_alpha, drawn)[:, None, None].expand_as(boxes)
    cut, mixed = (rule < cutmix)[:, None, None], (rule < cutmix + mixup)[:, None, None]
    return Mixture(partner, torch.where(cut, boxes, torch.where(mixed, constant, torch.ones_like(boxes))))


def outside_boxes(
    share: Float[Tensor, " m"], centre: Float[Tensor, "m 2"], size: tuple[int, int]
) -> Float[Tensor, "m y x"]:
    """Return CutMix's weights: 0 inside of one box for each share, 1 outside.

    Args:
        share: l, the share of the image outside of the box before the box is cut off at the edge of the image; the
            sides are sqrt(1 - l) of the image's, rounded down to an even number of pixels.
        centre: place of the box's centre in [0, 1), down and to the right.
        size: height and width of the images in pixels.

    Source: the published code of CutMix, ``rand_bbox``; as there, a box may reach beyond the edge and is cut off.
    """
    inside = []
    for axis, length in enumerate(size):
        half = ((1.0 - share).sqrt() * length).floor().div(2, rounding_mode="floor")[:, None]
        middle = (centre[:, axis] * length).floor()[:, None]
        place = torch.arange(length)
        inside.append((place >= middle - half) & (place < middle + half))
    return 1.0 - (inside[0][:, :, None] & inside[1][:, None, :]).float()


def _beta(alpha: float, count: int) -> Float[Tensor, " m"]:
    concentration = torch.tensor(alpha)
    return Beta(concentration, concentration).sample((count,))
