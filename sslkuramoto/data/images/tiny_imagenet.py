"""Tiny-ImageNet: 100,000 training and 10,000 validation images of 64x64 pixels in 200 classes. The archive's layout is

    train/WNID/images/WNID_0.JPEG    val/images/val_0.JPEG    val/val_annotations.txt (file, WNID, box)

Source: Stanford CS231N (2015). Its test images have no labels. The validation images serve as "test", as in papers.
"""

from typing import Annotated, Literal

import torch

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.files import ImageFiles, open_files
from sslkuramoto.data.images.image_folder import check_classes, class_folders
from sslkuramoto.data.images.image_set import ImageSet, own_side
from sslkuramoto.data.images.readers import FileSamples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, SplitSeed
from sslkuramoto.errors import UserError
from sslkuramoto.values import Count, Mark, Place, Side, checked

ARCHIVE = "tiny-imagenet-200.zip"
URL = f"http://cs231n.stanford.edu/{ARCHIVE}"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


@own_side(64)
@checked
def tiny_imagenet(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    size: Side | None = None,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: SplitSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return Tiny-ImageNet from its archive, or from the unpacked folder. Its classes are WordNet ids.

    Args:
        split: "train", "val" (with ``holdout``) or "test" (the validation images of the archive).
        root: the archive ``tiny-imagenet-200.zip``, or the unpacked folder ``tiny-imagenet-200/``.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    part = choice.part(split, ("train", "test"), "the tiny_imagenet data")
    files = open_files(root)
    if not any(name.startswith("train/") for name in files.names):
        raise UserError(f"root={root}: no folder 'train' with images in it, so this is not the layout of {ARCHIVE}")
    train, notes = class_folders(files, {"train": "train"}, "train")
    test = _annotated(files, train.classes or ())
    return assemble("tiny_imagenet", split, part, train if part == "train" else test, choice, (*files.notes, *notes))


def _annotated(files: ImageFiles, classes: tuple[str, ...]) -> FileSamples:
    """Return the validation images with the labels of ``val/val_annotations.txt``."""
    path = "val/val_annotations.txt"
    try:
        lines = files.read(path).decode().splitlines()
    except (OSError, KeyError, UnicodeDecodeError):
        raise UserError(
            f"root={files.root}: no readable {path}; where val/ holds class folders use name=image_folder"
        ) from None
    wnid = {f"val/images/{fields[0]}": fields[1] for line in lines if len(fields := line.split("\t")) > 1}
    names = tuple(name for name in files.names if name.startswith("val/images/"))
    if astray := [name for name in names if name not in wnid]:
        raise UserError(f"root={files.root}: {path} does not name {astray[0]}")
    if absent := sorted(wnid.keys() - set(names)):
        raise UserError(f"root={files.root}: {path} names {absent[0]}, which is missing")
    check_classes(classes, tuple(sorted(set(wnid.values()))), f"root={files.root}: {path}")
    return FileSamples(files, names, torch.tensor([classes.index(wnid[name]) for name in names]), classes)
