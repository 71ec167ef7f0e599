"""Images in folders of classes, as a tree or a zip of one: ``{train,val,test}/CLASS/**/image``.

Labels are places in the sorted class names, as in torchvision's ImageFolder. For pretraining, ``labels=false`` takes
any images, in folders of classes or not.
"""

from typing import Annotated, Literal

import torch

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.files import SPLIT_FOLDERS, ImageFiles, open_files
from sslkuramoto.data.images.image_set import ImageSet
from sslkuramoto.data.images.readers import FileSamples
from sslkuramoto.data.images.subset import Choice
from sslkuramoto.errors import UserError
from sslkuramoto.values import Count, Mark, ShareBelowOne, checked


@checked
def image_folder(
    split: str,
    *,
    root: str,
    labels: bool = True,
    size: Count | None = None,
    limit: Count | None = None,
    limit_test: Count | None = None,
    holdout: ShareBelowOne = 0.0,
    split_seed: int = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return the images of one split of a tree or zip.

    "train" is the folder ``train``. "test" is ``test``, or ``val`` where there is no ``test`` (ImageNet's layout).
    "val" is the held-out share of the training images, or ``val`` where there is a ``test`` beside it.

    Args:
        split: "train", "val" or "test".
        root: the tree or zip; a lone folder at its top is descended into.
        labels: whether folders name classes. Without, and without a folder ``train``, all images are for training.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    files = open_files(root)
    folders = split_folders(files, labels)
    part = choice.part(split, tuple(folders), f"root={root}")
    samples = class_folders(files, folders, part) if labels else loose_images(files, folders[part])
    return assemble("image_folder", split, part, samples, choice)


def split_folders(files: ImageFiles, labels: bool) -> dict[str, str]:
    """Return which folder serves as "train", "val", "test"; the empty name is the whole root."""
    tops = sorted({name.partition("/")[0] for name in files.names if "/" in name})
    folders = {top: top for top in SPLIT_FOLDERS if top in tops}
    if "train" not in folders:
        if labels:
            raise UserError(
                f"root={files.root}: no folder 'train' in it (found: {_few(tops) or 'images only'});"
                " unlabelled images can be pretrained on with labels=false"
            )
        if not folders:
            return {"train": ""}
    if "val" in folders and "test" not in folders:
        folders["test"] = folders.pop("val")
    return folders


def class_folders(files: ImageFiles, folders: dict[str, str], part: str) -> FileSamples:
    """Return the labelled images of one part, after a look whether all parts have the classes of ``train``.

    Raises:
        UserError: images outside class folders; classes of two parts that differ.
    """
    found = {name: _classes_of(files, folder) for name, folder in folders.items()}
    for name, classes in found.items():
        check_classes(found["train"], classes, f"root={files.root}: folder {folders[name]!r}")
    classes = found["train"]
    place = {name: index for index, name in enumerate(classes)}
    names = loose_images(files, folders[part]).names
    labels = torch.tensor([place[name.split("/")[1]] for name in names])
    return FileSamples(files, names, labels, classes)


def loose_images(files: ImageFiles, folder: str) -> FileSamples:
    """Return all images below ``folder``, without labels."""
    prefix = f"{folder}/" if folder else ""
    return FileSamples(files, tuple(name for name in files.names if name.startswith(prefix)), None, None)


def check_classes(train: tuple[str, ...], other: tuple[str, ...], where: str) -> None:
    """Raise a UserError when ``other`` are not the classes of the training images."""
    if surplus := sorted(set(other) - set(train)):
        raise UserError(f"{where} has classes that the training images lack: {_few(surplus)}")
    if lacking := sorted(set(train) - set(other)):
        raise UserError(f"{where} lacks classes of the training images: {_few(lacking)}")


def _classes_of(files: ImageFiles, folder: str) -> tuple[str, ...]:
    classes = set()
    for name in loose_images(files, folder).names:
        parts = name.split("/")
        if len(parts) < 3:
            raise UserError(f"{files.where(name)} lies in no class folder; labels=false reads unlabelled images")
        classes.add(parts[1])
    return tuple(sorted(classes))


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
