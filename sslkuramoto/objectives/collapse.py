"""Has the representation collapsed? Two numbers on a batch of features.

Shapes: b batch, d features.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def feature_std(features: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Return sqrt(d) times the mean over features of the standard deviation (n - 1) of L2-normalised features.

    About 1 for directions spread evenly over the sphere, 0 when all images have one direction.
    Source: Chen and He 2021 (SimSiam, arXiv 2011.10566), section 4.1.
    """
    return F.normalize(features.float(), dim=1).std(dim=0).mean() * features.shape[1] ** 0.5


def effective_rank(features: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Return exp of the entropy of the normalised singular values of the centred features, in [1, min(b, d)].

    Roy and Vetterli 2007, "The effective rank"; 1 when the centred features are all zero.
    """
    centred = features.float() - features.float().mean(dim=0)
    values = torch.linalg.svdvals(centred)
    share = values / values.sum().clamp_min(1e-30)
    return torch.exp(-(share * share.clamp_min(1e-30).log()).sum())
