"""Pascal VOC with masks of instances and of classes. The layout of the published archive is

    JPEGImages/ID.jpg    SegmentationObject/ID.png    SegmentationClass/ID.png    ImageSets/Segmentation/{train,val}.txt

Source: Everingham et al. 2010, The Pascal Visual Object Classes (VOC) Challenge. Borders of objects are ignored.
"""

import re
from itertools import chain
from typing import Annotated, Literal

from sslkuramoto.data.images.files import ImageFiles, open_files
from sslkuramoto.data.images.readers import FileSamples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, SplitSeed
from sslkuramoto.data.scenes.mask_files import FileMasks, check_inside
from sslkuramoto.data.scenes.scene_set import SceneSet, chosen_scenes
from sslkuramoto.errors import UserError
from sslkuramoto.examples import CLASSES, INSTANCES
from sslkuramoto.values import Count, Mark, Place, Side, checked

_LISTS = {"train": "train", "test": "val"}
"""Part -> list of the archive, whose own test images have no masks."""


@checked
def voc(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    size: Side = 256,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: SplitSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> SceneSet:
    """Return Pascal VOC with masks of instances and of classes, from the unpacked archive.

    Args:
        split: "train", "val" (with ``holdout``) or "test" (the list ``val`` of the archive, as in papers).
        root: folder with JPEGImages, SegmentationObject, SegmentationClass and ImageSets, or one that holds it.
        size: side in pixels to which images are resized and centre-cropped.

    Raises:
        UserError: another layout, a missing image or mask, a damaged file, or a mask of another size than its image.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    part = choice.part(split, ("train", "test"), f"root={root}")
    files = open_files(root)
    folder, ids = _listed(files, _LISTS[part])
    names = tuple(f"{folder}JPEGImages/{each}.jpg" for each in ids)
    masks = tuple((f"{folder}SegmentationObject/{each}.png", f"{folder}SegmentationClass/{each}.png") for each in ids)
    known = set(files.names)
    if missing := [name for name in (*names, *chain.from_iterable(masks)) if name not in known]:
        raise UserError(f"{files.where(missing[0])}: is missing, though the list names it")
    check_inside(files, [*names, *chain.from_iterable(masks)])
    samples = FileSamples(files, names, None, None)
    found = FileMasks(files, names, masks, (INSTANCES, CLASSES))
    return chosen_scenes("voc", split, part, samples, found, choice, files.notes)


def _listed(files: ImageFiles, name: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder of the archive, and the ids of one of its lists."""
    ending = f"ImageSets/Segmentation/{name}.txt"
    lists = [path for path in files.unread if path == ending or path.endswith(f"/{ending}")]
    if len(lists) != 1:
        found = f"{len(lists)} of them: {', '.join(lists)}; give one year as root" if lists else "none"
        raise UserError(f"root={files.root}: must hold one {ending}, found {found}")
    check_inside(files, lists)
    where = files.where(lists[0])
    try:
        ids = tuple(files.read(lists[0]).decode().split())
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{where}: cannot be read as a list of names") from None
    if odd := [each for each in ids if not re.fullmatch(r"[\w-]+", each)]:
        raise UserError(f"{where}: {odd[0]!r} is no name of an image")
    if not ids:
        raise UserError(f"{where}: names no image")
    return lists[0].removesuffix(ending), ids
