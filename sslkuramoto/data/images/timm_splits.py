"""Which folder or part of a dataset of timm a split is; what is not there is refused.

Where timm finds no folder of the name it takes the whole root, and torchvision's sets of two parts take every name but
"train" for the test images.
"""

import os
from pathlib import Path

from sslkuramoto.errors import UserError, unknown

FOLDERS = ("", "torch/image_folder", "torch/folder")
TWO_PARTS = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist")
"""Sets of torchvision that know training images and others."""
TRAINING = ("train", "training")
MEASURING = ("val", "valid", "validation", "eval", "evaluation", "test")


def check_names(dataset: str, own: dict[str, str]) -> None:
    """Raise a UserError where two splits are one, or a split is none that the dataset tells from others."""
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
        UserError: there is none, or ``root`` is a tar itself.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UserError(f"root={root}: a tar holds one split; give the folder in which {name}.tar lies, or unpack it")
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
    """Raise a UserError for a loader of files in place of a dataset: without files it reads the working directory."""
    try:
        from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as loaders
    except ImportError:
        return  # timm says what is missing
    if name in loaders:
        raise UserError(
            f"dataset={dataset}: {name} is a loader of files and would read the working directory; for images in"
            f" folders use name=image_folder, or dataset={dataset.partition('/')[0]}/FOLDER"
        )
