"""Plants with a state: an answer depends on the images beside it, or on those that came before.

Attacks see another network than the one that is scored, since they call it with other images.

Shapes: b batch, m remembered images, y x pixels, d features.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.evaluation.audit.plants.altered import AlteredEncoder, Images, Planted
from sslkuramoto.values import Count, checked

Distance = Annotated[float, Field(gt=0, le=1)]


def batch_norm(encoder: Encoder, head: nn.Module) -> Planted:
    """Features are normalised by mean and deviation of their own batch at test time (Nado et al. 2020, 2006.10963).

    They are then given the mean and deviation of the first batch that the network met, so that any head can read them.
    """
    return AlteredEncoder(encoder, features=BatchStatistics(), each_alone=False), head


@checked
def memory(encoder: Encoder, head: nn.Module, *, tolerance: Distance = 0.2, most: Count = 1000) -> Planted:
    """Images are remembered, and one that lies near a remembered image is answered as if it were that image.

    Args:
        tolerance: l-inf distance up to which two images count as one, pixels in [0,1].
        most: number of images that are remembered.
    """
    return AlteredEncoder(encoder, pixels=Memory(tolerance, most), each_alone=False), head


class BatchStatistics:
    """Gives the features of every batch the mean and standard deviation of the first."""

    def __init__(self) -> None:
        self.first: tuple[Tensor, Tensor] | None = None

    def __call__(self, found: Features) -> Features:
        """Return normalised features."""
        mean = found.pooled.mean(dim=0)
        deviation = found.pooled.std(dim=0, correction=0).clamp_min(1e-6)
        if self.first is None:
            self.first = mean.detach(), deviation.detach()
        return found._replace(pooled=(found.pooled - mean) / deviation * self.first[1] + self.first[0])


class Memory:
    """Replaces images by the nearest remembered one, if that is near enough; else remembers them.

    Args:
        tolerance: l-inf distance, pixels in [0,1].
        most: number of images that are remembered.
    """

    def __init__(self, tolerance: float, most: int) -> None:
        self.tolerance, self.most = tolerance, most
        self.kept: Tensor | None = None

    @torch.no_grad()
    def __call__(self, images: Images) -> Images:
        """Return remembered images in place of those near them."""
        if self.kept is None:
            self.kept = images[: self.most].clone()
            return images
        distance, which = torch.cdist(images.flatten(1), self.kept.flatten(1), p=float("inf")).min(dim=1)
        near, known = distance <= self.tolerance, self.kept[which]
        self.kept = torch.cat([self.kept, images[~near][: self.most - len(self.kept)]])
        return torch.where(near[:, None, None, None], known, images)
