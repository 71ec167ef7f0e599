"""Specs, which describe one example (an image, a board, or several images that belong together), and batches.

A data set declares its spec; encoders, objectives and protocols declare which specs they read. docs/tasks.md explains
how these are matched. Shapes: b batch, y x pixels or cells, p images per example.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.maze_rules import FREE

INSTANCES, CLASSES = "masks", "class_masks"
"""Names in ``Batch.extra`` of the object, and of the class of the object, that each pixel belongs to."""


class Batch(NamedTuple):
    """A batch of examples with their targets.

    Attributes:
        inputs: what the encoder reads, on the device. Images: float32 pixels in [0, 1], "b 3 y x". Boards: int64
            symbols, "b y x", 0 for a blank cell (mazes have none). Pairs: float32 pixels, "b p 3 y x".
        targets: what is to be predicted, on the device; None for unlabelled examples. Images and pairs: int64 class,
            "b". Boards: int64 symbol of each cell, "b y x", from 1.
        indices: index of each example in its set, on the CPU.
        extra: further tensors with one entry per example, by name: ``masks``, ``givens``, ``icons``.
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
        masks: whether ``extra["masks"]`` holds the object that each pixel belongs to.
    """

    size: int
    classes: int | None = None
    masks: bool = False
    kind: ClassVar[str] = "images"
    pictures: ClassVar[bool] = True  # whether an example can be shown as one picture
    grid: ClassVar[bool] = True  # whether it is one grid, over which oscillators can be shown
    unsized: ClassVar[bool] = False  # whether the side is a placeholder

    @property
    def side(self) -> int:
        """Side of the grid, pixels."""
        return self.size

    @property
    def num_classes(self) -> int | None:
        """Number of classes of a head's output; None where the images have no labels."""
        return self.classes

    def __str__(self) -> str:
        classes = f", {self.classes} classes" if self.classes else ""
        return f"images of {self.size} x {self.size} pixels{classes}{', with masks' if self.masks else ''}"

    def random(self, n: int, draw: torch.Generator | None) -> Batch:
        """Return ``n`` random examples, on the CPU; without ``draw``, on the device meta, they have no values."""
        images = torch.rand(n, 3, self.size, self.size, generator=draw)
        labels = torch.arange(n) % self.classes if self.classes else None
        size = (n, self.size, self.size)
        extra = {"masks": torch.randint(0, 3, size, generator=draw)} if self.masks else {}
        return Batch(images, labels, torch.arange(n), extra)


@dataclass(frozen=True)
class DeclaredImages(Images):
    """Images as the options of a source declare them: ``classes`` is a placeholder with which a recipe is checked."""

    def __str__(self) -> str:
        return str(Images(self.size, masks=self.masks))


@dataclass(frozen=True)
class UnsizedImages(DeclaredImages):
    """Images whose size only the data will tell: ``size`` is a placeholder, too."""

    unsized: ClassVar[bool] = True

    def __str__(self) -> str:
        return "images of a size that is not stated"


@dataclass(frozen=True)
class Boards:
    """Square boards, where input and target are grids of symbols: Sudoku, mazes.

    Attributes:
        side: side of the board in cells.
        symbols: number of symbols that a cell can hold, numbered from 1; 0 is a blank cell.
        input_symbols: number of symbols that inputs hold where none of their cells is blank: mazes hold 4 (wall, free,
            start, goal) of 5. None: a cell of an input is blank or holds its symbol of the target.
    """

    side: int
    symbols: int
    input_symbols: int | None = None
    kind: ClassVar[str] = "boards"
    pictures: ClassVar[bool] = False
    grid: ClassVar[bool] = True
    masks: ClassVar[bool] = False
    unsized: ClassVar[bool] = False

    @property
    def num_classes(self) -> int:
        """Number of classes of a head's output in each cell."""
        return self.symbols

    def random(self, n: int, draw: torch.Generator | None) -> Batch:
        """Return ``n`` random examples, on the CPU; about half of the cells are given, and no rule is obeyed."""
        size = (n, self.side, self.side)
        solutions = torch.randint(1, self.symbols + 1, size, generator=draw)
        if self.input_symbols is not None:
            boards = torch.where(solutions > self.input_symbols, FREE, solutions)
            return Batch(boards, solutions, torch.arange(n), {"givens": given(boards, self.input_symbols)})
        givens = torch.rand(size, generator=draw) < 0.5
        return Batch(solutions * givens, solutions, torch.arange(n), {"givens": givens})

    def __str__(self) -> str:
        inputs = "" if self.input_symbols is None else f", {self.input_symbols} of them in inputs"
        return f"boards of {self.side} x {self.side} cells, {self.symbols} symbols{inputs}"


def given(boards: Int64[Tensor, "b y x"], input_symbols: int | None) -> Bool[Tensor, "b y x"]:
    """Return which cells of boards are given: all but blank ones; of mazes walls, start and goal, not free cells.

    Args:
        boards: inputs.
        input_symbols: as in :class:`Boards`.
    """
    return boards > 0 if input_symbols is None else boards != FREE


@dataclass(frozen=True)
class Pairs:
    """Several images that form one example: two for same/different, six for match-to-sample.

    Attributes:
        of: spec of each image.
        per_example: number of images per example.
    """

    of: Images
    per_example: int = 2
    kind: ClassVar[str] = "pairs"
    pictures: ClassVar[bool] = False
    grid: ClassVar[bool] = False
    masks: ClassVar[bool] = False
    unsized: ClassVar[bool] = False

    @property
    def side(self) -> int:
        """Side of each image in pixels."""
        return self.of.size

    @property
    def num_classes(self) -> int:
        """Number of classes of a head's output: same or different, left or right."""
        return 2

    def __str__(self) -> str:
        return f"pairs ({self.per_example} {str(self.of).replace('pixels', 'pixels each', 1)})"

    def random(self, n: int, draw: torch.Generator | None) -> Batch:
        """Return ``n`` random examples, on the CPU."""
        images = torch.rand(n, self.per_example, 3, self.of.size, self.of.size, generator=draw)
        return Batch(images, torch.arange(n) % 2, torch.arange(n))


Spec = Images | Boards | Pairs
Reads = tuple[type[Spec], ...]
"""The kinds of specs that a component accepts."""


def check_reads(part: str, reads: Reads, source: str, spec: Spec) -> None:
    """Check that a component accepts the examples of a source.

    Args:
        part: kind and name of the component for the error, such as ``"encoder akorn"``.
        reads: the kinds of specs that it accepts.
        source: kind and name of the source for the error, such as ``"data sudoku"``.
        spec: the spec of the source's examples.

    Raises:
        UserError: the component does not accept them.
    """
    if not accepts(reads, spec):
        raise UserError(f"{part} reads {shown_reads(reads)}; {source} gives {spec.kind}")


def accepts(reads: Reads, spec: Spec) -> bool:
    """Return whether a spec is of one of the accepted kinds."""
    return isinstance(spec, reads)


def shown_reads(reads: Reads) -> str:
    """Return the kinds of specs as words for a message."""
    return " or ".join(kind.kind for kind in reads)


def spec_to_dict(spec: Spec) -> dict[str, Any]:
    """Return a spec as plain values, which :func:`spec_from_dict` reads."""
    values = asdict(spec)
    if values.get("input_symbols", 0) is None:  # so that boards with blank cells are described as they always were
        del values["input_symbols"]
    return {"kind": spec.kind, **values}


def spec_from_dict(values: Mapping[str, Any]) -> Spec:
    """Return the spec of values that :func:`spec_to_dict` wrote.

    Raises:
        KeyError, TypeError: the values are not those of a spec.
    """
    kinds = {kind.kind: kind for kind in (Images, Boards, Pairs)}
    options = {key: value for key, value in values.items() if key != "kind"}
    if values["kind"] == Pairs.kind:
        options["of"] = Images(**options["of"])
    return kinds[values["kind"]](**options)


def joined_pictures(*pictures: Shaped[Tensor, "b 3 y x"]) -> Shaped[Tensor, "b p 3 y x"]:
    """Return examples of several pictures, as encoders of pairs read them.

    Args:
        pictures: the first picture of every example, the second of every example, and so on; pixels in [0, 1].

    Raises:
        UserError: their numbers or sizes differ.
    """
    shapes = list(dict.fromkeys(tuple(part.shape) for part in pictures))
    if len(shapes) != 1:
        found = " and ".join(map(str, shapes)) or "none"
        raise UserError(f"pictures of shapes {found}: those of an example must have one size")
    return torch.stack(pictures, dim=1)
