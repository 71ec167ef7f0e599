"""Tiny-ImageNet in its archive's layout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sslkuramoto.data import DATA, ImageSet
from sslkuramoto.errors import UserError


@pytest.fixture
def tiny(tmp_path: Path, write_tree: Callable[..., Path]) -> Path:
    names = {f"train/{w}/images/{w}_{i}.JPEG": (64, 64) for w in ("n01", "n02") for i in range(3)}
    names |= {f"val/images/val_{i}.JPEG": (64, 64) for i in range(4)}
    names |= {"test/images/test_0.JPEG": (64, 64)}
    root = write_tree(tmp_path / "tiny-imagenet-200", names)
    lines = [f"val_{i}.JPEG\tn0{2 - i % 2}\t0\t0\t62\t62\n" for i in range(4)]
    (root / "val/val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("n02\nn01\n")
    return root


def build(root: Path, split: str = "train", **options: object) -> ImageSet:
    return DATA.build("tiny_imagenet", {"root": str(root), **options}, split)


def fault(root: Path, split: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        build(root, split)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_both_parts_are_read_with_their_labels(tiny: Path, pack: Callable[..., Path], zipped: bool) -> None:
    root = pack(tiny, tiny.with_suffix(".zip"), "tiny-imagenet-200/") if zipped else tiny
    train, test = build(root), build(root, "test")
    assert (train.size, train.classes, train.labels.tolist()) == (64, ("n01", "n02"), [0, 0, 0, 1, 1, 1])
    assert (test.size, test.classes, test.labels.tolist()) == (64, ("n01", "n02"), [1, 0, 1, 0])


def test_val_is_held_out_of_train(tiny: Path) -> None:
    assert [len(build(tiny, split, holdout=1 / 3)) for split in ("train", "val", "test")] == [4, 2, 4]
    assert "holdout=0.0" in fault(tiny, "val")


def test_faults_of_the_layout_are_named(tiny: Path, tmp_path: Path) -> None:
    assert "no such file or folder" in fault(tmp_path / "no")
    annotations = tiny / "val/val_annotations.txt"
    lines = annotations.read_text()
    annotations.write_text(lines + "val_9.JPEG\tn01\t0\t0\t1\t1\n")
    assert "val_annotations.txt names val/images/val_9.JPEG, which is missing" in fault(tiny)
    annotations.write_text("".join(lines.splitlines(keepends=True)[1:]))
    assert "val_annotations.txt does not name val/images/val_0.JPEG" in fault(tiny)
    annotations.write_text(lines.replace("n01", "n09"))
    assert "has classes that the training images lack: n09" in fault(tiny)
    annotations.unlink()
    assert "no readable val/val_annotations.txt; where val/ holds class folders use name=image_folder" in fault(tiny)
    (tiny / "train").rename(tiny / "training")
    assert "no folder 'train' with images in it, so this is not the layout of tiny-imagenet-200.zip" in fault(tiny)
