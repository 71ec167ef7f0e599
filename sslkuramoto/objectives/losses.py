"""Loss terms as pure functions, in float32 at least, and what they need to be right in many processes.

Shapes: b batch of this process, B joined batch of all processes, d features, k classes.
"""

from collections.abc import Callable
from functools import wraps
from typing import Literal, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, distributed
from torch.nn import functional as F

from sslkuramoto.errors import UserError

Sim2Form = Literal["mse", "cosine"]
Reduction = Literal["mean", "sum"]
T = TypeVar("T")


def in_full_precision(loss: Callable[..., T]) -> Callable[..., T]:
    """Run ``loss`` with autocast off and its positional tensors in float32 at least (float64 stays)."""

    @wraps(loss)
    def run(*tensors: Tensor, **options: object) -> T:
        with torch.autocast(tensors[0].device.type, enabled=False):
            return loss(*[tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors], **options)

    return run


def world_size() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def every_rank(z: Float[Tensor, "b d"]) -> Float[Tensor, "B d"]:
    """Return the rows of all processes, in rank order; gradients flow back to the process a row came from.

    The gradient that arrives is the sum over processes, so gradients averaged over processes (as DDP does) are those of
    the mean of their losses.
    """
    return _AllRows.apply(z.contiguous()) if world_size() > 1 else z


def sum_over_ranks(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the sum of the values that all processes hold; gradients flow back to each of them.

    As in ``every_rank`` the gradient that arrives is the sum over processes.
    """
    return _Sum.apply(values) if world_size() > 1 else values


def fair_share(count: Int64[Tensor, ""]) -> Float[Tensor, ""]:
    """Return the mean over processes of a count, of at least one in all.

    The mean over processes of sums that each divides by it is the mean over all that they count, however unequal the
    counts are. In one process it is the count itself, 1 instead of 0.
    """
    return sum_over_ranks(count.float()).clamp(min=1) / world_size()


class _AllRows(torch.autograd.Function):
    """The rows of all processes; torch's own function for it is deprecated."""

    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:
        rows = [torch.empty_like(z) for _ in range(world_size())]
        distributed.all_gather(rows, z)
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return _Sum.apply(gradients[0]).chunk(world_size())[distributed.get_rank()]


class _Sum(torch.autograd.Function):
    """The sum over all processes; torch's own function for it is deprecated."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)  # in the same order of memory in all processes
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return _Sum.apply(gradients[0])


@in_full_precision
def nt_xent(z1: Float[Tensor, "b d"], z2: Float[Tensor, "b d"], *, temperature: float) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy, mean over the 2b anchors of this process.

    Each anchor is to find the other view of its image among both views of all images but itself. Negatives come from
    all processes, with gradient.
    Source: SimCLR (2002.05709) equation 1.
    """
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    others = torch.cat([every_rank(z1), every_rank(z2)])
    first = len(z1) * distributed.get_rank() if world_size() > 1 else 0
    own = torch.arange(first, first + len(z1), device=z1.device)
    own, positive = torch.cat([own, own + len(others) // 2]), torch.cat([own + len(others) // 2, own])
    logits = torch.cat([z1, z2]) @ others.T / temperature
    return F.cross_entropy(logits.scatter(1, own[:, None], -torch.inf), positive)


@in_full_precision
def negative_cosine(p: Float[Tensor, "b d"], z: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """D(p, z) = -cos(p, stop-gradient z), mean over the batch."""
    return -F.cosine_similarity(p, z.detach(), dim=1).mean()


def sim1_loss(
    h1: Float[Tensor, "b d"], h2: Float[Tensor, "b d"], z1: Float[Tensor, "b d"], z2: Float[Tensor, "b d"]
) -> Float[Tensor, ""]:
    """1/2 D(h1, z2) + 1/2 D(h2, z1): predict each view's projection from the other view.

    Source: SimSiam (2011.10566) equation 2; L_Cos of PhiNet (2405.14650).
    """
    return (negative_cosine(h1, z2) + negative_cosine(h2, z1)) / 2


@in_full_precision
def sim2_loss(
    y1: Float[Tensor, "b d"],
    y2: Float[Tensor, "b d"],
    z: Float[Tensor, "b d"],
    *,
    form: Sim2Form = "mse",
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """Predict the projection of the clean image (no gradient) from both views, half a term each.

    Args:
        y1: prediction from the first view.
        y2: prediction from the second view.
        z: projection of the clean image.
        form: squared error, or D as in ``sim1_loss``.
        reduction: the squared error's mean over features (the published code) or sum (the paper's formula), d times
            larger. The batch is averaged in both.

    Source: L_NC of PhiNet (2405.14650); ``PhiNetMomCos`` of its code for the cosine.
    """
    if form == "cosine":
        return (negative_cosine(y1, z) + negative_cosine(y2, z)) / 2
    z = z.detach()
    error = (F.mse_loss(y1, z) + F.mse_loss(y2, z)) / 2
    return error * z.shape[1] if reduction == "sum" else error


def check_sim2(form: Sim2Form, reduction: Reduction) -> None:
    """Raise where the two options of ``sim2_loss`` contradict each other."""
    if form == "cosine" and reduction == "sum":
        raise UserError("sim2_reduction='sum': only for sim2='mse', a cosine has nothing to sum; leave it at 'mean'")


@in_full_precision
def cross_entropy(
    logits: Float[Tensor, "b k"], *, labels: Int64[Tensor, "b"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Mean cross entropy; ``smoothing`` of the target is spread evenly over all k classes."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


@in_full_precision
def weighted_cross_entropy(
    logits: Float[Tensor, "b k"],
    weights: Float[Tensor, " k"],
    *,
    labels: Int64[Tensor, "b"],
    count: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Sum over examples of w(label) times the cross entropy, divided by ``count``, not by the sum of weights."""
    return F.cross_entropy(logits, labels, weight=weights.to(logits.dtype), reduction="sum") / count


@in_full_precision
def soft_cross_entropy(
    logits: Float[Tensor, "b k"], targets: Float[Tensor, "b k"], *, smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Mean cross entropy against shares of the classes, which sum to 1; ``smoothing`` as in :func:`cross_entropy`."""
    return F.cross_entropy(logits, targets, label_smoothing=smoothing)


@torch.no_grad()
@in_full_precision
def agreement(z1: Float[Tensor, "b d"], z2: Float[Tensor, "b d"]) -> dict[str, Tensor]:
    """Return what the projections of two views tell about learning and collapse.

    Returns:
        ``alignment``: mean cosine between the two views of an image. ``spread``: covariance over images between the
        normalised projections of the two views, summed over coordinates. It is about 1 when projections fill the sphere
        and the views agree, and 0 when projections collapse to a point. Each view draws its own oscillators, so their
        noise adds nothing on average (about 1 / sqrt(b d) in one batch, of either sign).
    """
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    spread = ((z1 - z1.mean(dim=0)) * (z2 - z2.mean(dim=0))).sum() / max(len(z1) - 1, 1)
    return {"alignment": (z1 * z2).sum(dim=1).mean(), "spread": spread}
