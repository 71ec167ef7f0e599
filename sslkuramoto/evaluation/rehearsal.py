"""Runs a measurement on one image of a small stand-in network, to count its passes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from sslkuramoto.attacks.counting import GREY, Account
from sslkuramoto.classifier import Classifier
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.evaluation.classification.subset import Chosen
from sslkuramoto.evaluation.protocol import Subject


def account_of(classifier: Classifier, chosen: Chosen) -> Account:
    """Return an empty account for a classifier and the images that it is measured on."""
    assert chosen.images.classes is not None
    y, x = chosen.pixels.shape[2:]
    return Account(classifier, len(chosen.images.classes), (y, x))


@contextmanager
def rehearsed(subject: Subject, account: Account, times: int) -> Iterator[Subject]:
    """Replace the network of a subject by the stand-in of an account, in a temporary folder, and count its passes.

    Args:
        subject: to be measured.
        account: gets the passes.
        times: number of images that the single image represents.
    """
    classes = tuple(map(str, range(account.num_classes)))
    image, label = (
        torch.full((1, 3, *account.side), round(255 * GREY), dtype=torch.uint8),
        torch.zeros(1, dtype=torch.int64),
    )
    images = MemorySet("stand-in", "test", classes, label, account.side[0], "stand-in", image)
    with TemporaryDirectory() as folder, account.open(times):
        yield replace(
            subject,
            encoder=account.stand_in.encoder,
            head=account.stand_in.head,
            data=lambda split: images,
            device=torch.device("cpu"),
            run_dir=Path(folder),
            encoder_hash="stand-in",
            encoder_options={},
            report=lambda line: None,
            keep=lambda name, tensor: None,
        )
