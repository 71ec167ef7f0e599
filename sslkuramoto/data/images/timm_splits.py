"""The folder or part of a timm dataset that a split names; a name that does not exist is refused.

The libraries do not refuse it. timm takes the whole root if there is no folder of the name, and torchvision's
sets of two parts return their test images for every name but "train".
"""

import os
import re
from math import prod

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.files import at_home

FOLDERS = ("", "torch/image_folder", "torch/folder")
TWO_PARTS = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist")
"""Datasets of torchvision with exactly two parts, training and test images."""
TRAINING = ("train", "training")
MEASURING = ("val", "valid", "validation", "eval", "evaluation", "test")
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*:|://|::")  # https://x, file:x, pipe:COMMAND; chains as zip::https://x
MOST_SHARDS = 100_000
"""Names of files that a split of a web dataset may stand for; all are listed in memory before any is looked for."""
_BRACES, _DONE = re.compile(r"\{([^{}]*)\}"), re.compile("\0(\\d+)\0")
_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?")
_SLICE = re.compile(r"\[[^\]]*\]")  # of a split, as in train[10:20]


def check_local(dataset: str, kind: str, root: str | None, own: dict[str, str]) -> None:
    """Raise a UserError if a name or folder is a URL or a command.

    The libraries behind timm open URLs (webdataset, datasets), run commands (``pipe:COMMAND`` of webdataset) and import
    code from the network (``NAMESPACE:NAME`` of TensorFlow Datasets).

    Args:
        dataset: name of the dataset in timm.
        kind: its prefix; folders, tars and ``torch/`` are only opened as files.
        root: folder of the data.
        own: names of the splits.
    """
    if kind in ("", "torch"):
        return
    if ":" in dataset:
        raise UserError(f"dataset={dataset}: must be {kind}/NAME without a colon, not a URL, command or namespace")
    splits = {f"{part}_split": _SLICE.sub("", name) for part, name in own.items()}
    for key, value in {"root": root or "", **splits}.items():
        if _SCHEME.search(value):
            shown = root if key == "root" else own[key.removesuffix("_split")]
            raise UserError(f"{key}={shown}: must be local, not a URL or a command")
    if kind != "wds":
        return
    if not at_home(root or "").is_dir():
        raise UserError(f"root={root}: no such folder; dataset={dataset} reads shards of a local folder")
    for part, name in own.items():
        if (count := shards_in(name)) > MOST_SHARDS:
            raise UserError(f"{part}_split={name}: names {count:,} shards; must be at most {MOST_SHARDS:,}")


def shards_in(name: str) -> int:
    """Return the number of file names that a name with braces stands for: ``{000..009}`` ten, ``{a,b}`` two."""

    def alternatives(match: re.Match[str]) -> str:
        first, last, step = found.groups() if (found := _RANGE.fullmatch(match[1])) else (None, None, None)
        if first is not None and last is not None and first.isalpha() == last.isalpha():
            ends = (ord(first), ord(last)) if first.isalpha() else (int(first), int(last))
            count = abs(ends[1] - ends[0]) // max(abs(int(step or 1)), 1) + 1
        else:
            count = sum(_all_of(item) for item in match[1].split(","))
        return f"\0{count}\0"

    while _BRACES.search(name):  # from the inside
        name = _BRACES.sub(alternatives, name)
    return _all_of(name)


def _all_of(name: str) -> int:
    return prod(map(int, _DONE.findall(name)))


def check_names(dataset: str, own: dict[str, str]) -> None:
    """Raise a UserError if two splits have the same name, or if the dataset does not know a name."""
    owner: dict[str, str] = {}
    for part, name in own.items():
        if (other := owner.setdefault(name, part)) != part:
            raise UserError(f"{part}_split={name!r}: is {other}_split={name!r} too; what is trained on cannot measure")
    if dataset.removeprefix("torch/") not in TWO_PARTS:
        return
    for part, name in own.items():
        if name not in (wanted := TRAINING if part == "train" else MEASURING):
            raise unknown(f"{part}_split of dataset={dataset}", name, wanted)


def folder_of(dataset: str, root: str, part: str, name: str) -> str:
    """Return the folder or tar in ``root`` that holds the split ``name``.

    Raises:
        UserError: there is none, or ``root`` is itself a tar.
    """
    top = at_home(root)
    if not top.is_dir():
        raise UserError(f"root={root}: a tar holds one split; give the folder of {name}.tar, or unpack it")
    same = next((group for group in (TRAINING, MEASURING[:-1]) if name in group), ())
    for candidate in (name, *same):
        for path in (top / candidate, top / f"{candidate}.tar"):
            if path.exists():
                return os.path.abspath(path)
    found = ", ".join(sorted(path.name for path in top.iterdir() if path.is_dir() and not path.name.startswith(".")))
    raise UserError(
        f"{part}_split={name!r}: no such folder in root={root} (found: {found or 'none'}); set {part}_split"
    )


def check_builder(dataset: str, name: str) -> None:
    """Raise a UserError for a file loader such as ``imagefolder``, which would read the working directory."""
    try:
        from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as loaders
    except ImportError:
        return  # timm reports that the package datasets is missing
    if name in loaders:
        raise UserError(
            f"dataset={dataset}: {name} is a loader of files and would read the working directory; for images in"
            f" folders use name=image_folder, or dataset={dataset.partition('/')[0]}/FOLDER"
        )
