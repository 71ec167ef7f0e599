"""The threat model: how far an adversary may move an image, in which norm.

Two balls, l-inf and l2, each cut with the cube [0,1] of pixels. Training and evaluation share this one definition.

Shapes: b batch, y x pixels.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.errors import UserError

Norm = Literal["linf", "l2"]
DEFAULT_EPS: Mapping[str, float | str] = {"linf": "8/255", "l2": 0.5}
"""Default radius of each norm: those of RobustBench on CIFAR-10 (Croce et al. 2021, arXiv 2010.09670)."""
BY_NORM = {"eps": ("norm", DEFAULT_EPS)}
"""For a member with these two options: ``eps`` left out is that of ``norm`` (:mod:`~sslkuramoto.registry`)."""
FRACTION = re.compile(r"\s*(\d+(?:\.\d*)?)\s*/\s*(\d+(?:\.\d*)?)\s*")
HALVES = {torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""Largest distance from 1 of a sum of probabilities that were rounded to a type, or computed in it."""
ROUNDING = 1e-6  # float32 steps around x + eps; in l2, of the length of the whole perturbation


def parse_eps(eps: float | str, norm: Norm = "linf") -> float:
    """Return the radius of a ball in pixels of [0,1].

    Args:
        eps: a number, or a fraction as text such as ``"8/255"``.
        norm: in l-inf a radius above 1 reaches every image and is taken for one in units of 255; an l2 radius is the
            length of a vector of pixels and may exceed 1.

    Raises:
        UserError: other text, a negative or infinite number, or a radius meant in units of 255.
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
    if norm == "linf" and value > 1:
        if isinstance(eps, str) or value > 255:
            raise UserError(f"eps={eps}: pixels lie in [0,1], so eps must not exceed 1")
        raise UserError(f"eps={eps:g}: pixels lie in [0,1]: did you mean {eps:g}/255?")
    return value


def shown_eps(eps: float) -> str:
    """Return a radius as people write it: 8/255 rather than 0.03137254901960784, but 0.2 rather than 51/255."""
    levels = eps * 255
    if 0 < eps < 1 and abs(levels - round(levels)) < 1e-6 and float(f"{eps:.3g}") != eps:
        return f"{round(levels)}/255"
    return f"{eps:g}"


class MisbehavedError(AssertionError):
    """An attack broke its contract, which is a fault of ours: raised, not asserted, so that ``python -O`` keeps it."""


@dataclass(frozen=True)
class Threat:
    """A ball around each image, cut with [0,1].

    Attributes:
        norm: "linf": every pixel value moves by at most eps; "l2": the perturbation, over all channels and pixels of an
            image, is no longer than eps.
        eps: radius, pixels in [0,1]. 0 leaves the image alone. Infinity allows any image.
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        assert self.eps >= 0, f"eps={self.eps}"

    def __str__(self) -> str:
        return f"{self.norm}, eps {shown_eps(self.eps)}"

    def project(
        self, candidates: Float[Tensor, "b 3 y x"], images: Float[Tensor, "b 3 y x"]
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the candidates moved into the ball around ``images`` and into [0,1].

        In l2 the perturbation is shortened first and the pixels are clamped then: clamping towards an image that lies
        in [0,1] never lengthens it.
        """
        if self.eps == 0:
            return images.clone()
        moved = candidates - images
        if self.norm == "linf":
            moved = moved.clamp(-self.eps, self.eps)
        elif math.isfinite(self.eps):
            size = lengths(moved)
            moved = moved * (self.eps / size.clamp_min(1e-12)).clamp_max(1.0)[:, None, None, None]
        return (images + moved).clamp(0.0, 1.0)

    def random_start(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b 3 y x"]:
        """Return a random point of each ball: uniform in l-inf; in l2 a uniform direction and a uniform length."""
        if self.norm == "linf":
            reach = min(self.eps, 1.0)
            noise = torch.rand(images.shape, generator=draw, device=images.device, dtype=images.dtype)
            return self.project(images + reach * (2 * noise - 1), images)
        noise = torch.randn(images.shape, generator=draw, device=images.device, dtype=images.dtype)
        share = torch.rand(len(images), generator=draw, device=images.device, dtype=images.dtype)
        reach = self.eps if math.isfinite(self.eps) else images[0].numel() ** 0.5
        scale = reach * share / lengths(noise).clamp_min(1e-12)
        return self.project(images + noise * scale[:, None, None, None], images)

    def steepest(self, gradient: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        """Return the direction of unit norm along which a linear function with this gradient grows fastest.

        An image whose gradient is zero gets the zero direction.
        """
        if self.norm == "linf":
            return gradient.sign()
        # the largest value becomes 1: squares of 1e-20, of a saturated network, vanish in float32
        largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
        scaled = gradient / largest.where(largest > 0, 1.0)
        return scaled / lengths(scaled).clamp_min(1.0)[:, None, None, None]

    def distances(self, candidates: Float[Tensor, "b 3 y x"], images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, " b"]:
        """Return how far each candidate lies from its image, in this norm."""
        moved = candidates - images
        return moved.abs().flatten(1).amax(dim=1) if self.norm == "linf" else lengths(moved)

    def check(self, candidates: Tensor, images: Float[Tensor, "b 3 y x"], name: str) -> None:
        """Refuse what no attack may return: anything but finite float32 pixels inside the ball and [0,1].

        Raises:
            MisbehavedError: a candidate is not allowed.
        """
        fault = None
        if candidates.dtype != torch.float32:
            fault = f"{name}: {candidates.dtype}"
        elif candidates.shape != images.shape:
            fault = f"{name}: {tuple(candidates.shape)} for {tuple(images.shape)}"
        elif not bool(candidates.isfinite().all()):
            fault = f"{name}: pixels that are no numbers"
        elif not bool(((candidates >= 0) & (candidates <= 1)).all()):
            fault = f"{name} left [0,1]"
        elif len(images):
            distance = float(self.distances(candidates, images).max())
            slack = ROUNDING if self.norm == "linf" else ROUNDING * max(1.0, self.eps)
            slack = slack if self.eps > 0 else 0.0  # without room nothing is rounded
            if distance > self.eps + slack:
                fault = f"{name} left the ball: {distance:.6g} > eps {self.eps:.6g}"
        if fault:
            raise MisbehavedError(fault)


def lengths(moved: Float[Tensor, "b c y x"]) -> Float[Tensor, " b"]:
    """Return the l2 length of each image's perturbation, over channels and pixels."""
    return moved.flatten(1).norm(dim=1)


def check_images(images: Float[Tensor, "n 3 y x"]) -> None:
    """Refuse images outside [0,1]: eps would mean something else."""
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):
        raise UserError(f"images lie in [{low:.3g}, {high:.3g}]: attacks need pixels in [0,1]")


def check_logits(logits: Float[Tensor, "b q"]) -> None:
    """Refuse probabilities: the losses of the attacks need logits.

    Hard answers, exactly 0 and 1, are no softmax that could be undone. They pass: attacks find that their gradients are
    zero, and an audit says so.
    """
    hard = bool(((logits == 0) | (logits == 1)).all())
    rounded = [apart for kind, apart in HALVES.items() if torch.equal(logits.to(kind).to(logits.dtype), logits)]
    apart = max(rounded, default=1e-5)
    if not hard and bool((logits >= 0).all()) and bool(((logits.sum(dim=1) - 1).abs() < apart).all()):
        raise UserError("the classifier returns probabilities: attacks need its logits")
