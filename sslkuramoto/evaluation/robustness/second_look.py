"""A second look at adversarial images before they are stored: forward passes outside the battery.

Whoever opens the file later sees these images, and not what an attack or a battery thought of them.

Shapes: n images, y x pixels.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.classifier import Classifier
from sslkuramoto.noise_draws import ON_BOUNDARIES, draws_for
from sslkuramoto.randomness import Key, generator
from sslkuramoto.threat import ROUNDING, MisbehavedError, Threat

SHOWN = 3  # images that a sentence names


@torch.no_grad()
def fault_of_stored(
    classifier: Classifier,
    candidates: Float[Tensor, "n 3 y x"],
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    correct: Sequence[float],
    *,
    threat: Threat,
    index: Int64[Tensor, " n"],
    chunk: int,
    draws: int,
    key: tuple[Key, ...],
) -> str | None:
    """Return why adversarial images are not what a result says of them; None if they are.

    Args:
        classifier: the attacked network, in its own mode.
        candidates: the images that are stored.
        images: those that they were made of.
        labels: true classes.
        correct: the share of correct draws that the result states for each image.
        threat: norm and radius of the result.
        index: of each image in its data set, for a classifier with one state per image.
        chunk: images per forward pass.
        draws: that the result scored with.
        key: of those draws.

    Raises:
        MisbehavedError: an image is outside the ball or [0,1].
    """
    check_place(candidates, images, threat)
    draws, right = draws_for(classifier.stochastic, draws), []
    for number, rows in enumerate(torch.arange(len(candidates)).split(chunk)):
        part, own = candidates[rows], classifier.at(index[rows])
        noise = [generator(part.device, classifier.seed, *key, k, number) for k in range(draws)]
        logits = own.over_draws(part, noise)
        answers = (logits.argmax(dim=2) == labels[rows].to(logits.device)) & logits.isfinite().all(dim=2)
        right.append(answers.double().mean(dim=0).cpu())
    apart = (torch.cat(right) - torch.tensor(correct, dtype=torch.float64)).abs()
    if apart.mean().item() <= ON_BOUNDARIES and candidates.is_cuda:  # sums have no fixed order there
        return None
    unlike = (apart > 1e-6).nonzero().squeeze(1).tolist()
    if not unlike:
        return None
    shown = ", ".join(
        f"{index[row].item()} ({torch.cat(right)[row]:.2f}, not {correct[row]:.2f})" for row in unlike[:SHOWN]
    )
    return (
        f"on a second look {len(unlike)} of {len(candidates)} stored adversarial images are not classified as the "
        f"result says, by the share of correct draws: {shown}; the network keeps a state between calls, or draws noise "
        "by itself"
    )


def check_place(candidates: Float[Tensor, "n 3 y x"], images: Float[Tensor, "n 3 y x"], threat: Threat) -> None:
    """Check in double precision that images are pixels in [0,1] inside the ball.

    Raises:
        MisbehavedError: one is not.
    """
    moved = (candidates.double() - images.double()).flatten(1)
    length = moved.abs().amax(dim=1) if threat.norm == "linf" else moved.square().sum(dim=1).sqrt()
    slack = ROUNDING if threat.norm == "linf" else ROUNDING * max(1.0, threat.eps)
    inside = (length <= threat.eps + slack) & ((candidates >= 0) & (candidates <= 1)).flatten(1).all(dim=1)
    if not bool(inside.all()):
        outside = (~inside).nonzero().squeeze(1).tolist()
        raise MisbehavedError(f"stored adversarial images {outside[:SHOWN]} are outside the ball ({threat}) or [0,1]")
