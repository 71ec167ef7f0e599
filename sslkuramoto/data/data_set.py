"""What a data source hands out, whatever its examples are: a set that states its spec and is read in a given order.

Order is never decided here: whoever asks for batches names the indices of each (``in_order``, ``shuffled``).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.examples import Batch, Spec


class DataSet(ABC):
    """The examples of one split.

    Attributes:
        name: the source's name in the recipe.
        split: ``"train"``, ``"val"`` or ``"test"``.
        fingerprint: hash of the content and of the options that shape it.
        covers: what the fingerprint and the stamp know of the examples, besides those options.
        stamp: hash of the times of files that are read while they are used; empty for examples whose content the
            fingerprint covers.
        notes: what a reader must know of how the examples were found, such as files that were passed over.
    """

    name: str
    split: str
    fingerprint: str
    covers: str = "content"
    stamp: str = ""
    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """What one example is."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes in which a label is a place; None where nothing has a class."""
        return None

    def sampled_content(self) -> str:
        """Return a hash of the stored content of some examples, the same ones each time; empty without a stamp."""
        return ""

    def with_classes(self, names: tuple[str, ...]) -> "DataSet":
        """Return the same examples with labels that are places in ``names``, which hold :attr:`class_names`."""
        raise AssertionError(f"{self.name} has no classes")

    @classmethod
    @abstractmethod
    def expected(cls, options: Mapping[str, Any]) -> Spec:
        """Return the spec that options promise, before anything is loaded.

        Its kind is certain. What only the data can tell, such as the number of classes, is a guess for a dry build.

        Args:
            options: of the source, defaults included.
        """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Batch]:
        """Yield one :class:`~sslkuramoto.examples.Batch` for each index tensor of ``order``; called by ``batches``."""


def batches(data: DataSet, order: Sequence[Tensor], *, device: torch.device | str, workers: int = 0) -> Iterator[Batch]:
    """Yield one :class:`~sslkuramoto.examples.Batch` for each index tensor of ``order``.

    Args:
        data: the examples.
        order: int64 index tensors on the CPU, one a batch.
        device: where inputs and targets shall lie.
        workers: processes that decode (0: this one). Without effect on a set that lies in memory.

    Raises:
        UserError: a broken example, named by its path, whichever process met it.
    """
    if workers < 0:
        raise UserError(f"workers={workers}: must be >= 0")
    yield from data.batches(order, torch.device(device), workers)
