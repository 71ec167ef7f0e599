"""Images in class folders, as a folder tree or a zip: ``{train,val,test}/CLASS/**/image``, or ``CLASS/**/image``.

Labels index the sorted class names of the training images, as in torchvision's ImageFolder; classes of the other splits
are matched by name. For pretraining, ``labels=false`` reads all images, with or without class folders, and chooses by
the same folders: what a run without labels keeps back, a measurement with labels finds kept back.
"""

from pathlib import PurePosixPath
from typing import Annotated, Literal
from unicodedata import normalize

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.files import PICTURES, SPLIT_FOLDERS, ImageFiles, open_files, split_of
from sslkuramoto.data.images.image_set import ImageSet
from sslkuramoto.data.images.readers import FileSamples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, UnseenSeed, share_aside
from sslkuramoto.errors import UserError
from sslkuramoto.values import Count, Mark, Place, ShareBelowOne, Side, checked


@checked
def image_folder(
    split: str,
    *,
    root: Place,
    labels: bool = True,
    val_share: Annotated[ShareBelowOne, Mark.UNSEEN] = 0.0,
    size: Side | None = None,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: UnseenSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return the images of one split of a folder tree or zip.

    "train" is the folder ``train``. "test" is the folder ``test``, or ``val`` if there is no ``test`` (the layout of
    ImageNet). "val" is the share ``holdout`` of the training images, or ``val`` if there is also a ``test``.

    Args:
        split: "train", "val" or "test".
        root: folder tree or zip with ``{train,val,test}/CLASS/image`` or ``CLASS/image``.
        labels: whether folders are classes (false: unlabelled images; without a folder train, all are for training).
            Shares and limits are of the folders in either case; images outside of folders then count as one more.
        val_share: share of every class that is set aside at random (by ``split_seed``) as "test"; only for a tree
            without a folder train.

    Raises:
        UserError: the root cannot be read, lacks the split, or has another layout; two splits share a file; or
            ``val_share`` leaves no image of a class for training.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    files = open_files(root)
    folders = split_folders(files, labels, val_share)
    part = choice.part(split, tuple(folders), f"root={root}")
    if labels:
        samples, notes = class_folders(files, folders, part)
    else:
        check_apart(files, {name: loose_images(files, folder).names for name, folder in folders.items() if folder})
        samples, notes = loose_images(files, folders[part]), ()
    strata = _folders_of(samples.names, folders[part])
    if val_share:
        aside = share_aside(len(samples), strata, val_share, split_seed)
        notes += _sides(samples, aside, f"val_share={val_share}")
        kept = aside if part == "test" else ~aside
        samples, strata = samples.only(kept), strata[kept]
    return assemble("image_folder", split, part, samples, choice, (*files.notes, *notes), strata)


def split_folders(files: ImageFiles, labels: bool, val_share: float = 0.0) -> dict[str, str]:
    """Return the folder of each split; an empty name is the root itself."""
    tops = sorted({name.partition("/")[0] for name in files.names if "/" in name})
    folders: dict[str, str] = {}
    for split in SPLIT_FOLDERS:
        found = [top for top in tops if split_of(top) == split]
        if len(found) > 1:
            raise UserError(
                f"root={files.root}: both {found[0]!r} and {found[1]!r} are folders for {split!r}; rename one"
            )
        if found:
            folders[split] = found[0]
    if "train" in folders and val_share:
        raise UserError(f"val_share={val_share}: root={files.root} has a folder 'train'; write data.val_share=0")
    if "train" not in folders:
        if val_share and not folders:
            return {"train": "", "test": ""}
        if labels:
            raise UserError(
                f"root={files.root}: no folder 'train' in it (found: {_few(tops) or 'images only'}); must hold"
                " {train,test}/CLASS/image, or CLASS/image with val_share=0.2 to keep a fifth of the images for"
                " measuring; unlabelled images can be pretrained on with labels=false"
            )
        if not folders:
            return {"train": ""}
    if "val" in folders and "test" not in folders:
        folders["test"] = folders.pop("val")
    return folders


def class_folders(files: ImageFiles, folders: dict[str, str], part: str) -> tuple[FileSamples, tuple[str, ...]]:
    """Return the labelled images of one part, and notes on all parts, which are checked together.

    Raises:
        UserError: an image is outside the class folders; a class is not among those of the training images; no picture
            of a class can be read; or two parts share a file.
    """
    names = {name: loose_images(files, folder).names for name, folder in folders.items()}
    found, notes = {}, []
    for name, folder in folders.items():
        level = 2 if folder else 1
        loose = [image for image in names[name] if image.count("/") < level]
        if loose and len(loose) == len(names[name]) and name not in ("train", part):
            notes.append(f"folder {folder!r} has no class folders: its images have no labels")
            continue
        if loose:
            raise UserError(f"{files.where(loose[0])} is in no class folder; labels=false reads unlabelled images")
        found[name] = tuple(sorted({image.split("/")[level - 1] for image in names[name]}))
        notes += _unread_classes(files, folder, found[name])
    classes = found["train"]
    for name, others in found.items():
        where = f"root={files.root}: folder {folders[name]!r}"
        if surplus := sorted(set(others) - set(classes)):
            raise UserError(
                f"{where} has classes that the training images lack: {_few(surplus)}{_alike(surplus, classes)}"
            )
        if lacking := sorted(set(classes) - set(others)):
            notes.append(f"folder {folders[name]!r} lacks classes of the training images: {_few(lacking)}")
    check_apart(files, {name: names[name] for name in names if folders[name]})
    place = {name: index for index, name in enumerate(classes)}
    level = 1 if folders[part] else 0
    labels = torch.tensor([place[name.split("/")[level]] for name in names[part]])
    return FileSamples(files, names[part], labels, classes), tuple(dict.fromkeys(notes))  # one folder may be both parts


def loose_images(files: ImageFiles, folder: str) -> FileSamples:
    """Return all images below ``folder``, without labels."""
    prefix = f"{folder}/" if folder else ""
    return FileSamples(files, tuple(name for name in files.names if name.startswith(prefix)), None, None)


def check_classes(train: tuple[str, ...], other: tuple[str, ...], where: str) -> None:
    """Raise a UserError if ``other`` are not the classes of the training images."""
    if surplus := sorted(set(other) - set(train)):
        raise UserError(f"{where} has classes that the training images lack: {_few(surplus)}{_alike(surplus, train)}")
    if lacking := sorted(set(train) - set(other)):
        raise UserError(f"{where} lacks classes of the training images: {_few(lacking)}")


def check_apart(files: ImageFiles, parts: dict[str, tuple[str, ...]]) -> None:
    """Raise a UserError if two parts contain the same file through links."""
    if len(parts) < 2:
        return
    owner: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if owner.setdefault(files.real(name), part) != part:
                raise UserError(
                    f"root={files.root}: {files.where(name)} is also an image of {owner[files.real(name)]!r};"
                    " what is trained on cannot measure"
                )


def _folders_of(names: tuple[str, ...], folder: str) -> Int64[Tensor, " n"]:
    """Return the number of the folder below ``folder`` in which each image is; those in none have one of their own."""
    level = 1 if folder else 0
    inner = [name.split("/")[level] if name.count("/") > level else "" for name in names]
    number = {name: index for index, name in enumerate(sorted(set(inner)))}
    return torch.tensor([number[name] for name in inner])


def _sides(samples: FileSamples, aside: Bool[Tensor, " n"], option: str) -> tuple[str, ...]:
    """Return a note on classes that the images set aside lack.

    Raises:
        UserError: all images of a class are set aside; or a file is on both sides through links.
    """
    train, test = samples.only(~aside), samples.only(aside)
    check_apart(samples.files, {"train": train.names, "test": test.names})
    if samples.classes is None or train.labels is None or test.labels is None:
        return ()
    trained, tested = set(train.labels.tolist()), set(test.labels.tolist())
    if surplus := sorted(tested - trained):
        few = _few([samples.classes[label] for label in surplus])
        raise UserError(f"{option}: sets all images of classes aside: {few}; take a smaller share")
    lacking = [samples.classes[label] for label in sorted(trained - tested)]
    return (f"{option}: the test lacks classes of the training images: {_few(lacking)}",) if lacking else ()


def _unread_classes(files: ImageFiles, folder: str, classes: tuple[str, ...]) -> list[str]:
    """Return a note on empty class folders; raise a UserError if a class holds only pictures that cannot be read."""
    prefix = f"{folder}/" if folder else ""
    empty, kinds = set(), {}
    for name in files.unread:
        label, slash, rest = name.removeprefix(prefix).partition("/")
        if not (name.startswith(prefix) and slash) or label in classes:
            continue
        if not rest:
            empty.add(label)
        elif (suffix := PurePosixPath(name).suffix.lower()) in PICTURES:
            kinds.setdefault(label, set()).add(suffix)
    for label, suffixes in sorted(kinds.items()):
        raise UserError(
            f"root={files.root}: no image of the class folder {prefix}{label} can be read: they are"
            f" {', '.join(sorted(suffixes))} files; convert them, or take the folder away"
        )
    return [f"passed over {len(empty)} empty class folders: {_few(sorted(empty))}"] if empty else []


def _alike(surplus: list[str], classes: tuple[str, ...]) -> str:
    """Return a hint at a name that differs in case, spaces or composition of accents alone."""
    known = {_plain(name): name for name in classes}
    for name in surplus:
        if (other := known.get(_plain(name))) is not None:
            return f"; {name!a} is almost {other!a} of the training images: rename one"
    return ""


def _plain(name: str) -> str:
    return normalize("NFKC", name).strip().casefold()


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
