"""The cost of a measurement with a fixed number of forward passes: that number times the seconds of a pass.

Reading images, making corruptions and fitting probes are not included.

Shapes: b batch, y x pixels.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sslkuramoto.classifier import Classifier
from sslkuramoto.cost import Cost, Passes, seconds_of
from sslkuramoto.data import batches
from sslkuramoto.evaluation.classification.subset import wanted_number
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator

LOOKS = 3
"""Most passes of the first batch before a measurement: one, and two more for a deterministic network."""


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
        classifier: in its mode; a call that averages draws makes a pass for each.
        split: whose images are classified.
        images: number of images; None for all.
        passes: calls per image.
        look: whether ``check_first_chunk`` checks a batch first.
    """
    index = torch.arange(subject.batch_size)

    def forward(pixels: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> None:
        classifier.at(index[: len(pixels)])(pixels, draw=draw)

    return passes_cost(subject, forward, split, images, passes, LOOKS if look else 0, each=classifier.starts)


def features_cost(subject: Subject, split: str, draws: int | None = None) -> Cost:
    """Return the cost of the features of a split that are not in the cache; arguments as of ``split_features``."""
    encoder = subject.encoder

    def forward(inputs: Shaped[Tensor, "b ..."], draw: torch.Generator) -> None:
        encoder(inputs, draw=draw if encoder.stochastic else None)

    return passes_cost(subject, forward, split, None, 1 if draws is None else draws_for(encoder.stochastic, draws))


@torch.no_grad()
def passes_cost(
    subject: Subject,
    forward: Callable[[Tensor, torch.Generator], None],
    split: str,
    wanted: int | None,
    passes: int,
    looks: int = 0,
    *,
    each: int = 1,
) -> Cost:
    """Return the cost of passes over a split, after timing a few.

    Args:
        subject: data and device.
        forward: one call on a batch.
        split: whose examples are passed.
        wanted: number of examples; None for all.
        passes: calls per example.
        looks: further calls on the first batch.
        each: passes of the encoder in one call.

    Raises:
        UserError: there are fewer examples than wanted.
    """
    images = subject.data(split)
    count = wanted_number(images, wanted)
    most = min(count, subject.batch_size)
    (batch,) = batches(images, [torch.arange(most)], device=subject.device)
    seconds = seconds_of(
        lambda few: forward(batch.inputs[:few], generator(subject.device, "cost")), most, subject.device
    )
    calls = count * passes + most * looks
    return Cost(count, {"passes": Passes(calls * each)}, calls * seconds)
