"""From the samples of a source to an image set: choose, resize, and decide between memory and stream."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from sslkuramoto.data.images.image_set import ImageSet, MemorySet, StreamedSet
from sslkuramoto.data.images.pixels import Frame
from sslkuramoto.data.images.readers import Samples
from sslkuramoto.data.images.subset import Choice

RESIDENT_BYTES = 2**30  # largest set that "auto" keeps on the device
_CHUNK = 64  # images a thread decodes in one go
_THREADED_PIXELS = 96 * 96  # for smaller images threads wait for the interpreter's lock longer than they gain


def assemble(
    name: str, split: str, part: str, samples: Samples, choice: Choice, notes: tuple[str, ...] = ()
) -> ImageSet:
    """Return the images of ``split``.

    Args:
        name: the source's name in the recipe.
        split: what was asked for.
        part: the part of the source that ``samples`` are, as ``Choice.part`` says.
        samples: all native images of that part.
        choice: the common options.
        notes: what a reader must know of how the images were found.
    """
    chosen = choice.indices(split, part, len(samples), samples.labels)
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
    """Decode the chosen images, large ones in a pool of threads (decoders release the interpreter's lock)."""
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
        pool.shutdown(cancel_futures=True)  # a broken image ends the work at once
    return images


def _hash(header: str, content: bytes) -> str:
    return hashlib.blake2b(header.encode() + b"\x1f" + content, digest_size=16).hexdigest()
