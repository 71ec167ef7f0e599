"""Adversarial images: the loop of AutoAttack over any attacks, and the score of what they found.

Croce and Hein 2020 (2003.01690): each attack works on the images that the earlier ones left standing. Scoring follows
../shared/METHODS.md 4 and 7: the worst candidate an image over all attacks, over fresh draws for a stochastic network.

Shapes: b batch, n images, y x pixels, k draws, q classes.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classifier import Classifier, frozen, predictions_over_draws
from sslkuramoto.evaluation.draws import draws_for
from sslkuramoto.randomness import Key

ROUNDING = 1e-6  # float32 steps around x + eps
FRACTION = re.compile(r"\s*(\d+(?:\.\d*)?)\s*/\s*(\d+(?:\.\d*)?)\s*")

DecidedBy = Literal["one draw", "majority"]


@runtime_checkable
class Attack(Protocol):
    """An attack tries to move images, inside its ball, to where the classifier errs."""

    @property
    def name(self) -> str: ...

    def __call__(
        self, classifier: Classifier, images: Float[Tensor, "b 3 y x"], labels: Int64[Tensor, " b"]
    ) -> Float[Tensor, "b 3 y x"]:
        """Return one candidate an image: inside the ball and [0,1]; the image itself where nothing was found."""
        ...


@dataclass
class Attacked:
    """What a chain of attacks found.

    Attributes:
        worst: for each image the candidate that the fewest selection draws get right (the union over attacks).
        wrapper: what AutoAttack itself returns: a candidate that was decided to be broken, else the clean image.
        broken_by: the attack that broke an image, "clean" when it was wrong from the start, None when it stands.
        standing_after: share of images still standing after each attack, by the attack's own decision.
    """

    worst: Float[Tensor, "n 3 y x"]
    wrapper: Float[Tensor, "n 3 y x"]
    broken_by: list[str | None]
    standing_after: dict[str, float]


def parse_eps(eps: float | str) -> float:
    """Return the radius of a ball in pixels of [0,1].

    Args:
        eps: a number, or a fraction as text such as ``"8/255"``.

    Raises:
        UserError: other text, a negative or infinite number, or one above 1 (meant in units of 255).
    """
    if isinstance(eps, str):
        parts = FRACTION.fullmatch(eps)
        if parts is None:
            raise UserError(f"eps={eps!r}: must be a number or a fraction such as 8/255")
        if float(parts[2]) == 0:
            raise UserError(f"eps={eps!r}: divides by zero")
        value = float(parts[1]) / float(parts[2])
    else:
        value = float(eps)
    if not math.isfinite(value) or value < 0:
        raise UserError(f"eps={eps}: must be a finite number >= 0")
    if value > 1:
        if isinstance(eps, str) or value > 255:
            raise UserError(f"eps={eps}: pixels lie in [0,1], so eps must not exceed 1")
        raise UserError(f"eps={eps:g}: pixels lie in [0,1]: did you mean {eps:g}/255?")
    return value


def check_images(images: Float[Tensor, "n 3 y x"]) -> None:
    """Refuse images outside [0,1]: eps would mean something else."""
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):
        raise UserError(f"images lie in [{low:.3g}, {high:.3g}]: attacks need pixels in [0,1]")


def check_logits(logits: Float[Tensor, "b q"]) -> None:
    """Refuse probabilities: the losses of the attacks need logits."""
    if bool((logits >= 0).all()) and bool(((logits.sum(dim=1) - 1).abs() < 1e-5).all()):
        raise UserError("the classifier returns probabilities: attacks need its logits")


def check_in_ball(
    candidates: Float[Tensor, "b 3 y x"], images: Float[Tensor, "b 3 y x"], eps: float, name: str
) -> None:
    """Assert that an attack kept to its threat model: float32, finite, inside the l-inf ball and [0,1]."""
    assert candidates.dtype == torch.float32, f"{name}: {candidates.dtype}"
    distance = (candidates - images).abs().max()
    assert bool(distance <= eps + ROUNDING), f"{name} left the ball: {float(distance):.6g} > eps {eps:.6g}"
    assert bool(((candidates >= 0) & (candidates <= 1)).all()), f"{name} left [0,1]"


def run_attacks(
    classifier: Classifier,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    attacks: Sequence[Attack],
    *,
    eps: float,
    batch_size: int,
    draws: int,
    decided_by: DecidedBy = "one draw",
    report: Callable[[str], None] = lambda line: None,
) -> Attacked:
    """Attack every image with every attack until it is broken.

    Args:
        classifier: what is attacked, in its own mode.
        images: pixels in [0,1].
        labels: right classes.
        attacks: in order; each sees only the images that the earlier ones left standing.
        eps: radius of the l-inf ball, pixels in [0,1].
        batch_size: images an attack works on at once.
        draws: selection draws for a stochastic classifier, at least 20.
        decided_by: "one draw": one forward pass decides whether an image is broken, as in AutoAttack; "majority": most
            of the selection draws must err. The same for a deterministic classifier.
        report: receives a line an attack and batch.

    For a deterministic classifier the result is AutoAttack's, image by image.
    """
    check_images(images)
    draws = draws_for(classifier.stochastic, draws)

    def share_right(chosen: Float[Tensor, "b 3 y x"], right: Int64[Tensor, " b"], *key: Key) -> Float[Tensor, " b"]:
        predictions = predictions_over_draws(classifier, chosen.split(batch_size), draws, "select", *key)
        return (predictions.to(right.device) == right).float().mean(dim=0)

    def fooled(chosen: Float[Tensor, "b 3 y x"], right: Int64[Tensor, " b"], share: Float[Tensor, " b"]) -> Tensor:
        if decided_by == "majority" or not classifier.stochastic:
            return share <= 0.5
        return torch.cat([classifier(chunk).argmax(dim=1) for chunk in chosen.split(batch_size)]) != right

    with torch.no_grad():
        check_logits(classifier(images[:batch_size]))
        best_share = share_right(images, labels, "clean")
        broken = fooled(images, labels, best_share)
    worst, wrapper = images.clone(), images.clone()
    broken_by: list[str | None] = ["clean" if gone else None for gone in broken.tolist()]
    standing_after = {}
    for position, attack in enumerate(attacks):
        chunks = (~broken).nonzero().squeeze(1).split(batch_size)
        for i, chunk in enumerate(chunks):
            if len(chunk) == 0:
                continue
            report(f"{attack.name}: batch {i + 1} of {len(chunks)}, {len(chunk)} images")
            with frozen(classifier):
                candidates = attack(classifier, images[chunk], labels[chunk])
            check_in_ball(candidates, images[chunk], eps, attack.name)
            with torch.no_grad():
                share = share_right(candidates, labels[chunk], position, i)
                gone = fooled(candidates, labels[chunk], share)
            wrapper[chunk[gone]] = candidates[gone]
            lower = share < best_share[chunk]
            worst[chunk[lower]] = candidates[lower]
            best_share[chunk[lower]] = share[lower]
            broken[chunk[gone]] = True
            for index in chunk[gone].tolist():
                broken_by[index] = attack.name
        standing_after[attack.name] = (~broken).double().mean().item()
    return Attacked(worst, wrapper, broken_by, standing_after)
