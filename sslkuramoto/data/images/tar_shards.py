"""Random access to WebDataset shards through an index of the tar headers.

timm iterates over shards, skips damaged samples with a warning, and gives each process its own shards. With an index,
any process can read any sample, each exactly once, and a damaged one is named. The format is timm's: files of a tar
whose names agree up to the first dot form one sample; its class is in ``.cls`` or in a field of ``.json``.

Source: timm/data/readers/reader_wds.py (R. Wightman); the WebDataset format, T. Breuel.
"""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Int64, UInt8
from torch import Tensor

from sslkuramoto.data.images.files import stamp_of
from sslkuramoto.data.images.pixels import decode
from sslkuramoto.errors import UserError


class Entry(NamedTuple):
    """Position of a sample's encoded image: index of the shard, name, offset and length in bytes."""

    shard: int
    name: str
    start: int
    length: int


@dataclass(frozen=True, eq=False)
class ShardSamples:
    """Images inside uncompressed tar files."""

    shards: tuple[Path, ...]
    entries: tuple[Entry, ...]
    labels: Int64[Tensor, " n"] | None
    classes: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.entries)

    def _read(self, entry: Entry) -> bytes:
        with self.shards[entry.shard].open("rb") as shard:
            shard.seek(entry.start)
            return shard.read(entry.length)

    def pixels(self, index: int) -> UInt8[Tensor, "3 y x"]:
        entry = self.entries[index]
        return decode(lambda: self._read(entry), self.where(index))

    def where(self, index: int) -> str:
        entry = self.entries[index]
        return f"{self.shards[entry.shard]}/{entry.name}"

    def stamp(self, index: int) -> str:
        return stamp_of(self.shards[self.entries[index].shard])

    def encoded(self, index: int) -> bytes:
        return self._read(self.entries[index])

    def digest(self, indices: Tensor) -> bytes:
        digest = hashlib.blake2b()
        for index in indices.tolist():
            shard, *rest = self.entries[index]
            digest.update(f"{self.shards[shard].name}\x1f{rest}\x1e".encode(errors="surrogateescape"))
        return digest.digest()


def index_shards(
    shards: Sequence[Path], image_keys: Sequence[str], target_key: str | None, labels: bool
) -> tuple[tuple[Entry, ...], list[int]]:
    """Return the samples of all shards in order, and their classes (an empty list if ``labels`` is False).

    Args:
        shards: uncompressed tar files.
        image_keys: extensions of images; of several in a sample, the first in this order is taken.
        target_key: field of the ``.json`` file that holds the class; None reads the ``.cls`` file.
        labels: whether classes are read.

    Raises:
        UserError: a shard is unreadable, or a sample has no image or no class.
    """
    entries: list[Entry] = []
    targets: list[int] = []
    for number, shard in enumerate(shards):
        if shard.exists() and not shard.is_file():
            raise UserError(f"{shard}: is no regular file")
        try:
            with tarfile.open(shard, "r:") as archive:
                for key, members in _grouped(archive).items():
                    image = next((members[suffix] for suffix in image_keys if suffix in members), None)
                    if image is None:
                        raise UserError(f"{shard}: sample {key!r} has no image (.{', .'.join(image_keys)})")
                    entries.append(Entry(number, image.name, image.offset_data, image.size))
                    if labels:
                        targets.append(_target(archive, members, target_key, f"{shard}: sample {key!r}"))
        except (OSError, tarfile.TarError) as error:
            raise UserError(f"{shard}: not a readable, uncompressed tar: {error}") from None
    return tuple(entries), targets


def _grouped(archive: tarfile.TarFile) -> dict[str, dict[str, tarfile.TarInfo]]:
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in archive:
        folder, slash, file = member.name.rpartition("/")
        base, dot, suffix = file.partition(".")
        if member.isfile() and base and dot:
            samples.setdefault(folder + slash + base, {})[suffix.lower()] = member
    return samples


def _target(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], key: str | None, where: str) -> int:
    suffix = "json" if key else "cls"
    file = archive.extractfile(members[suffix]) if suffix in members else None
    if file is None:
        raise UserError(f"{where} has no .{suffix} file with its class; labels=false reads unlabelled images")
    try:
        content = json.loads(file.read())
        value = content[key] if key else content
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        name = f".json field {key!r}" if key else ".cls file"
        raise UserError(f"{where}: its {name} holds no class number; labels=false reads unlabelled images") from None
    return value
