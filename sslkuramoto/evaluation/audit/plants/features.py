"""Plants between encoder and head: some of the features are set to zero, by their size or at random.

Shapes: b batch, i states (b or 1), d features, c h w noise.
"""

import math
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.evaluation.audit.plants.altered import AlteredEncoder, DrawingEncoder, Planted, uniform
from sslkuramoto.values import Count, checked

Part = Annotated[float, Field(gt=0, lt=1)]


@checked
def k_winners(encoder: Encoder, head: nn.Module, *, share: Part = 0.3) -> Planted:
    """Only the largest features stay, the others become zero: an answer that jumps from image to image.

    k-winners-take-all, Xiao, Zhong and Zheng 2020 (1905.10510), who put it in place of every activation and train with
    it; broken by Tramer et al. 2020 (2002.08347, section 5). Here it is added to the pooled features only.

    Args:
        share: of the features that stay.
    """
    return AlteredEncoder(encoder, features=partial(_winners, share=share)), head


@checked
def dropout(encoder: Encoder, head: nn.Module, *, probability: Part = 0.3) -> Planted:
    """Dropout of the pooled features at test time (Feinman et al. 2017, 1703.00410).

    Args:
        probability: that a feature is set to zero; the others grow, so that the mean stays.
    """
    change = partial(_dropped, probability=probability)
    return DrawingEncoder(encoder, "dropout", partial(_channels, encoder.num_features), features=change), head


@checked
def pruned(encoder: Encoder, head: nn.Module, *, samples: Count = 32) -> Planted:
    """Stochastic activation pruning of the pooled features (Dhillon et al. 2018, 1803.01442).

    Features are drawn in proportion to their size; those that are never drawn become zero, the others are divided by
    their probability of being drawn at all. Each feature is decided by itself, with that probability.

    Args:
        samples: number of draws.
    """
    change = partial(_pruned, samples=samples)
    return DrawingEncoder(encoder, "pruned", partial(_channels, encoder.num_features), features=change), head


def _channels(features: int, images: Tensor) -> int:
    return math.ceil(features / images[0, 0].numel())


def _winners(found: Features, share: float) -> Features:
    pooled = found.pooled
    kept = max(1, round(share * pooled.shape[1]))
    least = pooled.topk(kept, dim=1).values[:, -1:]
    return found._replace(pooled=pooled.where(pooled >= least, 0.0))


def _numbers(noise: Float[Tensor, "i c h w"], pooled: Float[Tensor, "b d"]) -> Float[Tensor, "i d"]:
    return uniform(noise.flatten(1)[:, : pooled.shape[1]])


def _dropped(found: Features, noise: Tensor, probability: float) -> Features:
    kept = _numbers(noise, found.pooled) >= probability
    return found._replace(pooled=found.pooled * kept / (1 - probability))


def _pruned(found: Features, noise: Tensor, samples: int) -> Features:
    pooled = found.pooled
    with torch.no_grad():
        size = pooled.abs()
        drawn = size / size.sum(dim=1, keepdim=True).clamp_min(1e-12)
        probability = 1 - (1 - drawn) ** samples
        kept = _numbers(noise, pooled) < probability
    return found._replace(pooled=pooled * kept / probability.clamp_min(1e-12))
