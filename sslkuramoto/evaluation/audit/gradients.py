"""Diagnostics of the input gradient: does it exist, is it correct, is it the same for every draw?

Athalye, Carlini and Wagner 2018 (1802.00420) name the kinds of masked gradients: vanishing, shattered (correct at a
point and wrong at the distance of eps) and stochastic gradients. Each is measured here.

Shapes: b batch, n images, y x pixels, q classes, k draws, c h w a field of initial states.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.attacks.gradients import pixel_gradient
from sslkuramoto.attacks.losses import wrong_by
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.randomness import generator

Loss = Literal["cross entropy", "margin"]
LOSSES: tuple[Loss, ...] = ("cross entropy", "margin")
TIMES: tuple[float, ...] = (1 / 16, 1 / 4, 1.0)
"""Steps of the finite differences, times eps."""
SIDE = 8  # points of the curve along the gradient, in each direction
ROWS = 2  # lines of the plane, in each direction
DRAWS = 4  # of a stochastic classifier


def losses(logits: Float[Tensor, "b q"], labels: Int64[Tensor, " b"], loss: Loss) -> Float[Tensor, " b"]:
    """Return the loss that an attack maximises: the cross entropy, or the largest wrong logit minus the true one."""
    if loss == "cross entropy":
        return F.cross_entropy(logits, labels, reduction="none")
    return wrong_by(logits, labels)


@dataclass
class GradientFacts:
    """Diagnostics of the gradient, one entry per image unless stated otherwise.

    Attributes:
        zero: loss -> share of draws in which the gradient is exactly zero in every pixel.
        cut: whether the logits have no autograd graph to the pixels, which makes every gradient zero.
        norms: loss -> l1 norm of the gradient, first draw.
        cosine: mean cosine between the gradients of the margin in two draws; None for a deterministic network.
        agreement: step (times eps) -> correlation, over random directions, between the predicted and the actual change
            of the margin; 0 if the gradient is zero or nothing changes.
        rises: whether a step of eps / 4 along the sign of the gradient increases the margin loss.
        along: name -> mean margin at ``positions`` (times eps), along the sign of the gradient and along random signs.
        positions: of those curves.
        plane: position along one random direction -> margin of the first image at ``positions`` along another. It is
            that of one image, since a mean over images would smooth the surface.
    """

    zero: dict[Loss, Float[Tensor, " n"]] = field(default_factory=dict)
    cut: bool = False
    norms: dict[Loss, Float[Tensor, " n"]] = field(default_factory=dict)
    cosine: Float[Tensor, " n"] | None = None
    agreement: dict[float, Float[Tensor, " n"]] = field(default_factory=dict)
    rises: Float[Tensor, " n"] | None = None
    along: dict[str, list[float]] = field(default_factory=dict)
    positions: list[float] = field(default_factory=list)
    plane: dict[float, list[float]] = field(default_factory=dict)


def gradient_facts(
    classifier: Classifier,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    *,
    eps: float,
    seed: int,
    chunk: int,
    directions: int,
    draws: int = DRAWS,
    report: Callable[[str], None] = lambda line: None,
) -> GradientFacts:
    """Measure the gradient at the images.

    Args:
        classifier: in its own mode. For a stochastic one, gradients are those of single draws, and finite differences
            hold the draw fixed: they test whether the gradient is correct, not whether it is stable.
        images: pixels in [0,1]; finite differences may step out of [0,1].
        labels: true classes.
        eps: l-inf radius, the unit of all steps, > 0.
        seed: keys the draws and directions.
        chunk: images per forward pass.
        directions: random sign fields per image for the finite differences.
        draws: of a stochastic classifier, for the cosine and the share of zeros.
        report: receives a line.
    """
    report(f"gradient diagnostics: {len(images)} images, {directions} directions")
    parts = []
    with frozen(classifier):
        for number, rows in enumerate(torch.arange(len(images)).split(chunk)):
            part = _Chunk(classifier, images[rows], labels[rows], (seed, "audit", "gradients", number), draws)
            parts.append(part.facts(eps, directions))
            if number == 0:
                parts[0].plane = part.plane(eps, parts[0].positions)
    return _joined(parts)


@dataclass
class _Chunk:
    """One chunk of the images, with the key of its draws."""

    classifier: Classifier
    images: Tensor
    labels: Tensor
    key: tuple[int | str, ...]
    draws: int
    cut: bool = False

    def value(self, images: Tensor, loss: Loss, draw: int = 0) -> Tensor:
        """Return the loss; the same draw means the same initial states, in every mode of the classifier."""
        state = generator(self.images.device, *self.key, "state", draw)
        return losses(self.classifier(images, draw=state), self.labels[: len(images)], loss)

    def gradient(self, loss: Loss, draw: int) -> Tensor:
        with torch.enable_grad():
            at = self.images.clone().requires_grad_()
            found = pixel_gradient(self.value(at, loss, draw).sum(), at)
        self.cut = self.cut or found is None
        return torch.zeros_like(at) if found is None else found

    def signs(self, *key: int | str) -> Tensor:
        draw = generator(self.images.device, *self.key, *key)
        bits = torch.randint(0, 2, self.images.shape, generator=draw, device=self.images.device)
        return (2 * bits - 1).to(self.images.dtype)

    def facts(self, eps: float, directions: int) -> GradientFacts:
        found = GradientFacts(positions=[step / SIDE for step in range(-SIDE, SIDE + 1)])
        draws = range(self.draws if self.classifier.stochastic else 1)
        gradients = {loss: [self.gradient(loss, draw) for draw in draws] for loss in LOSSES}
        for loss in LOSSES:
            dead = torch.stack([gradient.flatten(1).abs().amax(dim=1) == 0 for gradient in gradients[loss]])
            found.zero[loss] = dead.float().mean(dim=0)
            found.norms[loss] = gradients[loss][0].flatten(1).abs().sum(dim=1)
        found.cut = self.cut
        if len(draws) > 1:
            found.cosine = mean_cosine([gradient.flatten(1) for gradient in gradients["margin"]])
        with torch.no_grad():
            self._differences(found, gradients["margin"][0], eps, directions)
            self._lines(found, gradients["margin"][0], eps)
        return found

    def _differences(self, found: GradientFacts, gradient: Tensor, eps: float, directions: int) -> None:
        """Compare the gradient's prediction with central differences, in which even terms cancel."""
        for times in TIMES:
            step = times * eps
            predicted, seen = [], []
            for number in range(directions):
                signs = self.signs("direction", number)
                ahead = self.value(self.images + step * signs, "margin")
                behind = self.value(self.images - step * signs, "margin")
                seen.append((ahead - behind) / (2 * step))
                predicted.append((gradient * signs).flatten(1).sum(dim=1))
            found.agreement[times] = correlation(torch.stack(predicted), torch.stack(seen))

    def _lines(self, found: GradientFacts, gradient: Tensor, eps: float) -> None:
        clean = self.value(self.images, "margin")
        found.rises = (self.value(self.images + eps / 4 * gradient.sign(), "margin") > clean).float()
        for name, signs in (("gradient", gradient.sign()), ("random signs", self.signs("line"))):
            found.along[name] = [
                self.value(self.images + position * eps * signs, "margin").sum().item() for position in found.positions
            ]

    @torch.no_grad()
    def plane(self, eps: float, positions: Sequence[float]) -> dict[float, list[float]]:
        """Return the margin of the first image on a random plane through it."""
        image, across, up = self.images[:1], self.signs("across")[:1], self.signs("up")[:1]
        grid = {}
        for row in (line / ROWS for line in range(-ROWS, ROWS + 1)):
            points = [image + eps * (position * across + row * up) for position in positions]
            grid[row] = [self.value(point, "margin").item() for point in points]
        return grid


def mean_cosine(gradients: Sequence[Float[Tensor, "b d"]]) -> Float[Tensor, " b"]:
    """Return for each image the mean cosine over all pairs of gradients; a zero gradient has cosine 0 with any."""
    units = torch.stack([F.normalize(gradient, dim=1) for gradient in gradients])
    pairs = torch.einsum("kbd,jbd->kjb", units, units)
    above = torch.triu_indices(len(units), len(units), offset=1)
    return pairs[above[0], above[1]].mean(dim=0)


def correlation(predicted: Float[Tensor, "m b"], seen: Float[Tensor, "m b"]) -> Float[Tensor, " b"]:
    """Return the uncentred correlation of each column (directions have mean zero); 0 where a column vanishes."""
    sizes = predicted.norm(dim=0) * seen.norm(dim=0)
    return torch.where(sizes > 0, (predicted * seen).sum(dim=0) / sizes.clamp_min(1e-30), torch.zeros_like(sizes))


def draws_for_direction(cosine: float, wanted: float = 0.9) -> float:
    """Return over how many draws the gradient must be averaged to have cosine ``wanted`` with the expected gradient.

    With unit gradients of mutual cosine r, the mean of K of them has cosine sqrt(K r / (1 + (K - 1) r)) with their
    expectation.
    """
    if cosine <= 0:
        return float("inf")
    return max(1.0, wanted**2 * (1 - cosine) / (cosine * (1 - wanted**2)))


def _joined(parts: Sequence[GradientFacts]) -> GradientFacts:
    """Concatenate the chunks; curves become means over images."""
    first = parts[0]
    total = sum(len(part.norms["margin"]) for part in parts)
    cosines = [part.cosine.cpu() for part in parts if part.cosine is not None]
    return GradientFacts(
        cut=any(part.cut for part in parts),
        zero={loss: torch.cat([part.zero[loss].cpu() for part in parts]) for loss in LOSSES},
        norms={loss: torch.cat([part.norms[loss].cpu() for part in parts]) for loss in LOSSES},
        cosine=torch.cat(cosines) if cosines else None,
        agreement={times: torch.cat([part.agreement[times].cpu() for part in parts]) for times in first.agreement},
        rises=torch.cat([part.rises.cpu() for part in parts if part.rises is not None]),
        along={
            name: [sum(part.along[name][at] for part in parts) / total for at in range(len(first.positions))]
            for name in first.along
        },
        positions=first.positions,
        plane=first.plane,
    )
