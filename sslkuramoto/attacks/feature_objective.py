"""The objective of a label-free attack: how far the pooled feature of an image is from a reference feature.

Away from the image's own feature, as in the robust training of encoders of Schlarmann et al. 2024 (FARE, 2402.12336);
towards that of another image, as in Sabour et al. 2016 (1511.05122).

Shapes: b batch, y x pixels, d features, k draws, g draws of one pass, i c h w fields.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.attacks.gradients import CUT, Evaluated, pixel_gradient
from sslkuramoto.attacks.pass_size import ROWS
from sslkuramoto.encoders.features import Encoder

Direction = Literal["away", "towards"]
Distance = Literal["l2", "cosine"]


def compared(features: Float[Tensor, "*n d"], distance: Distance) -> Float[Tensor, "*n d"]:
    """Return features as :func:`apart` compares them: as they are in l2, of unit length by the cosine."""
    return F.normalize(features, dim=-1) if distance == "cosine" else features


def apart(
    features: Float[Tensor, "*n d"], references: Float[Tensor, "*m d"], distance: Distance
) -> Float[Tensor, "*n"]:
    """Return the distance of each feature from its reference: the squared length of the difference, or 1 - cosine.

    Both are means where a reference is the mean of :func:`compared` features of several draws: the mean squared
    distance from those draws up to a constant of the reference, and the mean of 1 - cosine.

    Args:
        features: of an encoder.
        references: already :func:`compared`.
        distance: "l2" or "cosine".
    """
    if distance == "cosine":
        return 1 - (F.normalize(features, dim=-1) * references).sum(dim=-1)
    return (features - references).square().sum(dim=-1)


@dataclass(frozen=True)
class FeatureObjective:
    """The distance of the features from their references, averaged over held draws of the oscillators.

    Attributes:
        encoder: with frozen parameters.
        references: of each image, :func:`compared`.
        direction: "away" maximises the distance, "towards" minimises it.
        distance: "l2" or "cosine".
        fields: held initial oscillators, shared by all images; None for an encoder that draws nothing.
        noticed: counts ``CUT`` once if no gradient reaches the pixels.
    """

    encoder: Encoder
    references: Float[Tensor, "b d"]
    direction: Direction
    distance: Distance
    fields: Float[Tensor, "k c h w"] | None = None
    noticed: Counter[str] = field(default_factory=Counter)

    @property
    def stochastic(self) -> bool:
        """No image is ever finished: without labels nothing is misclassified."""
        return True

    def of(self, rows: Int64[Tensor, " r"]) -> "FeatureObjective":
        """Return the objective of some rows of the batch."""
        return replace(self, references=self.references[rows])

    def __call__(self, candidates: Float[Tensor, "b 3 y x"], *, gradient: bool = True) -> Evaluated:
        """Evaluate candidates, with or without the gradient; equal candidates have equal values."""
        value, total = candidates.new_zeros(len(candidates)), torch.zeros_like(candidates)
        draws = 1 if self.fields is None else len(self.fields)
        sign = 1.0 if self.direction == "away" else -1.0
        for fields in passes_of_fields(self.fields, len(candidates)):
            with torch.set_grad_enabled(gradient):
                leaf = candidates.detach().requires_grad_(gradient)
                own = pooled_under(self.encoder, leaf, fields)
                each = sign * apart(own, self.references, self.distance).sum(dim=0) / draws
            value += each.detach()
            if not gradient:
                continue
            found = pixel_gradient(each.sum(), leaf)
            if found is None:
                self.noticed[CUT] = 1
            else:
                total += found
        return Evaluated(value, torch.ones_like(value), value, torch.nan_to_num(total) if gradient else None)


def pooled_under(
    encoder: Encoder, images: Float[Tensor, "b 3 y x"], fields: Float[Tensor, "g c h w"] | None
) -> Float[Tensor, "g b d"]:
    """Return the pooled features of images under each of some fields in one pass; of an encoder without any, g = 1."""
    if fields is None:
        return encoder(images).pooled[None]
    b, g = len(images), len(fields)
    starts = fields.repeat_interleave(b, dim=0)
    return encoder(images.repeat(g, 1, 1, 1), initial=starts).pooled.view(g, b, -1)


def passes_of_fields(fields: Float[Tensor, "k c h w"] | None, images: int) -> Sequence[Tensor | None]:
    """Split fields so that one pass with so many images has few rows."""
    return [None] if fields is None else fields.split(max(1, ROWS // max(images, 1)))


def held_fields(
    encoder: Encoder, images: Float[Tensor, "b 3 y x"], draw: Callable[[int], torch.Generator], k: int
) -> Float[Tensor, "k c h w"] | None:
    """Return k fields of initial oscillators for images of this shape; None for an encoder that draws nothing.

    Args:
        encoder: whose oscillators are drawn.
        images: give the shape.
        draw: number of a field -> its generator.
        k: how many.
    """
    if not encoder.stochastic:
        return None
    return torch.cat([encoder.sample_initial(images[:1], draw(j)) for j in range(k)])
