"""Tiny trees in the published layouts of scenes with masks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(path: Path, seed: int, width: int = 20, height: int = 16) -> None:
    """Write a random image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path: Path, array: np.ndarray, *, palette: bool = False) -> None:
    """Write numbers as a grey image, or as places in a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array.astype(np.uint8))
    if palette:
        image = image.convert("P")
        image.putpalette([value for k in range(256) for value in (k, 255 - k, k)])
        image.putdata(array.flatten().tolist())
    image.save(path)


def two_objects(height: int = 16, width: int = 20) -> np.ndarray:
    """Return a mask: object 1 left of the middle, object 2 right of it, background above."""
    found = np.zeros((height, width), dtype=np.int64)
    found[height // 2 :, : width // 2] = 1
    found[height // 2 :, width // 2 :] = 2
    return found


def clevrtex(root: Path, variant: str = "full", count: int = 10) -> dict[str, Any]:
    for number in range(count):
        scene = root / f"clevrtex_{variant}" / str(number % 2) / f"CLEVRTEX_{variant}_{number:06d}"
        picture(scene.with_suffix(".png"), number)
        mask(scene.with_name(f"{scene.name}_flat.png"), two_objects(), palette=True)
        scene.with_suffix(".json").write_text("{}")
    return {"root": str(root), "variant": variant, "size": 8}


def npz(root: Path, **arrays: Any) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    for part, count in (("train", 5), ("val", 3), ("test", 4)):
        images = draw.random((count, 3, 16, 16), dtype=np.float32)
        labels = np.broadcast_to(two_objects(16, 16), (count, 16, 16)).copy()
        labels[:, 0, 0] = -1
        np.savez_compressed(root / f"toys_{part}.npz", **{"images": images, "labels": labels, **arrays})
    return {"root": str(root), "dataset": "toys"}


def voc(root: Path) -> dict[str, Any]:
    folder = root / "VOCdevkit" / "VOC2012"
    lists = {"train": ["2007_000001", "2007_000002", "2007_000003"], "val": ["2008_000001", "2008_000002"]}
    for name, ids in lists.items():
        place = folder / "ImageSets" / "Segmentation" / f"{name}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(ids) + "\n")
        for number, each in enumerate(ids):
            picture(folder / "JPEGImages" / f"{each}.jpg", number)
            instances = two_objects()
            instances[8, :] = 255  # a border
            mask(folder / "SegmentationObject" / f"{each}.png", instances, palette=True)
            mask(folder / "SegmentationClass" / f"{each}.png", np.where(instances == 2, 1, instances), palette=True)
    return {"root": str(root), "size": 8}


def coco(root: Path) -> dict[str, Any]:
    for part, count in (("train", 3), ("val", 2)):
        for number in range(count):
            picture(root / f"{part}2017" / f"{number:012d}.jpg", number)
        annotations = [
            {"image_id": 7, "category_id": 18, "iscrowd": 0, "segmentation": [[0, 8, 10, 8, 10, 16, 0, 16]]},
            {"image_id": 7, "category_id": 3, "iscrowd": 0, "segmentation": [[10, 8, 20, 8, 20, 16, 10, 16]]},
            {
                "image_id": 7,
                "category_id": 3,
                "iscrowd": 1,
                "segmentation": {"size": [16, 20], "counts": [0, 1, 319]},
            },
        ]
        content = {
            "images": [
                {"id": 7 + number, "file_name": f"{number:012d}.jpg", "height": 16, "width": 20}
                for number in range(count)
            ],
            "annotations": annotations,
            "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        }
        place = root / "annotations" / f"instances_{part}2017.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(content))
    return {"root": str(root), "size": 16}


LAYOUTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "clevrtex": clevrtex,
    "multi_object_npz": npz,
    "voc": voc,
    "coco": coco,
}
"""Source -> writes a tree and returns the options that read it."""
