"""The contract of a data set: the examples of one split, of any kind, which state their spec.

A data set does not decide the order of its examples. The caller gives the indices of each batch (``in_order``,
``shuffled``).
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
        name: name of the source in the recipe.
        split: ``"train"``, ``"val"`` or ``"test"``.
        fingerprint: hash of the examples and of the options that determine them.
        covers: which properties of the examples enter the fingerprint and the stamp: "content", or names, sizes and
            times of the files.
        stamp: hash of the modification times of files that are streamed; empty if the fingerprint covers the content.
        notes: sentences on how the examples were found, such as the number of files that were ignored.
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
        """The kind and the sizes of one example."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, indexed by label; None for unlabelled examples."""
        return None

    def sampled_content(self) -> str:
        """Return a hash of the stored content of a fixed sample of the examples; empty for a set without a stamp."""
        return ""

    def with_classes(self, names: tuple[str, ...]) -> "DataSet":
        """Return the same examples with labels that index ``names``, which contain all of :attr:`class_names`."""
        raise AssertionError(f"{self.name} has no classes")

    @classmethod
    @abstractmethod
    def expected(cls, options: Mapping[str, Any]) -> Spec:
        """Return the spec that the options declare, before anything is loaded.

        Its kind is certain, and whether it has masks. What only the data can tell, such as the number of classes, is a
        placeholder with which a recipe can be checked: :class:`~sslkuramoto.examples.DeclaredImages`, and
        :class:`~sslkuramoto.examples.UnsizedImages` where that is the size, too.

        Args:
            options: options of the source, including defaults.
        """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Batch]:
        """Yield one :class:`~sslkuramoto.examples.Batch` per index tensor of ``order``; see :func:`batches`."""


def batches(data: DataSet, order: Sequence[Tensor], *, device: torch.device | str, workers: int = 0) -> Iterator[Batch]:
    """Yield one :class:`~sslkuramoto.examples.Batch` per index tensor of ``order``.

    Args:
        data: the examples.
        order: int64 index tensors on the CPU, one per batch.
        device: device of inputs and targets.
        workers: number of processes that decode; 0 decodes in this process. No effect on a set in memory.

    Raises:
        UserError: ``workers`` is negative, or an example is damaged (the error names its file).
    """
    if workers < 0:
        raise UserError(f"workers={workers}: must be >= 0")
    yield from data.batches(order, torch.device(device), workers)
