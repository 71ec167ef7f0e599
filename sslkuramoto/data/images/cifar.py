"""CIFAR-10 and CIFAR-100, from the original archives or from the same images as a folder tree or zip.

Source: A. Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images. The archives hold pickles, which
only torchvision opens, after its md5 check. A tree of JPEG images is close to the original but not equal.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.files import open_files
from sslkuramoto.data.images.image_folder import class_folders, split_folders
from sslkuramoto.data.images.image_set import ImageSet, own_side
from sslkuramoto.data.images.readers import ArraySamples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, SplitSeed
from sslkuramoto.errors import UserError
from sslkuramoto.files import at_home, lock
from sslkuramoto.values import Count, Mark, Place, Side, checked

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

_LOCK = ".unpacking.lock"  # held while a process unpacks or downloads


@own_side(32)
@checked
def cifar10(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    download: Annotated[bool, Mark.INCIDENTAL] = False,
    size: Side | None = None,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: SplitSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels in 10 classes.

    Args:
        split: "train", "val" (with ``holdout``) or "test".
        root: folder that holds the archive (``cifar-10-python.tar.gz``, packed or unpacked), or a folder tree or zip
            with ``{train,test}/CLASS/image``.
        download: whether to download the archive into root if it is missing.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    from torchvision.datasets import CIFAR10  # slow to load: it loads torch's compiler

    return _cifar("cifar10", CIFAR10, 10, split, root, download, choice)


@own_side(32)
@checked
def cifar100(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    download: Annotated[bool, Mark.INCIDENTAL] = False,
    size: Side | None = None,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: SplitSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> ImageSet:
    """Return CIFAR-100 (fine labels): 50,000 training and 10,000 test images of 32x32 pixels in 100 classes.

    Args:
        root: folder that holds the archive (``cifar-100-python.tar.gz``, packed or unpacked), or a folder tree or zip
            with ``{train,test}/CLASS/image``.

    The other options are those of :func:`cifar10`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    from torchvision.datasets import CIFAR100  # slow to load: it loads torch's compiler

    return _cifar("cifar100", CIFAR100, 100, split, root, download, choice)


def _cifar(
    name: str, original: "type[CIFAR10]", num_classes: int, split: str, root: str, download: bool, choice: Choice
) -> ImageSet:
    path = at_home(root)
    if path.name in (original.filename, original.base_folder):
        path = path.parent  # the archive itself was named
    if download or (path / original.filename).exists() or (path / original.base_folder).exists():
        part = choice.part(split, ("train", "test"), name)
        return assemble(name, split, part, open_archive(original, path, part, download), choice)
    if path.is_dir() and all(item.name == _LOCK for item in path.iterdir()):
        raise UserError(f"root={root}: is empty; download=true fetches {original.filename}")
    files = open_files(root)
    folders = split_folders(files, labels=True)
    part = choice.part(split, tuple(folders), f"root={root}")
    samples, notes = class_folders(files, folders, part)
    if (found := len(samples.classes or ())) != num_classes:
        raise UserError(f"root={root}: holds {found} classes, {name} has {num_classes}; other trees: name=image_folder")
    return assemble(name, split, part, samples, choice, (*files.notes, *notes))


def open_archive(original: "type[CIFAR10]", root: Path, part: str, download: bool) -> ArraySamples:
    """Return one part of the archive in ``root``, which is downloaded and unpacked if needed; its md5 sums are checked.

    Raises:
        UserError: a checksum is wrong, the download failed, or ``root`` cannot be written.
    """
    try:
        if download:
            root.mkdir(parents=True, exist_ok=True)
        if not _is_whole(original, root):
            with lock(root / _LOCK, wait=True):  # one of several processes unpacks, the others wait
                _unpack(original, root, download)
        data = original(str(root), train=part == "train")
    except (OSError, RuntimeError, EOFError) as error:
        task = f"download of {original.url} failed" if download else f"{original.filename} cannot be opened"
        raise UserError(f"root={root}: {task}: {' '.join(str(error).split())}") from None
    images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return ArraySamples(images, torch.tensor(data.targets), tuple(data.classes), f"{original.base_folder} {part}")


def _is_whole(original: "type[CIFAR10]", root: Path) -> bool:
    """Return whether every unpacked file exists and has the correct md5 sum."""
    from torchvision.datasets.utils import check_integrity

    files = [*original.train_list, *original.test_list]
    return all(check_integrity(root / original.base_folder / file, md5) for file, md5 in files)


def _unpack(original: "type[CIFAR10]", root: Path, download: bool) -> None:
    """Download the archive if requested and unpack it, unless another process has done so in the meantime."""
    from torchvision.datasets.utils import check_integrity

    if _is_whole(original, root):
        return
    packed = root / original.filename
    if not download and not packed.exists():
        raise UserError(
            f"root={root}: a file in {original.base_folder} is missing or has the wrong checksum;"
            f" put {original.filename} beside it or set download=true"
        )
    if not download and not check_integrity(packed, original.tgz_md5):
        raise UserError(
            f"root={root}: {original.filename} has the wrong checksum (damaged or cut off); download=true"
            " fetches it anew"
        )
    original(str(root), download=True)  # with the right archive in place torchvision only unpacks it
