"""All datasets that ``timm.data.create_dataset`` opens: ``torch/NAME``, ``hfds/NAME``, ``wds/NAME``, folders and tars.

timm opens the dataset and lists its samples. The images are read here, because timm replaces a damaged image by the
next one and splits iterated data over the processes. ``hfids/`` and ``tfds/`` have no random access and are read once
into memory.

Source: R. Wightman, PyTorch Image Models, timm/data/dataset_factory.py.
"""

import hashlib
import operator
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.files import stamp_of
from sslkuramoto.data.images.image_folder import check_classes
from sslkuramoto.data.images.image_set import ImageSet
from sslkuramoto.data.images.pixels import Frame, broken, decode, from_pillow
from sslkuramoto.data.images.readers import ArraySamples, Samples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, SplitSeed
from sslkuramoto.data.images.tar_shards import ShardSamples, index_shards
from sslkuramoto.data.images.timm_splits import FOLDERS, check_builder, check_local, check_names, folder_of
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.files import at_home, lock
from sslkuramoto.values import Count, Mark, Place, Side, checked

KINDS = ("torch", "hfds", "hfids", "tfds", "wds")
READ_ONCE = ("hfids", "tfds")
READ_ONCE_BYTES = 8 * 2**30  # limit of memory for a source without random access


@checked
def timm_dataset(
    split: str,
    *,
    dataset: str,
    root: Place | None = None,
    train_split: Annotated[str, Mark.UNSEEN] = "train",
    test_split: Annotated[str, Mark.UNSEEN] = "validation",
    val_split: Annotated[str | None, Mark.HELD_OUT] = None,
    labels: Annotated[bool, Mark.HELD_OUT] = True,
    image_key: str | None = None,
    target_key: str | None = None,
    num_classes: int | None = None,
    download: Annotated[bool, Mark.INCIDENTAL] = False,
    size: Side | None = None,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: SplitSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return one split of a dataset that timm can open.

    Args:
        split: "train", "val" (with ``holdout`` or ``val_split``) or "test".
        dataset: name of the dataset in timm, such as "torch/cifar10", "hfds/uoft-cs/cifar10" or "wds/imagenet" ("" is
            a folder or tar).
        root: folder of the data, or cache folder of a download.
        train_split: name that the dataset has for its training images. For folders it is the folder or tar in
            ``root``; for wds it may be shards, "train-{000..009}.tar".
        test_split: name that the dataset has for its test images.
        val_split: name that the dataset has for its validation images (null: it has none).
        labels: whether classes are read (false: unlabelled images; limits and the holdout are then not stratified).
        image_key: column or file extension that holds the image (null: timm's default).
        target_key: column or JSON field that holds the class (null: timm's default).
        num_classes: number of classes of a dataset without class names (null: 1 + the largest training label).
        download: whether to download the data, if the dataset supports it (hfds/ always does, wds/ never).

    Names and folders that are URLs or commands are refused, for a recipe may come from somebody else.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    kind = dataset.partition("/")[0].lower() if "/" in dataset else ""
    if kind == "torch":
        dataset = dataset.lower()  # as timm does
    if dataset and kind not in KINDS:
        raise unknown("kind of dataset", f"{kind or dataset}/", (f"{kind}/" for kind in KINDS))
    if root is None and kind in ("", "torch", "wds"):
        raise UserError(f"root=null: dataset={dataset} needs a folder")
    own = {"train": train_split, "test": test_split, **({"val": val_split} if val_split else {})}
    check_local(dataset, kind, root, own)
    fetches = download and kind != "wds"  # timm downloads no shards
    if root is not None and not fetches and not at_home(root).exists():
        raise UserError(f"root={root}: no such file or folder")
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    part = choice.part(split, tuple(own), f"dataset={dataset}")
    check_names(dataset, own)

    def samples_of(part: str) -> Samples:
        keys = {"input_key": image_key, "target_key": target_key}
        where = root if root is None or dataset not in FOLDERS else folder_of(dataset, root, part, own[part])
        opened = _opened(dataset, kind, where, own[part], download, keys)
        return _samples(opened, f"{dataset or root}:{own[part]}", labels, size)

    samples = samples_of(part)
    compared = part != "train" and (labels or kind not in READ_ONCE)
    train = samples_of("train") if compared else samples
    if compared:
        _check_apart(train, samples, own["train"], own[part])
    if labels and compared:
        if train.classes and samples.classes:
            check_classes(train.classes, samples.classes, f"dataset={dataset}: split {own[part]!r}")
        classes = train.classes or _numbered(train, num_classes, dataset)
    elif labels:
        classes = samples.classes or _numbered(samples, num_classes, dataset)
    else:
        classes = None
    if classes is not None and samples.labels is not None and (top := int(samples.labels.max())) >= len(classes):
        raise UserError(f"dataset={dataset}: {own[part]} has the label {top}, there are {len(classes)} classes")
    return assemble(f"timm {dataset}", split, part, _Named(samples, classes), choice)


@dataclass(frozen=True, eq=False)
class _Named:
    """Samples with class names that may come from another part."""

    samples: Samples
    classes: tuple[str, ...] | None

    @property
    def labels(self) -> Tensor | None:
        return self.samples.labels

    def __len__(self) -> int:
        return len(self.samples)

    def pixels(self, index: int) -> UInt8[Tensor, "3 y x"]:
        return self.samples.pixels(index)

    def where(self, index: int) -> str:
        return self.samples.where(index)

    def digest(self, indices: Tensor) -> bytes:
        return self.samples.digest(indices)

    def stamp(self, index: int) -> str:
        return self.samples.stamp(index)

    def encoded(self, index: int) -> bytes:
        return self.samples.encoded(index)


def _check_apart(train: Samples, other: Samples, train_split: str, name: str) -> None:
    """Raise a UserError if two splits share image files, or rows of a table."""
    if shared := sorted(_places(train) & _places(other)):
        raise UserError(f"split {name!r} shares {shared[0]} with {train_split!r}; what is trained on cannot measure")
    rows, others = _rows(train, train_split), _rows(other, name)
    if any(rows[table] & others[table] for table in rows.keys() & others.keys()):
        raise UserError(f"splits {train_split!r} and {name!r} share images; what is trained on cannot measure")


def _places(samples: Samples) -> set[str]:
    """Return what is the same for two names of one image: its path with links resolved, or device and inode.

    Samples that are neither files nor members of shards give nothing.
    """
    if isinstance(samples, ShardSamples):
        return set(map(samples.where, range(len(samples))))
    folders: dict[str, str] = {}
    places = set()
    for file in samples.files if isinstance(samples, MapSamples) else ():
        folder, name = os.path.split(file)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        found = os.stat(file)
        if found.st_nlink > 1:  # one file with several names
            places.add(f"{found.st_dev}:{found.st_ino}")
        else:
            places.add(os.path.realpath(file) if os.path.islink(file) else os.path.join(folders[folder], name))
    return places


def _rows(samples: Samples, split: str) -> dict[str, set[int]]:
    """Return, for each table of a Hugging Face dataset, the rows that a split such as "train[:80%]" selects."""
    table = getattr(samples.reader, "dataset", None) if isinstance(samples, MapSamples) else None
    info = getattr(table, "info", None)
    if info is None or not info.splits:
        return {}
    from datasets import ReadInstruction

    sizes = {name: part.num_examples for name, part in info.splits.items()}
    rows: dict[str, set[int]] = {}
    for part in ReadInstruction.from_spec(split).to_absolute(sizes):
        end = sizes[part.splitname] if part.to is None else part.to
        rows.setdefault(part.splitname, set()).update(range(part.from_ or 0, end))
    return rows


def _alone(folder: str) -> AbstractContextManager[object]:
    """Let one of several processes download into a folder while the others wait, where the folder can be written."""
    with suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        return nullcontext()
    return lock(Path(folder) / ".downloading.lock", wait=True)


def _opened(dataset: str, kind: str, root: str | None, split: str, download: bool, keys: dict[str, str | None]) -> Any:
    folder = None if root is None else os.path.abspath(at_home(root))  # webdataset takes others for URLs
    given: dict[str, Any] = {key: value for key, value in keys.items() if value is not None}
    if kind in ("torch", "") and given:
        raise UserError(f"{'image' if 'input_key' in given else 'target'}_key: dataset={dataset} has no such keys")
    if kind.startswith("hf") and "/" not in (name := dataset.partition("/")[2]) and not Path(name).exists():
        check_builder(dataset, name)
    from timm.data import create_dataset  # imported here because it takes seconds

    try:
        with _alone(folder) if download and folder and kind != "wds" else nullcontext():
            return create_dataset(dataset, folder, split, download=download, search_split=False, **given)
    except UserError:
        raise
    except Exception as error:  # libraries raise many kinds here; all concern what the recipe names
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"dataset={dataset} split={split}: timm cannot open it: {reason}") from None


# timm and torchvision declare no common type: create_dataset returns objects of many classes, and which attributes one
# has depends on its kind. This file therefore looks for them by name, and no other file does. It asks for:
#
#   dataset                 len(), dataset[index] -> (image, class), unless it is iterated; .reader only of timm's own
#   dataset of torchvision  .classes, .samples (folders: path, class) and .targets, ._labels or .labels
#   reader of timm          reader[index] -> (open file, class), .filename(index), .class_to_idx, and of
#     a folder              .samples (path, class)
#     a tar                 .targets, .cache_tarfiles
#     Hugging Face          .iter_targets(), .dataset (the table)
#     WebDataset            .split_info, .input_key, .target_key, .root
#     an iterated source    .dist_rank, .dist_num_replicas, .global_num_workers
#
# Classes that none of these gives are read with the images, one by one.


def _samples(opened: Any, origin: str, labels: bool, size: int | None) -> Samples:
    reader: Any = getattr(opened, "reader", None)
    if hasattr(reader, "split_info") and hasattr(reader, "_split_by_node_and_worker"):  # WebDataset
        return _shards(reader, origin, labels)
    if not hasattr(opened, "__getitem__") or isinstance(opened, torch.utils.data.IterableDataset):
        return _read_once(opened, origin, labels, size)
    if len(opened) == 0:
        raise UserError(f"{origin}: holds no images")
    if hasattr(reader, "cache_tarfiles"):
        reader.cache_tarfiles = False  # threads and workers would share the file position of an open tar
    names = getattr(opened, "classes", None) or _names(getattr(reader, "class_to_idx", None))
    targets = _checked(_targets(opened), origin) if labels else None
    return MapSamples(opened, targets, tuple(map(str, names)) if labels and names else None, origin)


@dataclass(frozen=True, eq=False)
class MapSamples:
    """A timm or torchvision dataset with random access."""

    dataset: Any
    labels: Int64[Tensor, " n"] | None
    classes: tuple[str, ...] | None
    origin: str

    def __len__(self) -> int:
        return len(self.dataset)

    @cached_property
    def reader(self) -> Any:
        """The reader of a dataset of timm; None for one of torchvision."""
        return getattr(self.dataset, "reader", None)

    def pixels(self, index: int) -> UInt8[Tensor, "3 y x"]:
        if self.reader is not None:  # not through timm's __getitem__, which hides damaged images
            return decode(lambda: self.encoded(index), self.where(index))
        try:
            image = self.dataset[index][0]
        except Exception as error:
            raise broken(self.where(index), error) from None
        return from_pillow(image, self.where(index))

    def where(self, index: int) -> str:
        if self.reader is not None and (name := self.reader.filename(index)):
            return f"{self.origin}/{name}"
        files = getattr(self.dataset, "samples", None)
        return str(files[index][0]) if files else f"{self.origin}[{index}]"

    def digest(self, indices: Tensor) -> bytes:
        digest = hashlib.blake2b(self.origin.encode())
        for index in indices.tolist():
            digest.update(f"{index}\x1f{Path(self.where(index)).name}\x1e".encode(errors="surrogateescape"))
        return digest.digest()

    def stamp(self, index: int) -> str:
        files = self.files
        return stamp_of(Path(files[index])) if files else ""

    def encoded(self, index: int) -> bytes:
        return self.pixels(index).numpy().tobytes() if self.reader is None else _closed(self.reader[index][0])

    @cached_property
    def files(self) -> list[str]:
        """Image files of a folder; empty for any other dataset."""
        return _files_of(self.dataset)


def _files_of(dataset: Any) -> list[str]:
    """Return the image files of a folder that timm or torchvision opened; an empty list for any other dataset."""
    samples = getattr(getattr(dataset, "reader", dataset), "samples", ())
    files = [file for file, *_ in samples if isinstance(file, str) and os.path.isabs(file)]
    return files if len(files) == len(samples) else []


def _closed(file: Any) -> bytes:
    with file:
        return file.read()


def _targets(dataset: Any) -> Iterable[Any]:
    """Return the classes of a dataset without decoding an image."""
    reader: Any = getattr(dataset, "reader", None)
    if hasattr(reader, "iter_targets"):  # Hugging Face
        return reader.iter_targets()
    if hasattr(reader, "targets"):  # tars
        return reader.targets
    if hasattr(reader, "samples"):  # folders
        return [target for _, target in reader.samples]
    for attribute in ("targets", "_labels", "labels"):
        if hasattr(dataset, attribute):
            return getattr(dataset, attribute)
    return (dataset[index][1] for index in range(len(dataset)))


def _checked(targets: Iterable[Any], origin: str) -> Int64[Tensor, " n"]:
    """Return class numbers as a tensor, after checking that each is a whole number >= 0."""
    numbers = []
    for place, target in enumerate(targets):
        if isinstance(target, Tensor) and target.ndim:  # QMNIST: class first, then provenance
            target = target[0]
        try:
            number = operator.index(target)
        except (TypeError, ValueError):
            number = -1
        if number < 0:
            raise UserError(f"{origin}[{place}] has no class ({target!r}); labels=false reads unlabelled images")
        numbers.append(number)
    return torch.tensor(numbers, dtype=torch.int64)


def _names(class_to_idx: dict[Any, int] | None) -> list[str] | None:
    return [str(name) for name in sorted(class_to_idx, key=class_to_idx.__getitem__)] if class_to_idx else None


def _numbered(train: Samples, num_classes: int | None, dataset: str) -> tuple[str, ...]:
    assert train.labels is not None
    count = num_classes or int(train.labels.max()) + 1
    if int(train.labels.max()) >= count:
        raise UserError(f"num_classes={num_classes}: dataset={dataset} has the label {int(train.labels.max())}")
    return tuple(map(str, range(count)))


def _shards(reader: Any, origin: str, labels: bool) -> ShardSamples:
    shards = tuple(Path(reader.root) / name for name in reader.split_info.filenames)
    target_key = reader.target_key or reader.split_info.alt_label or None
    keys = dict.fromkeys(reader.input_key.split(";"))
    if "jpg" in keys:
        keys["jpeg"] = None  # some shards mix the two names of this format
    entries, targets = index_shards(shards, list(keys), target_key, labels)
    names = tuple(_names(reader.class_to_idx) or ()) or None if labels else None
    if not entries:
        raise UserError(f"{origin}: holds no images")
    return ShardSamples(shards, entries, torch.tensor(targets) if labels else None, names)


def _read_once(opened: Any, origin: str, labels: bool, size: int | None) -> ArraySamples:
    """Read a source without random access into memory; each image is resized as soon as it is read."""
    reader = opened.reader
    reader.dist_rank, reader.dist_num_replicas, reader.global_num_workers = 0, 1, 1  # every process reads all of it
    frame = None if size is None else Frame(size, resize=True)
    images: list[Tensor] = []
    targets: list[Any] = []
    for image, target in opened:
        where = f"{origin}[{len(images)}]"
        pixels = from_pillow(image, where) if isinstance(image, Image.Image) else torch.as_tensor(image)
        frame = frame or Frame.native(pixels, where)
        images.append(frame.fit(pixels, where))
        targets.append(target)
        if len(images) * images[0].numel() > READ_ONCE_BYTES:
            raise UserError(f"{origin}: has no random access and more than 8 GiB; use hfds/ or wds/, or a smaller size")
    if not images:
        raise UserError(f"{origin}: holds no images")
    names = _names(getattr(reader, "class_to_idx", None)) if labels else None
    numbers = _checked(targets, origin) if labels else None
    return ArraySamples(torch.stack(images), numbers, tuple(names) if names else None, origin)
