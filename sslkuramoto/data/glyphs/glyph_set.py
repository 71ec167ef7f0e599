"""Sets of examples of several pictures of glyphs, how icons are split and placed, and what all tasks on them share.

An icon is a glyph as a category: pictures of one icon differ in size and place. Training sees some icons only; the test
split shows the others. Shapes: b batch, n examples, p pictures per example, m icons, k sizes, s side of a picture.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float64, Int64, UInt8
from pydantic import Field
from torch import Tensor

from sslkuramoto.data.data_set import DataSet
from sslkuramoto.data.glyphs.bitmaps import Family, glyphs_of, number_of
from sslkuramoto.data.images.subset import SPLITS
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.examples import Batch, Images, Pairs
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.values import Count, Mark, Place, Seed, Share, ShareAboveZero, Whole, checked

Number = Annotated[int, Field(ge=2, le=1_000_000)]
"""How many examples."""
Side = Annotated[int, Field(ge=8, le=128)]
LARGEST = 10_000
"""Most examples of a split unless an option says how many (as in ESBN, Webb et al. 2021, arXiv 2012.14601)."""
ICONS = "icons"
"""Name in ``Batch.extra`` of the icon that each picture shows, "b p"."""
_CHUNK = 4096  # pictures that are placed at once


@dataclass(frozen=True)
class Look:
    """Which icons there are and how their pictures look; the options that both tasks share.

    Attributes:
        glyphs, font, characters: see :func:`~sslkuramoto.data.glyphs.bitmaps.glyphs_of`.
        size: s.
        train_icons: number of icons of the training split and of val.
        icon_split: seed of which icons these are.
        scale: smallest and largest length of the longer side of a glyph, as shares of ``size``.
        jitter: how much of the free room is used for its place: 0 is the centre, 1 anywhere.
        pair_seed: seed of examples, sizes and places.
    """

    glyphs: Family
    font: str | None
    characters: str | None
    size: int
    train_icons: int
    icon_split: int
    scale: tuple[float, float]
    jitter: float
    pair_seed: int

    def check(self, task: str, least: int) -> None:
        """Check that each split has the icons that a task needs.

        Args:
            task: name of the source.
            least: number of icons that one example may need.

        Raises:
            UserError: it has fewer, or the scales are not a range.
        """
        total = number_of(self.glyphs, self.font, self.characters)
        left = total - self.train_icons
        if min(self.train_icons, left) < least:
            raise UserError(
                f"train_icons={self.train_icons}: {task} needs at least {least} icons in each split, and of {total}"
                f" {max(left, 0)} are left for the test"
            )
        low, high = self.scale
        if low > high:
            raise UserError(f"scale=[{low}, {high}]: must be the smallest length first")
        if round(low * self.size) < 4:
            raise UserError(f"scale=[{low}, {high}]: the smallest glyph must have 4 pixels; {low} x size={self.size}")

    def icons(self, split: str) -> Int64[Tensor, " m"]:
        """Return the icons of a split: places in the family of glyphs."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        total = number_of(self.glyphs, self.font, self.characters)
        order = torch.randperm(total, generator=generator("cpu", self.icon_split, "icons"))
        return order[self.train_icons :] if split == "test" else order[: self.train_icons]

    def pictures(self, icons: Int64[Tensor, "n p"], draw: torch.Generator) -> UInt8[Tensor, "n p s s"]:
        """Draw every icon at a random size and place: dark on white, with greys at its edges.

        Args:
            icons: places in the family of glyphs.
            draw: of sizes and places.
        """
        family = glyphs_of(self.glyphs, self.font, self.characters)
        lengths = range(round(self.scale[0] * self.size), round(self.scale[1] * self.size) + 1)
        bank = _bank(family.bitmaps, lengths, self.size)
        wanted, (n, p) = icons.flatten(), icons.shape
        which = torch.randint(len(lengths), wanted.shape, generator=draw)
        room = self.size - torch.tensor(lengths)[which]
        low = ((1 - self.jitter) * room / 2).round().long()
        shares = torch.rand(2, len(wanted), generator=draw, dtype=torch.float64)
        top, left = low + (shares * (room - 2 * low + 1)).long()
        along = torch.arange(self.size)
        placed = []
        for part in torch.arange(len(wanted)).split(_CHUNK):
            y = (along - top[part, None]) % self.size  # the rest of a bank's picture is paper: turning it is moving it
            x = (along - left[part, None]) % self.size
            rows = bank[wanted[part], which[part]]
            rows = rows.gather(1, y[:, :, None].expand_as(rows))
            placed.append(255 - rows.gather(2, x[:, None, :].expand_as(rows)))
        return torch.cat(placed).view(n, p, self.size, self.size)


def _bank(bitmaps: UInt8[Tensor, "m a a"], lengths: Sequence[int], size: int) -> UInt8[Tensor, "m k s s"]:
    """Return every bitmap at every length, in the upper left corner of a picture of paper."""
    bank = torch.zeros(len(bitmaps), len(lengths), size, size, dtype=torch.uint8)
    for place, length in enumerate(lengths):
        weights = _areas(bitmaps.shape[-1], length)
        scaled = weights @ bitmaps.double() @ weights.T
        bank[:, place, :length, :length] = scaled.round().to(torch.uint8)
    return bank


def _areas(given: int, wanted: int) -> Float64[Tensor, "wanted given"]:
    """Return how much of each of ``given`` equal cells of a line lies in each of ``wanted`` cells; rows add up to 1."""
    edges = torch.arange(wanted + 1, dtype=torch.float64) * given / wanted
    cells = torch.arange(given, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
    return overlap.clamp_min(0) * wanted / given


class GlyphSet(DataSet):
    """The examples of one split, in memory. ``extra["icons"]`` of a batch says which icon each picture shows.

    Args:
        name: name of the source in the recipe.
        split: ``"train"``, ``"val"`` or ``"test"``.
        pictures: grey.
        icons: which icon each picture shows.
        labels: class of each example, 0 or 1.
    """

    classes: tuple[str, str]

    def __init__(
        self,
        name: str,
        split: str,
        pictures: UInt8[Tensor, "n p s s"],
        icons: Int64[Tensor, "n p"],
        labels: Int64[Tensor, " n"],
    ) -> None:
        self.name, self.split = name, split
        self.pictures, self.icons, self.labels = pictures, icons, labels
        digest = hashlib.blake2b(f"{name} {split} {tuple(pictures.shape)}".encode(), digest_size=16)
        for part in (pictures, icons, labels):
            digest.update(part.contiguous().numpy().data)
        self.fingerprint = digest.hexdigest()

    @property
    def spec(self) -> Pairs:
        return Pairs(Images(self.pictures.shape[-1]), self.pictures.shape[1])

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes

    @classmethod
    @abstractmethod
    def expected(cls, options: Mapping[str, Any]) -> Pairs: ...

    def __len__(self) -> int:
        return len(self.pictures)

    def batches(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Batch]:
        for indices in order:
            grey = self.pictures[indices].to(device).to(torch.float32).div_(255)
            inputs = grey.unsqueeze(2).repeat(1, 1, 3, 1, 1)
            yield Batch(inputs, self.labels[indices].to(device), indices, {ICONS: self.icons[indices].to(device)})


@checked
class GlyphTask(GlyphSet):
    """Examples of one split of a task, made without a download; half of them have class 0.

    Args:
        split: "train", "val" or "test".
        glyphs: "font" (100 characters of DejaVu Sans, or of ``font``) or "strokes" (100 made of strokes on a lattice).
        font: font file to be used in place of DejaVu Sans (null: the bitmaps that the package brings).
        characters: characters to be taken from ``font`` (null: the same as of DejaVu Sans).
        size: side of the pictures in pixels.
        train_icons: m, number of icons that training shows; the poster has 95, 50 and 15.
        icon_split: seed of which icons these are; a larger m adds icons.
        pairs: number of training examples (null: :meth:`usual`, at most 10,000).
        pairs_test: number of examples in the val split and in the test split (null: as ``pairs``, for its icons).
        scale: smallest and largest longer side of a glyph, as shares of the side of the picture; whole pixels.
        jitter: share of the free room in which a glyph is placed: 0 is the centre, 1 anywhere.
        pair_seed: seed of the examples, sizes and places.

    Attributes:
        task: name of the source in a recipe.
        least: icons that one example may need.
        per_example: p.
        divides: what the splits divide; all tasks divide the same icons.

    Raises:
        UserError: an option is out of range, a split has fewer than ``least`` icons, or the font is not readable or
            lacks a character.
    """

    task: ClassVar[str]
    least: ClassVar[int]
    per_example: ClassVar[int]
    divides: ClassVar[str] = ICONS

    def __init__(
        self,
        split: str,
        *,
        glyphs: Annotated[Family, Mark.UNSEEN] = "font",
        font: Annotated[Place | None, Mark.UNSEEN] = None,
        characters: Annotated[str | None, Mark.UNSEEN] = None,
        size: Side = 32,
        train_icons: Annotated[Count, Mark.UNSEEN] = 95,
        icon_split: Annotated[Whole, Mark.UNSEEN] = 0,
        pairs: Number | None = None,
        pairs_test: Number | None = None,
        scale: tuple[ShareAboveZero, ShareAboveZero] = (0.5, 0.9),
        jitter: Share = 1.0,
        pair_seed: Seed = 0,
    ) -> None:
        look = self._look(options_of(locals()))
        own = look.icons(split)
        stated = pairs if split == "train" else pairs_test
        count = min(self.usual(len(own)), LARGEST) if stated is None else stated
        draw = generator("cpu", pair_seed, self.task, split)
        icons = self.drawn(own, count, draw)
        super().__init__(self.task, split, look.pictures(icons, draw), icons, torch.arange(count) % 2)

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Pairs:
        cls._look(options)
        return Pairs(Images(options["size"]), cls.per_example)

    @classmethod
    def _look(cls, options: Mapping[str, Any]) -> Look:
        look = Look(**{key: options[key] for key in Look.__dataclass_fields__})
        look.check(cls.task, cls.least)
        return look

    @classmethod
    @abstractmethod
    def usual(cls, m: int) -> int:
        """Return how many examples m icons give unless an option says how many."""

    @staticmethod
    @abstractmethod
    def drawn(icons: Int64[Tensor, " m"], count: int, draw: torch.Generator) -> Int64[Tensor, "n p"]:
        """Return the icons of ``count`` examples, of class 0 and 1 in turn."""
