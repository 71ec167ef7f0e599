"""Scenes in published layouts: which images, cropped and resized how, and one line for what does not fit."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene_trees
import torch
from PIL import Image
from scene_trees import mask, picture, two_objects

from sslkuramoto.data import DATA
from sslkuramoto.data.scenes.coco_regions import counts_of, filled, region, runs
from sslkuramoto.data.scenes.multi_object_npz import read_scenes
from sslkuramoto.data.scenes.scene_set import SceneSet
from sslkuramoto.errors import UserError


def built(name: str, options: dict[str, Any], split: str = "test") -> SceneSet:
    found = DATA.build(name, options, split)
    assert isinstance(found, SceneSet)
    return found


def everything(data: SceneSet) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    (batch,) = data.batches([torch.arange(len(data))], torch.device("cpu"), 0)
    return batch.inputs, dict(batch.extra)


def refused(name: str, options: dict[str, Any], split: str = "test") -> str:
    with pytest.raises(UserError) as caught:
        built(name, options, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_clevrtex_is_split_by_tenths_of_the_sorted_images(tmp_path: Path) -> None:
    options = scene_trees.clevrtex(tmp_path)
    assert [len(built("clevrtex", options, split)) for split in ("test", "val", "train")] == [1, 1, 8]
    outside = scene_trees.clevrtex(tmp_path, "outd", 4)
    assert len(built("clevrtex", outside)) == 4
    assert "has no train images, only test" in refused("clevrtex", outside, "train")
    assert "CLEVRTEX_camo_000000.png" in refused("clevrtex", {**options, "variant": "camo"})


def test_clevrtex_keeps_the_central_eight_tenths_of_the_short_side(tmp_path: Path) -> None:
    options = scene_trees.clevrtex(tmp_path, "outd", 1) | {"size": 12}  # of 16 rows, so nothing is resized
    images, extra = everything(built("clevrtex", options))
    stored = np.array(Image.open(tmp_path / "clevrtex_outd" / "0" / "CLEVRTEX_outd_000000.png"))[2:14, 4:16]
    np.testing.assert_array_equal((255 * images[0]).round().byte().permute(1, 2, 0).numpy(), stored)
    np.testing.assert_array_equal(extra["masks"][0].numpy(), two_objects()[2:14, 4:16])
    half = everything(built("clevrtex", options | {"size": 6}))[1]["masks"][0]
    assert set(half.unique().tolist()) == {0, 1, 2}
    assert half.shape == (6, 6)


def test_a_mask_in_colours_numbers_them_and_black_is_the_background(tmp_path: Path) -> None:
    options = scene_trees.clevrtex(tmp_path, "outd", 1) | {"size": 12}
    path = tmp_path / "clevrtex_outd" / "0" / "CLEVRTEX_outd_000000_flat.png"
    colours = np.array([(0, 0, 0), (9, 0, 0), (0, 0, 3)], dtype=np.uint8)
    Image.fromarray(colours[two_objects()]).save(path)
    found = everything(built("clevrtex", options))[1]["masks"][0].numpy()
    np.testing.assert_array_equal(found, np.array([0, 2, 1])[two_objects()[2:14, 4:16]])


def test_what_is_wrong_with_a_mask_is_one_line(tmp_path: Path) -> None:
    options = scene_trees.clevrtex(tmp_path, "outd", 1)
    path = tmp_path / "clevrtex_outd" / "0" / "CLEVRTEX_outd_000000_flat.png"
    mask(path, two_objects(8, 20))
    assert refused("clevrtex", options).endswith("is 20x8 pixels, its image 20x16: they do not match")
    path.write_bytes(path.read_bytes()[:40])
    assert "broken image" in refused("clevrtex", options)
    path.unlink()
    assert refused("clevrtex", options).endswith("_flat.png: the mask is missing")


def test_an_image_that_is_stored_turned_is_refused_since_its_mask_is_not(tmp_path: Path) -> None:
    options = scene_trees.voc(tmp_path)
    path = next(tmp_path.rglob("2008_000001.jpg"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    assert "is stored turned (EXIF orientation 6)" in refused("voc", options)


def test_a_link_to_a_place_outside_the_root_is_refused(tmp_path: Path) -> None:
    options = scene_trees.clevrtex(tmp_path / "data", "outd", 2)
    path = tmp_path / "data" / "clevrtex_outd" / "0" / "CLEVRTEX_outd_000000.png"
    shutil.move(path, tmp_path / "secret.png")
    os.symlink(tmp_path / "secret.png", path)
    assert "is a link to a place outside root=" in refused("clevrtex", options)
    os.symlink(tmp_path / "data", tmp_path / "link")
    path.unlink()
    shutil.move(tmp_path / "secret.png", path)
    assert len(built("clevrtex", {**options, "root": str(tmp_path / "link")})) == 2, "the root itself may be a link"


def test_voc_reads_its_lists_and_both_kinds_of_masks_and_ignores_borders(tmp_path: Path) -> None:
    options = scene_trees.voc(tmp_path) | {"size": 16}
    assert len(built("voc", options, "train")) == 3
    assert len(built("voc", options | {"holdout": 0.34}, "val")) == 1
    _, extra = everything(built("voc", options))
    wanted = two_objects()
    wanted[8] = -1
    np.testing.assert_array_equal(extra["masks"][0].numpy(), wanted[:, 2:18])
    np.testing.assert_array_equal(extra["class_masks"][0].numpy(), np.where(wanted == 2, 1, wanted)[:, 2:18])


def test_a_list_of_voc_can_name_nothing_outside_the_archive(tmp_path: Path) -> None:
    options = scene_trees.voc(tmp_path)
    place = next(tmp_path.rglob("val.txt"))
    place.write_text("../../../secret\n")
    assert "'../../../secret' is no name of an image" in refused("voc", options)
    place.write_text("2008_000009\n")
    assert "2008_000009.jpg: is missing, though the list names it" in refused("voc", options)
    place.write_text("")
    assert "names no image" in refused("voc", options)
    place.unlink()
    assert "must hold one ImageSets/Segmentation/val.txt, found none" in refused("voc", options)


def test_coco_paints_instances_and_classes_and_ignores_crowds(tmp_path: Path) -> None:
    options = scene_trees.coco(tmp_path)
    _, extra = everything(built("coco", options))
    wanted = two_objects()
    wanted[0, 0] = wanted[1, 0] = 0
    np.testing.assert_array_equal(extra["masks"][0].numpy(), wanted[:, 2:18])
    np.testing.assert_array_equal(extra["class_masks"][0].numpy(), np.array([0, 2, 1])[wanted][:, 2:18])
    assert not extra["masks"][1].any(), "an image without annotations holds no object"


def test_coco_needs_the_images_of_the_split_alone(tmp_path: Path) -> None:
    options = scene_trees.coco(tmp_path / "COCO")
    whole = built("coco", options).fingerprint
    shutil.rmtree(tmp_path / "COCO" / "train2017")
    assert built("coco", options).fingerprint == whole
    assert built("coco", {**options, "root": str(tmp_path)}).fingerprint == whole, "the folder around it does not count"


def test_pixels_of_two_instances_and_of_a_crowd_count_nowhere(tmp_path: Path) -> None:
    options = scene_trees.coco(tmp_path)
    place = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(place.read_text())
    square = [[0, 0, 20, 0, 20, 4, 0, 4]]
    crowd = {"size": [16, 20], "counts": [6, 2] + [14, 2] * 19 + [8]}  # rows 6 and 7
    content["annotations"] = [
        {"image_id": 7, "category_id": 3, "segmentation": square},
        {"image_id": 7, "category_id": 3, "segmentation": [[0, 2, 20, 2, 20, 4, 0, 4]]},
        {"image_id": 7, "category_id": 18, "segmentation": [[0, 3, 20, 3, 20, 4, 0, 4]]},
        {"image_id": 7, "category_id": 3, "iscrowd": 1, "segmentation": crowd},
    ]
    place.write_text(json.dumps(content))
    _, extra = everything(built("coco", options))
    assert extra["masks"][0][:, 5].tolist()[:9] == [1, 1, -1, -1, 0, 0, -1, -1, 0]
    assert extra["class_masks"][0][:, 5].tolist()[:9] == [1, 1, 1, -1, 0, 0, -1, -1, 0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("images"), "cannot be read as annotations of instances"),
        (lambda content: content["images"][0].update(file_name="../../secret.jpg"), "names ../../secret.jpg, which"),
        (lambda content: content["annotations"][0].update(image_id=99), "cannot be read as annotations"),
        (lambda content: content["annotations"][0].update(category_id=99), "do not fit the image or are damaged"),
        (lambda content: content["annotations"][0].update(segmentation=[["a"]]), "do not fit the image or are damaged"),
        (lambda content: content["annotations"][2]["segmentation"].update(size=[9, 9]), "do not fit the image"),
        (lambda content: content["annotations"][0].update(segmentation=[[1e308, -1e308, 0, 0, -1e308, 1e308]]), "far"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_annotations_that_do_not_fit_are_one_line(tmp_path: Path, change, said: str) -> None:
    options = scene_trees.coco(tmp_path)
    place = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(place.read_text())
    change(content)
    place.write_text(json.dumps(content))
    assert said in refused("coco", options)


def test_a_pixel_belongs_to_a_polygon_if_its_centre_does() -> None:
    assert filled([1, 1, 3, 1, 3, 2, 1, 2], 3, 4).astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    draw = np.random.default_rng(0)
    from matplotlib.path import Path as Outline

    for _ in range(5):
        corners = draw.uniform(-2, 12, (5, 2))
        centres = np.stack(np.meshgrid(np.arange(10) + 0.5, np.arange(8) + 0.5), axis=-1).reshape(-1, 2)
        hull = corners[np.argsort(np.arctan2(*(corners - corners.mean(axis=0)).T))]  # does not cross itself
        wanted = Outline(np.vstack([hull, hull[:1]])).contains_points(centres).reshape(8, 10)
        np.testing.assert_array_equal(filled(hull.flatten().tolist(), 8, 10), wanted)


def test_run_lengths_go_down_the_columns_and_their_text_says_the_same() -> None:
    found = runs([1, 2, 3, 1, 5], 3, 4)
    assert found.astype(int).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    # five bits a sign from "0" on: 1, 2, 3, then 1 - 2 = -1 and 5 - 3 = 2
    assert counts_of("123O2") == [1, 2, 3, 1, 5]
    np.testing.assert_array_equal(region({"size": [3, 4], "counts": "123O2"}, 3, 4), found)
    for text in ("\x00", "P", "PPPPPPPPPPPP1"):
        with pytest.raises(ValueError, match="run lengths"):
            counts_of(text)
    with pytest.raises(ValueError, match="12 pixels"):
        runs([1, 2], 3, 4)
    with pytest.raises(ValueError, match="from 0 to 12"):
        runs([2**63 - 1, 2**63 - 1, 2, 12], 3, 4)  # as 64-bit integers they add up to 12


def test_npz_scenes_are_read_as_floats_or_bytes_of_one_or_three_channels(tmp_path: Path) -> None:
    options = scene_trees.npz(tmp_path)
    images, extra = everything(built("multi_object_npz", options))
    stored = np.load(tmp_path / "toys_test.npz")
    np.testing.assert_allclose(images.numpy(), stored["images"], atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(extra["masks"].numpy(), stored["labels"])
    assert [len(built("multi_object_npz", options, split)) for split in ("train", "val", "test")] == [5, 3, 4]
    grey = (255 * stored["images"][:, :1]).astype(np.uint8)
    classes = np.where(stored["labels"] > 0, 3, stored["labels"]).astype(np.float32)
    np.savez(tmp_path / "toys_eval.npz", images=grey, labels=stored["labels"][:, None], pixelwise_class_labels=classes)
    images, extra = everything(built("multi_object_npz", options | {"test_file": "eval"}))
    np.testing.assert_array_equal((255 * images).round().byte().numpy(), np.repeat(grey, 3, axis=1))
    np.testing.assert_array_equal(extra["class_masks"].numpy(), classes.astype(int))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": np.ones((4, 3, 16, 16)) * 2}, "images hold values outside [0,1]"),
        ({"images": np.full((4, 3, 16, 16), np.nan)}, "images hold values outside [0,1]"),
        ({"images": np.ones((4, 16, 16, 3))}, "must be (n, 3, y, x) or (n, 1, y, x)"),
        ({"images": np.ones((4, 3, 16, 16), dtype=np.int64)}, "must be floats in [0,1] or uint8"),
        ({"labels": np.ones((4, 16, 15), dtype=int)}, "do not match"),
        ({"labels": np.ones((3, 16, 16), dtype=int)}, "do not match"),
        ({"labels": np.full((4, 16, 16), 0.5)}, "no whole numbers from -1 to 254"),
        ({"labels": np.full((4, 16, 16), 300)}, "no whole numbers from -1 to 254"),
        ({"pixelwise_class_labels": np.ones((4, 8, 8), dtype=int)}, "do not match"),
        ({"images": np.array([{}], dtype=object)}, "Python objects, which are never opened"),
    ],
)
def test_what_is_wrong_with_an_npz_is_one_line(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    options = scene_trees.npz(tmp_path)
    kept = dict(np.load(tmp_path / "toys_test.npz"))
    np.savez(tmp_path / "toys_test.npz", **(kept | arrays))
    assert said in refused("multi_object_npz", options)


def test_an_npz_that_is_cut_off_or_lacks_an_array_is_one_line(tmp_path: Path) -> None:
    options = scene_trees.npz(tmp_path)
    path = tmp_path / "toys_test.npz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "damaged, or no npz file" in refused("multi_object_npz", options)
    np.savez(path, images=np.zeros((1, 3, 4, 4)))
    assert "lacks the array 'labels'; has images" in refused("multi_object_npz", options)
    assert "must be a plain name" in refused("multi_object_npz", options | {"dataset": "../toys"})
    assert "no file other_test.npz" in refused("multi_object_npz", options | {"dataset": "other"})


def test_a_large_array_is_converted_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene_trees.npz(tmp_path)
    whole = read_scenes(tmp_path / "toys_train.npz")
    monkeypatch.setattr("sslkuramoto.data.scenes.multi_object_npz._AT_ONCE", 16 * 16 * 3 * 4 * 2)
    for one, other in zip(whole[:2], read_scenes(tmp_path / "toys_train.npz")[:2], strict=True):
        assert torch.equal(one, other)


def test_unlabelled_folders_of_images_serve_for_pretraining_on_imagenet(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "train" / f"n{number % 2:08d}" / f"{number}.JPEG", number)
    data = DATA.build("image_folder", {"root": str(tmp_path), "labels": False, "size": 8}, "train")
    assert len(data) == 4
    assert data.spec.num_classes is None
