"""Linear networks on digits of 8 x 8 pixels that hide nothing: no training, and a robustness that is a formula.

An image with the margin m = z_y - z_j keeps its class inside a ball of radius eps where m exceeds eps times the dual
norm of w_y - w_j (docs/methods/robustness.md). The study ``plants-digits`` audits them beside networks with plants.

Shapes: n images, d pixel values, q classes.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.data import DATA, image_set

SIDE = 8
RIDGE = 1.0  # keeps the weights of pixels that hardly vary small


def nearest_mean() -> nn.Module:
    """Return the classifier by the nearest mean of a class, which is linear."""
    pixels, labels = _training_images()
    means = torch.stack([pixels[labels == k].mean(dim=0) for k in range(int(labels.max()) + 1)])
    return _linear(means, -0.5 * means.square().sum(dim=1))


def orthogonal() -> nn.Module:
    """Return a linear classifier with orthonormal weights, whose logits are 1-Lipschitz in l2.

    The weights are the nearest matrix with orthonormal rows (the polar factor) to those of a ridge regression on the
    classes; orthogonal layers as in Anil, Lucas and Grosse 2019 (1811.05381), of which this is the smallest.
    """
    pixels, labels = _training_images()
    centre = pixels.mean(dim=0)
    moved, targets = pixels - centre, F.one_hot(labels).double()
    gram = moved.T @ moved + RIDGE * torch.eye(moved.shape[1], dtype=torch.float64)
    weights = polar_factor(torch.linalg.solve(gram, moved.T @ (targets - targets.mean(dim=0))).T)
    return _linear(weights, -weights @ centre)


def polar_factor(weights: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
    """Return the nearest matrix whose rows are orthonormal."""
    u, _, v = torch.linalg.svd(weights, full_matrices=False)
    return u @ v


def _training_images() -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"]]:
    found = image_set(DATA.build("digits", {"size": SIDE}, "train"))
    (batch,) = found.batches([torch.arange(len(found))], torch.device("cpu"), 0)
    assert batch.targets is not None
    return batch.inputs.double().flatten(1), batch.targets


def _linear(weights: Float[Tensor, "q d"], bias: Float[Tensor, " q"]) -> nn.Module:
    layer = nn.Linear(weights.shape[1], len(weights))
    layer.load_state_dict({"weight": weights.float(), "bias": bias.float()})
    return nn.Sequential(nn.Flatten(), layer)
