"""A stranger's file in each place where scenes with masks, or pairs of images, are read."""

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from sslkuramoto.data import DATA
from sslkuramoto.report.related import related_of
from sslkuramoto.report.scenes import scenes_of
from sslkuramoto.results import Metric, Result


def put(path: Path, hostile: Path) -> None:
    """Move the hostile file, or whatever stands in its place, to where the package looks for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.rename(hostile, path)


def stored_scenes(hostile: Path, folder: Path) -> object:
    path = folder / "results" / "objects.json"
    put(folder / "results" / "images" / "objects.objects.safetensors", hostile)
    return scenes_of(Result({"a": Metric(0.5)}, {}, {}, "random", path=path))


def stored_pairs(hostile: Path, folder: Path) -> object:
    path = folder / "results" / "relations.json"
    put(folder / "results" / "images" / "relations.relations.safetensors", hostile)
    return related_of(Result({"a": Metric(0.5)}, {}, {}, "random", path=path))


def npz_of_scenes(hostile: Path, folder: Path) -> object:
    put(folder / "a_train.npz", hostile)
    return DATA.build("multi_object_npz", {"root": str(folder), "dataset": "a"}, "train")


def mask_of_a_scene(hostile: Path, folder: Path) -> object:
    scene = folder / "tree" / "CLEVRTEX_outd_000000"
    scene.parent.mkdir()
    Image.new("RGB", (8, 8)).save(f"{scene}.png")
    put(scene.with_name(f"{scene.name}_flat.png"), hostile)
    return DATA.build("clevrtex", {"root": str(scene.parent), "variant": "outd"}, "test")


def list_of_scenes(hostile: Path, folder: Path) -> object:
    (folder / "VOC" / "JPEGImages").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "VOC" / "JPEGImages" / "a.jpg")
    put(folder / "VOC" / "ImageSets" / "Segmentation" / "val.txt", hostile)
    return DATA.build("voc", {"root": str(folder)}, "test")


def annotations_of_scenes(hostile: Path, folder: Path) -> object:
    (folder / "tree" / "val2017").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "tree" / "val2017" / "a.jpg")
    put(folder / "tree" / "annotations" / "instances_val2017.json", hostile)
    return DATA.build("coco", {"root": str(folder / "tree")}, "test")


SCENES: dict[str, Callable[[Path, Path], object]] = {
    each.__name__: each
    for each in (stored_scenes, stored_pairs, npz_of_scenes, mask_of_a_scene, list_of_scenes, annotations_of_scenes)
}
"""Name -> reads the hostile file as that."""
