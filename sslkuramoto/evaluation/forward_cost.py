"""What a measurement costs that makes a fixed number of forward passes: counted, and timed by a few of them.

Reading images, making corruptions and fitting probes are not counted.

Shapes: b batch, y x pixels.
"""

import time
from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sslkuramoto.classifier import Classifier
from sslkuramoto.cost import Cost
from sslkuramoto.data import batches
from sslkuramoto.evaluation.classification.sanity import look_passes
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator

_TIMES = 3


def classifier_cost(
    subject: Subject,
    classifier: Classifier,
    split: str,
    *,
    images: int | None = None,
    passes: int,
    look: bool = False,
) -> Cost:
    """Return the cost of classifying images of a split.

    Args:
        subject: data and device.
        classifier: in its mode; of its passes each counts once, however many starts it averages.
        split: of which images are classified.
        images: how many of them; None for all.
        passes: of each image.
        look: whether ``check_first_chunk`` looks at a batch of them first.
    """
    index = torch.arange(subject.batch_size)

    def forward(pixels: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> None:
        classifier.at(index[: len(pixels)])(pixels, draw=draw)

    cost = _cost(subject, forward, split, images, passes)
    looked = look_passes(classifier) * min(subject.batch_size, cost.images) if look else 0
    return cost._replace(looked=looked)


def features_cost(subject: Subject, split: str, draws: int | None = None) -> Cost:
    """Return the cost of the features of a split that are not in the cache; arguments as of ``split_features``."""
    encoder = subject.encoder
    passes = 1 if draws is None else draws_for(encoder.stochastic, draws)

    def forward(inputs: Shaped[Tensor, "b ..."], draw: torch.Generator) -> None:
        encoder(inputs, draw=draw if encoder.stochastic else None)

    return _cost(subject, forward, split, None, passes)


@torch.no_grad()
def _cost(
    subject: Subject, forward: Callable[[Tensor, torch.Generator], None], split: str, wanted: int | None, passes: int
) -> Cost:
    images = subject.data(split)
    count = len(images) if wanted is None else min(wanted, len(images))
    chunk = torch.arange(min(count, subject.batch_size))
    (batch,) = batches(images, [chunk], device=subject.device)
    synchronise = torch.cuda.synchronize if subject.device.type == "cuda" else lambda: None
    best = float("inf")
    for _ in range(_TIMES):
        synchronise()
        start = time.perf_counter()
        forward(batch.inputs, generator(subject.device, "cost"))
        synchronise()
        best = min(best, time.perf_counter() - start)
    return Cost({}, passes, count, best / len(chunk), 0.0)
