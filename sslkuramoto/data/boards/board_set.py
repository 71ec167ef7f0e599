"""Board sets: puzzles or mazes with their solutions, in memory.

Shapes: b batch, n boards, y x cells.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.data.data_set import DataSet
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Batch, Boards, given


def check_limit(split: str, limit: int | None, found: int, kind: str) -> None:
    """Check that a file has as many boards as are to be used.

    Args:
        split: "train", "val" or "test".
        limit: how many are to be used; None for all.
        found: how many there are.
        kind: what they are called.

    Raises:
        UserError: there are fewer.
    """
    if limit is not None and limit > found:
        key = "limit" if split == "train" else "limit_test"
        raise UserError(f"{key}={limit}: there are only {found} {split} {kind}")


class BoardSet(DataSet):
    """The boards of one split. ``extra["givens"]`` of a batch is true where a cell is given: not blank, or not free.

    Args:
        name: name of the source in the recipe.
        split: ``"train"``, ``"val"`` or ``"test"``.
        spec: side and symbols of every board.
        puzzles: the given symbols, from 1; 0 is a blank cell. Mazes have none: their free cells are to be decided.
        solutions: the symbol of every cell, from 1.
    """

    def __init__(
        self,
        name: str,
        split: str,
        spec: Boards,
        puzzles: Int64[Tensor, "n y x"],
        solutions: Int64[Tensor, "n y x"],
    ) -> None:
        assert puzzles.shape == solutions.shape == (len(puzzles), spec.side, spec.side)
        self.name, self.split = name, split
        self._spec = spec
        self.puzzles, self.solutions = puzzles, solutions
        content = torch.stack([puzzles, solutions]).numpy().data
        header = f"{name} {split} {spec.side} {spec.symbols}\x1f"
        self.fingerprint = hashlib.blake2b(header.encode() + bytes(content), digest_size=16).hexdigest()

    @property
    def spec(self) -> Boards:
        return self._spec

    @classmethod
    @abstractmethod
    def expected(cls, options: Mapping[str, Any]) -> Boards: ...

    def __len__(self) -> int:
        return len(self.puzzles)

    def batches(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Batch]:
        for indices in order:
            puzzles, solutions = self.puzzles[indices], self.solutions[indices]
            yield Batch(puzzles, solutions, indices, {"givens": given(puzzles, self.spec.input_symbols)}).to(device)
