"""Streamed sets of JPEG files against a plain DataLoader of torchvision, and what the index of a large folder costs."""

import gc
import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.timing import Figure, Settings, Spread, Times, compared, interleaved
from sslkuramoto.data import DATA, ImageSet, batches, image_set, in_order
from sslkuramoto.errors import UserError

CLASSES = 10
SIZES = ((256, 256), (375, 500))  # height, width: of stored thumbnails, and near the mean of ImageNet
SIDE = 224
BATCH = 32
LEVELS = 2.5
"""Largest difference of pixels that is rounding, of 255."""
FOLDERS = (100_000, 1_000_000)
"""Images of the folders that are indexed."""
PER_FOLDER = 1000


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield the figures of decoding on the CPU, one thread, and of the index of a folder."""
    torch.set_num_threads(1)
    side = settings.size(SIDE, 16)
    for height, width in SIZES:
        shape = (height, width) if not settings.small else (20, 30)
        root = Path(settings.root) / f"jpeg-{height}"
        places = _stored(root, _jpegs(settings.size(200, 4), *shape))
        plain = _plain(root / "folder", side)
        sets = {kind: _ours(kind, place, side) for kind, place in places.items()}
        for kind, data in sets.items():
            _check_alike(kind, data, plain)
        works = {kind: _reading(data) for kind, data in sets.items()}
        times = interleaved({**works, "plain": lambda plain=plain: _read_plain(plain)}, settings)
        for kind, data in sets.items():
            what = f"{len(data)} JPEGs of {shape[1]} x {shape[0]} decoded to {side} x {side}, {kind}, one process"
            yield _rate(what, times[kind], times["plain"], len(data), settings)
    for count in (50,) if settings.small else FOLDERS:
        yield from _index(settings, count)


def _rate(what: str, ours: Times, plain: Times, images: int, settings: Settings) -> Figure:
    """Return the figure of one set, which says the images per CPU second."""
    against = "ImageFolder and DataLoader of torchvision: Resize, CenterCrop, ToTensor"
    rates = (images / Spread.of(each.cpu).median for each in (ours, plain))
    note = "Images per CPU second: {:.0f}, theirs {:.0f}.".format(*rates)
    times = {"ours": ours, "reference": plain}
    return compared("data", what, times, settings, against=against, wanted=1.0, note=note)


def _jpegs(count: int, height: int, width: int) -> list[bytes]:
    """Return images of smooth colours and some noise, which JPEG packs about as photographs."""
    draw, found = np.random.default_rng(0), []
    for _ in range(count):
        coarse = draw.integers(0, 256, (1 + height // 16, 1 + width // 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        levels = (smooth + draw.integers(-12, 13, (height, width, 1))).clip(0, 255).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(levels).save(content, "jpeg", quality=90)
        found.append(content.getvalue())
    return found


def _stored(root: Path, images: list[bytes]) -> dict[str, Path]:
    """Write the images as a folder, a zip and two tar shards; in all three sorted by class."""
    labels = [place * min(CLASSES, len(images)) // len(images) for place in range(len(images))]
    names = [f"train/{label}/{place:05}.jpg" for place, label in enumerate(labels)]
    folder, zipped, shards = root / "folder", root / "images.zip", root / "shards"
    shards.mkdir(parents=True)
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, content in zip(names, images, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            archive.writestr(name, content)
    for shard in (0, 1):
        with tarfile.open(shards / f"train-{shard}.tar", "w") as archive:
            for place in range(shard * len(images) // 2, (shard + 1) * len(images) // 2):
                for suffix, content in (("jpg", images[place]), ("cls", str(labels[place]).encode())):
                    member = tarfile.TarInfo(f"{place:05}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return {"folder": folder, "zip": zipped, "webdataset shards": shards}


def _ours(kind: str, place: Path, side: int) -> ImageSet:
    options: dict[str, Any] = {"root": str(place), "size": side, "device_resident": False}
    if kind != "webdataset shards":
        return image_set(DATA.build("image_folder", options, "train"))
    options |= {"dataset": "wds/", "train_split": "train-{0..1}.tar", "num_classes": CLASSES}
    return image_set(DATA.build("timm", options, "train"))


def _plain(folder: Path, side: int) -> Dataset[Any]:
    chain = [transforms.Resize(side), transforms.CenterCrop(side), transforms.ToTensor()]
    return ImageFolder(str(folder / "train"), transforms.Compose(chain))


def _reading(data: ImageSet) -> Callable[[], None]:
    def work() -> None:
        for _ in batches(data, in_order(len(data), BATCH), device="cpu"):
            pass

    return work


def _read_plain(data: Dataset[Any]) -> None:
    for _ in DataLoader(data, batch_size=BATCH):
        pass


def _check_alike(kind: str, ours: ImageSet, plain: Dataset[Any]) -> None:
    """Check that both read the same images with the same classes, up to the rounding of the resize.

    Raises:
        UserError: they do not; nothing is worth timing.
    """
    pairs = zip(batches(ours, in_order(len(ours), BATCH), device="cpu"), DataLoader(plain, BATCH), strict=True)
    for own, (pixels, labels) in pairs:
        difference = 255 * float((own.inputs - pixels).abs().max())
        if difference > LEVELS or own.targets is None or own.targets.tolist() != labels.tolist():
            raise UserError(f"{kind}: pixels differ by {difference:.1f} of 255, or classes: nothing was timed")


def _index(settings: Settings, count: int) -> Iterator[Figure]:
    """Yield CPU seconds and memory of what a run does before its first batch, for a folder of many images."""
    root = Path(settings.root) / f"folder-of-{count}"
    for place in range(count):
        folder = root / "train" / f"n{place // PER_FOLDER:08}"
        if place % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{folder.name}_{place % PER_FOLDER:05}.jpg").touch()
    options = {"root": str(root), "size": SIDE, "device_resident": False}

    def index() -> Any:
        data = DATA.build("image_folder", options, "train")
        return data, data.stamp

    times = interleaved({"ours": index, "reference": lambda: ImageFolder(str(root / "train"))}, settings)
    what = f"index of a folder of {count:,} images: names, classes, sizes and times"
    each = 1e6 * Spread.of(times["ours"].cpu).median / count
    note = f"{each:.1f} microseconds per image; theirs has names and classes only."
    yield compared("data", what, times, settings, against="ImageFolder of torchvision", note=note)
    gc.collect()
    tracemalloc.start()
    try:
        kept = index()
        now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tensors = sum(values.nbytes for values in (kept[0].labels, kept[0].samples.labels, kept[0].chosen))
    longest = len(kept[0].samples.names[0])
    per_image = (now + tensors) / count
    note = f"Names of {longest} characters; at most {(most + tensors) / count:.0f} bytes while it is made."
    what = f"memory of that index, per image, {count:,} images"
    yield Figure("data", what, "bytes", Spread.of([per_image]), note=note)
