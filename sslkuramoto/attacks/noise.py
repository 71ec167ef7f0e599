"""Random perturbations, signs and Gaussian noise; the strongest of several samples is kept.

They are a baseline for every attack. If noise lowers the accuracy as much as the strongest attack does, the network
lacks robustness to noise rather than to an adversary. An attack that is weaker than noise does not work.

Shapes: b batch, y x pixels.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks.apgd import reach
from sslkuramoto.attacks.attack import Attack, Work
from sslkuramoto.attacks.gradients import Best, objective_of
from sslkuramoto.classifier import Classifier
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import Positive, Repeats, checked


def best_of(
    classifier: Classifier,
    images: Float[Tensor, "b 3 y x"],
    labels: Int64[Tensor, " b"],
    sample: Callable[[], Float[Tensor, "b 3 y x"]],
    *,
    samples: int,
    draws: int,
    work: Work,
    key: str,
) -> Float[Tensor, "b 3 y x"]:
    """Return the strongest of several candidates, compared on the same held draws."""
    objective = objective_of(classifier, images, labels, loss="log_margin", noise="held", k=draws, work=work, key=key)
    best = Best(images)
    for _ in range(samples):
        candidates = sample()
        rows = best.open_rows(classifier.stochastic)
        if len(rows) == 0:
            break
        best.offer(candidates[rows], objective.of(rows)(candidates[rows], gradient=False), rows)
    return best.candidates


@checked
class RandomSign(Attack):
    """Adds eps or -eps to every pixel value at random; in l2, equal magnitudes with total length eps.

    Args:
        samples: perturbations tried on each image.
        draws: draws of the network that evaluate a sample; 1 for a deterministic network.
        restarts: independent repetitions.
        label: name in the result; None: random-sign.
    """

    queries_only = True
    idle_without_noise = frozenset({"draws"})

    def __init__(
        self, *, samples: Repeats = 10, draws: Repeats = 8, restarts: Repeats = 1, label: str | None = None
    ) -> None:
        self.options = {"name": "random_sign", **options_of(locals())}
        self.samples, self.draws, self.restarts = samples, draws, restarts
        self.label = label or "random-sign"

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the strongest sample."""
        if len(images) == 0:
            return images.clone()
        draw = work.generator(images.device, "random sign")
        height = reach(threat, images) / (1 if threat.norm == "linf" else images[0].numel() ** 0.5)

        def sample() -> Tensor:
            up = torch.randint(0, 2, images.shape, generator=draw, device=images.device, dtype=images.dtype)
            return threat.project(images + height * (2 * up - 1), images)

        return best_of(
            classifier, images, labels, sample, samples=self.samples, draws=self.draws, work=work, key="random sign"
        )


@checked
class Gaussian(Attack):
    """Gaussian noise, projected onto the ball.

    Args:
        sigma: standard deviation, pixels in [0,1]; None: eps in l-inf; eps / sqrt(d) in l2, with d pixel values.
        samples: perturbations tried on each image.
        draws: draws of the network that evaluate a sample; 1 for a deterministic network.
        restarts: independent repetitions.
        label: name in the result; None: gaussian.
    """

    queries_only = True
    idle_without_noise = frozenset({"draws"})

    def __init__(
        self,
        *,
        sigma: Positive | None = None,
        samples: Repeats = 10,
        draws: Repeats = 8,
        restarts: Repeats = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "gaussian", **options_of(locals())}
        self.sigma, self.samples, self.draws, self.restarts = sigma, samples, draws, restarts
        self.label = label or "gaussian"

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the strongest sample."""
        if len(images) == 0:
            return images.clone()
        draw = work.generator(images.device, "gaussian")
        width = 1.0 if threat.norm == "linf" else images[0].numel() ** 0.5
        sigma = reach(threat, images) / width if self.sigma is None else self.sigma

        def sample() -> Tensor:
            noise = torch.randn(images.shape, generator=draw, device=images.device, dtype=images.dtype)
            return threat.project(images + sigma * noise, images)

        return best_of(
            classifier, images, labels, sample, samples=self.samples, draws=self.draws, work=work, key="gaussian"
        )
