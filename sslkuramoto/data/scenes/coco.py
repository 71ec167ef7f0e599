"""COCO with masks of instances and of classes, from its annotations. The layout of the published archives is

    {train,val}2017/*.jpg    annotations/instances_{train,val}2017.json

Source: Lin et al. 2014 (arXiv 1405.0312). Crowds, and pixels of several instances, are ignored; papers
differ in how they treat these. Shapes: y x pixels.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sslkuramoto.data.images.files import ImageFiles, open_files
from sslkuramoto.data.images.readers import FileSamples
from sslkuramoto.data.images.subset import Choice, Holdout, Limit, SplitSeed
from sslkuramoto.data.scenes.coco_regions import region
from sslkuramoto.data.scenes.mask_files import check_inside, upright_size
from sslkuramoto.data.scenes.scene_set import IGNORED, MOST_OBJECTS, Masks, SceneSet, chosen_scenes
from sslkuramoto.errors import UserError, one_line
from sslkuramoto.examples import CLASSES, INSTANCES
from sslkuramoto.values import Count, Mark, Place, Side, checked

_FOLDERS = {"train": "train", "test": "val"}
"""Part -> folder of the archive, whose own test images have no masks."""
_ODD = (KeyError, TypeError, ValueError, OverflowError, IndexError)


@checked
def coco(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    year: Literal["2014", "2017"] = "2017",
    size: Side = 256,
    limit: Limit = None,
    limit_test: Count | None = None,
    holdout: Holdout = 0.0,
    split_seed: SplitSeed = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> SceneSet:
    """Return COCO with masks of instances and of classes, from the unpacked archives.

    Args:
        split: "train", "val" (with ``holdout``) or "test" (the validation images of the archive, as in papers).
        root: folder with ``train2017``, ``val2017`` and ``annotations``.
        year: of the archives.
        size: side in pixels to which images are resized and centre-cropped.

    Raises:
        UserError: another layout, damaged annotations, a missing or damaged image, or regions that do not fit it.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    part = choice.part(split, ("train", "test"), f"root={root}")
    files = open_files(root, kept=[f"{each}{year}" for each in _FOLDERS.values()])
    folder = f"{_FOLDERS[part]}{year}"
    masks = _annotated(files, folder)
    check_inside(files, [*masks.images, masks.where])
    samples = FileSamples(files, masks.images, None, None)
    return chosen_scenes("coco", split, part, samples, masks, choice, files.notes)


@dataclass(frozen=True, eq=False)
class Regions(Masks):
    """Masks from the regions of annotations.

    Attributes:
        files: of the archive.
        images: the images, in order.
        found: annotations of each image.
        classes: id of a category -> number of its class, from 1.
        where: file of the annotations.
        content: hash of it.
    """

    files: ImageFiles
    images: tuple[str, ...]
    found: tuple[list[Mapping[str, Any]], ...]
    classes: Mapping[Any, int]
    where: str
    content: bytes
    names = (INSTANCES, CLASSES)

    def read(self, index: int) -> UInt8[Tensor, "m y x"]:
        height, width = upright_size(self.files, self.images[index])
        instances, classes = np.zeros((2, height, width), dtype=np.uint8)
        where = f"{self.files.where(self.where)}: annotations of {self.images[index]}"
        number = 0
        crowded = np.zeros((height, width), dtype=bool)
        for each in self.found[index]:
            try:
                here, category = region(each["segmentation"], height, width), self.classes[each["category_id"]]
                crowd = bool(each.get("iscrowd", 0))
            except _ODD as error:
                raise UserError(f"{where}: do not fit the image or are damaged: {one_line(error)}") from None
            if crowd:
                crowded |= here
                continue
            number += 1
            if number > MOST_OBJECTS:
                raise UserError(f"{where}: more than {MOST_OBJECTS} instances")
            taken = instances > 0
            classes[here & taken & (classes != category)] = IGNORED
            classes[here & ~taken] = category
            instances[here] = np.where(taken[here], IGNORED, number)
        for layer in (instances, classes):
            layer[crowded & (layer == 0)] = IGNORED
        return torch.from_numpy(np.stack([instances, classes]))

    def digest(self, indices: Tensor) -> bytes:
        return self.content + indices.numpy().tobytes()

    def stamp(self, index: int) -> str:
        return self.files.stamp(self.where)


def _annotated(files: ImageFiles, folder: str) -> Regions:
    """Return the images of a folder that the annotations name, with their regions."""
    ending = f"annotations/instances_{folder}.json"
    lists = [name for name in files.unread if name == ending or name.endswith(f"/{ending}")]
    if len(lists) != 1:
        raise UserError(f"root={files.root}: must hold one {ending}, found {len(lists)}")
    where = files.where(lists[0])
    try:
        text = files.read(lists[0])
        content = json.loads(text.decode())
        listed = {each["id"]: str(each["file_name"]) for each in content["images"]}
        found: dict[Any, list[Mapping[str, Any]]] = {image: [] for image in listed}
        for each in content["annotations"]:
            found[each["image_id"]].append(each)
        classes = {category: place for place, category in enumerate(sorted(c["id"] for c in content["categories"]), 1)}
    except (OSError, RecursionError, *_ODD) as error:
        raise UserError(f"{where}: cannot be read as annotations of instances: {one_line(error)}") from None
    if not listed or len(classes) > MOST_OBJECTS:
        raise UserError(f"{where}: names {len(listed)} images and {len(classes)} classes")
    places = {"/".join(name.split("/")[-2:]): name for name in files.names}
    order = sorted(listed, key=listed.__getitem__)
    names = [places.get(f"{folder}/{listed[image]}") for image in order]
    if missing := [listed[image] for image, name in zip(order, names, strict=True) if name is None]:
        raise UserError(f"{where}: names {missing[0]}, which is not in the folder {folder}")
    images = tuple(name for name in names if name is not None)
    return Regions(
        files, images, tuple(found[image] for image in order), classes, lists[0], hashlib.blake2b(text).digest()
    )
