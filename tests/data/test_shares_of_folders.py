"""Images that one folder holds for both splits: the share that is set aside, and the choice without labels."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from folders_of_images import build, fault, images_of


def test_class_folders_alone_are_split_by_a_share_of_every_class(tree: Path) -> None:
    flat = (tree / "train").rename(tree.parent / "pictures")
    assert "must hold {train,test}/CLASS/image, or CLASS/image with val_share=0.2" in fault(flat)
    train, test = (build(flat, split, val_share=0.25) for split in ("train", "test"))
    assert train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert test.labels.tolist() == [0, 1, 2]
    whole = {image.numpy().tobytes() for image in images_of(build(flat, labels=False))}
    parts = [{image.numpy().tobytes() for image in images_of(part)} for part in (train, test)]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == whole
    assert not torch.equal(images_of(test), images_of(build(flat, "test", val_share=0.25, split_seed=1)))
    assert len(build(flat, "test", val_share=0.25, labels=False)) == 3
    assert len(build(flat, "val", val_share=0.25, holdout=0.34)) == 3
    assert "val_share=0.01: sets aside 0 of 12 images" in fault(flat, val_share=0.01)


@pytest.fixture
def uneven(tmp_path: Path, write_tree: Callable[..., Path]) -> Path:
    """Class folders of 2 to 11 images, some of them deeper than their class."""
    names = {f"{number}/{'in/' * (i % 2)}{i}.png": (8, 8) for number in range(10) for i in range(number + 2)}
    return write_tree(tmp_path / "uneven", names)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_images_without_labels_are_divided_and_chosen_as_those_with(uneven: Path, split: str, seed: int) -> None:
    options = {"val_share": 0.3, "holdout": 0.2, "limit": 33, "limit_test": 13, "split_seed": seed}
    named, unnamed = (build(uneven, split, labels=labels, **options) for labels in (True, False))
    assert (len(named), unnamed.labels) == ({"train": 26, "val": 7, "test": 13}[split], None)
    assert torch.equal(images_of(named), images_of(unnamed))


def test_folders_without_labels_are_chosen_from_as_class_folders(tree: Path) -> None:
    for split, option in (("train", "limit"), ("test", "limit_test")):
        named, unnamed = (build(tree, split, labels=labels, **{option: 3}) for labels in (True, False))
        assert torch.equal(images_of(named), images_of(unnamed))
        assert named.labels.tolist() == [0, 1, 2]


def test_images_in_no_folder_are_divided_as_one_more(tmp_path: Path, write_tree: Callable[..., Path]) -> None:
    root = write_tree(tmp_path, {f"{top}{i}.png": (8, 8) for top in ("", "ant/", "bee/") for i in range(5)})
    folders = [
        {image.numpy().tobytes() for image in images_of(build(root / top, labels=False))} for top in ("ant", "bee")
    ]
    for seed in range(5):
        test = images_of(build(root, "test", val_share=0.2, labels=False, split_seed=seed))
        assert len(test) == 3
        shown = {image.numpy().tobytes() for image in test}
        assert [len(shown & folder) for folder in folders] == [1, 1]


def test_a_share_that_leaves_the_test_without_a_class_says_so(tree: Path) -> None:
    flat = (tree / "train").rename(tree.parent / "pictures")
    for image in ("1.png", "2.png", "3.png"):
        (flat / "bee" / image).unlink()
    for split in ("train", "test"):
        data = build(flat, split, val_share=0.25)
        assert data.notes == ("val_share=0.25: the test lacks classes of the training images: bee",)
        assert data.classes == ("ant", "bee", "cat")
    assert build(flat, val_share=0.25, labels=False).notes == ()


def test_what_was_passed_over_is_said_once(tree: Path) -> None:
    flat = (tree / "train").rename(tree.parent / "pictures")
    (flat / "dog").mkdir()
    assert build(flat, val_share=0.25).notes == ("passed over 1 empty class folders: dog",)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_share_that_leaves_training_without_a_class_is_refused(tree: Path, split: str) -> None:
    flat = (tree / "train").rename(tree.parent / "pictures")
    for image in ("1.png", "2.png", "3.png"):
        (flat / "bee" / image).unlink()
    line = fault(flat, split, val_share=0.67)
    assert line == "data image_folder: val_share=0.67: sets all images of classes aside: bee; take a smaller share"


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_one_file_on_both_sides_of_a_share_is_refused(
    tree: Path, link: Callable[[Path, Path], None], labels: bool
) -> None:
    flat = (tree / "train").rename(tree.parent / "pictures")
    for image in list(flat.rglob("*.png")):  # two names each: 3 of the 8 in a folder are not whole pairs
        link(image, image.parent / f"again-{image.name}")
    for split in ("train", "test"):
        line = fault(flat, split, val_share=0.375, labels=labels)
        assert "is also an image of 'train'; what is trained on cannot measure" in line


def test_one_file_in_two_folders_is_refused_without_labels_too(tree: Path) -> None:
    (tree / "test/ant/same.png").symlink_to(tree / "train/ant/0.png")
    for split in ("train", "test"):
        assert "is also an image of 'train'; what is trained on cannot measure" in fault(tree, split, labels=False)


def test_a_share_is_not_taken_from_a_tree_that_has_its_splits(tree: Path) -> None:
    assert "has a folder 'train'; write data.val_share=0" in fault(tree, val_share=0.25)
