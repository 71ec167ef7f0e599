"""Builds an image set from the samples of a source: chooses images, resizes them, keeps them in memory or streams."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from sslkuramoto.data.images.image_set import ImageSet, MemorySet, StreamedSet
from sslkuramoto.data.images.pixels import Frame
from sslkuramoto.data.images.readers import Samples
from sslkuramoto.data.images.subset import Choice

RESIDENT_BYTES = 2**30  # largest set that device_resident="auto" keeps on the device
_CHUNK = 64  # images per task of a decoding thread
_THREADED_PIXELS = 96 * 96  # threads do not pay for smaller images: they wait for the interpreter's lock


def assemble(
    name: str,
    split: str,
    part: str,
    samples: Samples,
    choice: Choice,
    notes: tuple[str, ...] = (),
    strata: Int64[Tensor, " n"] | None = None,
) -> ImageSet:
    """Return the images of ``split``.

    Args:
        name: name of the source in the recipe.
        split: "train", "val" or "test".
        part: the part of the source from which the split is taken (:meth:`Choice.part`).
        samples: all images of that part, in their own sizes.
        choice: the options that all sources share.
        notes: sentences on how the images were found.
        strata: groups of images from which limits and the holdout choose evenly (None: their classes, if known).

    Raises:
        UserError: an image is damaged, or sizes and limits do not fit the images.
    """
    chosen = choice.indices(split, part, len(samples), samples.labels if strata is None else strata)
    if choice.size is None:
        first = int(chosen[0])
        frame = Frame.native(samples.pixels(first), samples.where(first))
    else:
        frame = Frame(choice.size, resize=True)
    labels = None if samples.labels is None else samples.labels[chosen]
    header = f"{name} {split} {frame.side} {samples.classes} {None if labels is None else labels.tolist()}"
    resident = choice.device_resident
    if resident == "auto":
        resident = len(chosen) * 3 * frame.side**2 <= RESIDENT_BYTES
    if not resident:
        fingerprint = _hash(f"streamed {header}", samples.digest(chosen))
        return StreamedSet(name, split, samples.classes, labels, frame.side, fingerprint, samples, chosen, frame, notes)
    images = decoded(samples, chosen, frame)
    fingerprint = _hash(f"memory {header}", hashlib.blake2b(images.numpy().data).digest())
    return MemorySet(name, split, samples.classes, labels, frame.side, fingerprint, images, notes)


def decoded(samples: Samples, chosen: Int64[Tensor, " n"], frame: Frame) -> UInt8[Tensor, "n 3 s s"]:
    """Return the chosen images, decoded and fitted to the frame; large ones are decoded by several threads."""
    images = torch.empty(len(chosen), 3, frame.side, frame.side, dtype=torch.uint8)

    def decode_chunk(start: int) -> None:
        for place in range(start, min(start + _CHUNK, len(chosen))):
            index = int(chosen[place])
            images[place] = frame.fit(samples.pixels(index), samples.where(index))

    large = samples.pixels(int(chosen[0]))[0].numel() >= _THREADED_PIXELS
    pool = ThreadPoolExecutor(max_workers=torch.get_num_threads() if large else 1)
    try:
        for _ in pool.map(decode_chunk, range(0, len(chosen), _CHUNK)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)  # a damaged image stops all threads at once
    return images


def _hash(header: str, content: bytes) -> str:
    return hashlib.blake2b(header.encode() + b"\x1f" + content, digest_size=16).hexdigest()
