"""Checks on the first images, before a classifier is measured for hours.

Shapes: b batch, y x pixels.
"""

from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.classifier import Classifier, check_deterministic, check_finite
from sslkuramoto.data import ImageSet
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.randomness import generator
from sslkuramoto.threat import check_images, check_logits


def check_classes(subject: Subject, images: ImageSet) -> None:
    """Check that images and head have equally many classes, since a label would otherwise mean another class.

    Raises:
        UserError: the numbers differ.
    """
    assert subject.head is not None
    assert images.classes is not None
    own, found = cast(int, subject.head.out_features), len(images.classes)
    if own != found:
        raise UserError(
            f"data {images.name!r}, split {images.split!r}, has {found} classes, the classifier of the run has {own}: "
            "must be the same"
        )


@torch.no_grad()
def check_first_chunk(
    classifier: Classifier, images: Float[Tensor, "b 3 y x"], index: Int64[Tensor, " b"], protocol: str
) -> None:
    """Check the outputs for the first images.

    Args:
        classifier: in its own mode; one pass is made, and two more that must agree if it is deterministic.
        images: the first images.
        index: of each in its data set.
        protocol: name of the protocol, for messages.

    Raises:
        UserError: pixels outside [0,1], logits that are not finite, probabilities in place of logits, a network that
            is declared deterministic and is not.
    """
    try:
        check_images(images)
    except UserError:
        low, high = float(images.min()), float(images.max())
        raise UserError(f"images lie in [{low:.3g}, {high:.3g}]: {protocol} needs pixels in [0,1]") from None
    bound = classifier.at(index)
    logits = bound(images, draw=generator(images.device, classifier.seed, protocol, "check"))
    check_finite(logits)
    try:
        check_logits(logits)
    except UserError:
        raise UserError(f"the classifier returns probabilities: {protocol} needs its logits") from None
    check_deterministic(bound, images)
