"""What one example is: an image, a board, or several images that belong together; and a batch of them.

A data set states its spec, encoders, objectives and protocols state which they read; docs/tasks.md says how they agree.
Shapes: b batch, y x pixels or cells, p images per example.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from sslkuramoto.errors import UserError


class Batch(NamedTuple):
    """Examples with what belongs to them.

    Attributes:
        inputs: what the encoder reads, on the device. Images: float32 pixels in [0,1], "b 3 y x". Boards: int64 symbols
            "b y x", 0 where a cell is blank. Pairs: "b p 3 y x".
        targets: what is to be found, on the device; None where nobody knows. Images and pairs: int64 class "b". Boards:
            int64 symbol of each cell "b y x", from 1.
        indices: place of each example in its set, on the CPU.
        extra: further tensors with one entry per example, by name: masks, givens.
    """

    inputs: Shaped[Tensor, "b ..."]
    targets: Int64[Tensor, "b ..."] | None
    indices: Int64[Tensor, " b"]
    extra: Mapping[str, Tensor] = {}

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device; the indices stay on the CPU."""
        targets = None if self.targets is None else self.targets.to(device)
        extra = {name: value.to(device) for name, value in self.extra.items()}
        return Batch(self.inputs.to(device), targets, self.indices, extra)


@dataclass(frozen=True)
class Images:
    """Square images with pixels in [0,1] and three channels.

    Attributes:
        size: side, pixels.
        classes: number of classes; None where the images have no labels.
        masks: whether ``extra["masks"]`` says which object each pixel belongs to.
    """

    size: int
    classes: int | None = None
    masks: bool = False
    kind: ClassVar[str] = "images"
    pictures: ClassVar[bool] = True  # whether an example can be shown as one picture

    @property
    def side(self) -> int:
        """Side of the grid, pixels."""
        return self.size

    @property
    def num_classes(self) -> int | None:
        """Number of answers a head tells apart."""
        return self.classes

    def random(self, n: int, draw: torch.Generator) -> Batch:
        """Return ``n`` random examples, on the CPU."""
        images = torch.rand(n, 3, self.size, self.size, generator=draw)
        labels = torch.arange(n) % self.classes if self.classes else None
        size = (n, self.size, self.size)
        extra = {"masks": torch.randint(0, 3, size, generator=draw)} if self.masks else {}
        return Batch(images, labels, torch.arange(n), extra)


@dataclass(frozen=True)
class Boards:
    """Square boards, grid in and grid out: Sudoku, mazes.

    Attributes:
        side: cells.
        symbols: number of symbols that a cell can hold, numbered from 1; 0 is a blank cell.
    """

    side: int
    symbols: int
    kind: ClassVar[str] = "boards"
    pictures: ClassVar[bool] = False
    masks: ClassVar[bool] = False

    @property
    def num_classes(self) -> int:
        """Number of answers a head tells apart in each cell."""
        return self.symbols

    def random(self, n: int, draw: torch.Generator) -> Batch:
        """Return ``n`` random examples, on the CPU; about half of the cells are given, and nothing is solvable."""
        size = (n, self.side, self.side)
        solutions = torch.randint(1, self.symbols + 1, size, generator=draw)
        givens = torch.rand(size, generator=draw) < 0.5
        return Batch(solutions * givens, solutions, torch.arange(n), {"givens": givens})


@dataclass(frozen=True)
class Pairs:
    """Several images that make up one example: same or different (2), match to sample (6).

    Attributes:
        of: each image.
        per_example: how many.
    """

    of: Images
    per_example: int = 2
    kind: ClassVar[str] = "pairs"
    pictures: ClassVar[bool] = False
    masks: ClassVar[bool] = False

    @property
    def side(self) -> int:
        """Side of each image, pixels."""
        return self.of.size

    @property
    def num_classes(self) -> int:
        """Number of answers a head tells apart: yes or no, left or right."""
        return 2

    def random(self, n: int, draw: torch.Generator) -> Batch:
        """Return ``n`` random examples, on the CPU."""
        images = torch.rand(n, self.per_example, 3, self.of.size, self.of.size, generator=draw)
        return Batch(images, torch.arange(n) % 2, torch.arange(n))


Spec = Images | Boards | Pairs
Reads = tuple[type[Spec], ...]
"""The kinds of spec that a part accepts."""


def check_reads(part: str, reads: Reads, source: str, spec: Spec) -> None:
    """Check that a part reads what a source gives.

    Args:
        part: kind and name, as errors show them: ``"encoder akorn"``.
        reads: what it accepts.
        source: the same of what it is given: ``"data sudoku"``.
        spec: what that gives.

    Raises:
        UserError: it does not.
    """
    if not accepts(reads, spec):
        raise UserError(f"{part} reads {shown_reads(reads)}; {source} gives {spec.kind}")


def accepts(reads: Reads, spec: Spec) -> bool:
    """Return whether a part that states what it reads reads a spec."""
    return isinstance(spec, reads)


def shown_reads(reads: Reads) -> str:
    """Return the kinds of spec for a sentence."""
    return " or ".join(kind.kind for kind in reads)


def spec_to_dict(spec: Spec) -> dict[str, Any]:
    """Return plain values that :func:`spec_from_dict` reads back."""
    return {"kind": spec.kind, **asdict(spec)}


def spec_from_dict(values: Mapping[str, Any]) -> Spec:
    """Return the spec that :func:`spec_to_dict` described.

    Raises:
        KeyError, TypeError: the values describe none.
    """
    kinds = {kind.kind: kind for kind in (Images, Boards, Pairs)}
    options = {key: value for key, value in values.items() if key != "kind"}
    if values["kind"] == Pairs.kind:
        options["of"] = Images(**options["of"])
    return kinds[values["kind"]](**options)
