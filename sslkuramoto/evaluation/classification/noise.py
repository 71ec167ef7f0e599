"""Protocol ``noise``: accuracy under random sign noise and Gaussian noise.

Random noise of size eps is a baseline for every attack. If the robust accuracy of a network equals its accuracy under
such noise, the attack is no better than noise (docs/corruptions.md).

    sign       x + eps s,  s = -1 or 1 for each value, clipped to [0,1]
    gaussian   x + eps N(0, 1), clipped to [0,1]

Shapes: b batch, k passes, n images, y x pixels.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.classifier import Classifier, Initial, predicted
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.sanity import check_first_chunk
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.corruptions.sources import clean_chunks
from sslkuramoto.evaluation.forward_cost import classifier_cost
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.noise_draws import accuracies, draws_for, share_right
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.threat import parse_eps, shown_eps
from sslkuramoto.values import Count, Repeats, checked, small

NAME = "noise"
Kind = Literal["sign", "gaussian"]


@small(images=4, samples=2)
@checked
class NoiseAccuracy(Protocol):
    """Share of images that are classified correctly when random noise is added.

    Args:
        sizes: eps in pixels of [0,1], numbers or fractions such as "8/255".
        kinds: "sign" (every value changes by exactly eps before clipping) and "gaussian" (standard deviation eps).
        samples: noise samples per image; a stochastic classifier gets a fresh one in each draw, so at least ``draws``.
        initial: initial oscillators: "random", "fixed", "fixed_per_image" or "averaged".
        average: draws per forward pass of "averaged".
        images: number of images, None for all; the choice depends on the data set alone.
        split: split that the images are taken from.
        draws: fresh draws of a stochastic classifier, at least 20.
    """

    name = NAME
    needs = frozenset({"head", "labels"})
    columns = (
        Column("noise_accuracy", "sign noise of 64/255", "Noise", False, 12, ["sign_64_255_accuracy"], optional=True),
    )

    def __init__(
        self,
        *,
        sizes: tuple[float | str, ...] = ("8/255", "64/255"),
        kinds: tuple[Kind, ...] = ("sign", "gaussian"),
        samples: Repeats = 10,
        initial: Initial = "random",
        average: Repeats = 8,
        images: Count | None = 1000,
        split: Literal["test", "val"] = "test",
        draws: Repeats = 20,
    ) -> None:
        self.options = options_of(locals())
        if not sizes or not kinds:
            raise UserError(f"{'kinds' if sizes else 'sizes'}=[]: must name at least one")
        self.sizes = [parse_eps(size) for size in sizes]
        for key, values in {"sizes": self.sizes, "kinds": kinds}.items():
            if len(set(values)) < len(values):
                raise UserError(f"{key}={self.options[key]}: must not contain the same value twice")
        shown = [shown_eps(size) for size in self.sizes]
        if alike := next((text for text in shown if shown.count(text) > 1), None):
            raise UserError(f"sizes={self.options['sizes']}: two are shown as {alike}; must differ by more")
        self.kinds, self.samples = kinds, samples
        self.initial: Initial = initial
        self.average = average
        self.images, self.split, self.draws = images, split, draws
        self.splits = (split,)

    def measure(self, subject: Subject) -> Result:
        classifier = classifier_of(subject, self.initial, average=self.average)
        draws = draws_for(classifier.stochastic, self.draws)
        chosen = chosen_images(subject, self.split, self.images, subject.batch_size)
        check_first_chunk(classifier, *next(clean_chunks(chosen, subject.batch_size)), NAME)
        labels, data = chosen.labels.cpu(), described(chosen.images, len(chosen.index))
        result = Result({}, self.options, data, start_of(subject.encoder, self.initial))
        result.per_image["index"] = chosen.index.tolist()
        passes = max(draws, self.samples)
        cases: dict[str, tuple[Kind, float, int]] = {"clean": ("sign", 0.0, draws)}
        for kind in self.kinds:
            cases |= {f"{kind}_{shown_eps(size).replace('/', '_')}": (kind, size, passes) for size in self.sizes}
        for name, (kind, size, count) in cases.items():
            predictions = _predictions(classifier, chosen, subject.batch_size, kind, size, count)
            result.metrics.update(accuracies(predictions, labels, f"{name}_accuracy"))
            result.per_image[f"{name}_correct"] = share_right(predictions, labels)
            result.verdicts.append(f"{name}_correct")
            subject.report(f"{name}: {100 * result.metrics[f'{name}_accuracy'].value:.1f} %")
        return result

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost on this device after timing a few passes; measures nothing."""
        classifier = classifier_of(subject, self.initial, average=self.average)
        draws = draws_for(classifier.stochastic, self.draws)
        passes = draws + len(self.kinds) * len(self.sizes) * max(draws, self.samples)
        return [("", classifier_cost(subject, classifier, self.split, images=self.images, passes=passes, look=True))]


def noisy(images: Float[Tensor, "b 3 y x"], kind: Kind, size: float, draw: ImageDraws) -> Float[Tensor, "b 3 y x"]:
    """Return images with noise of a size, pixels in [0,1]."""
    shape = images.shape[1:]
    noise = draw.signs(*shape) if kind == "sign" else draw.normal(*shape)
    return (images + size * noise).clamp(0.0, 1.0)


@torch.no_grad()
def _predictions(
    classifier: Classifier, chosen: Chosen, batch_size: int, kind: Kind, size: float, passes: int
) -> Int64[Tensor, "k n"]:
    """Return the predicted classes; each pass has its own noise sample and, if stochastic, its own draw."""
    parts = []
    for i, (images, index) in enumerate(clean_chunks(chosen, batch_size)):
        bound = classifier.at(index)
        rows = []
        for k in range(passes):
            noise = ImageDraws(index, images.device, "noise accuracy", classifier.seed, kind, k)
            start = generator(images.device, classifier.seed, NAME, k, i)
            rows.append(predicted(bound(noisy(images, kind, size, noise), draw=start)).cpu())
        parts.append(torch.stack(rows))
    return torch.cat(parts, dim=1)
