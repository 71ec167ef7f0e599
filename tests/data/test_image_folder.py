"""Trees and zips of class folders, and the one-line errors of those that cannot be read."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from folders_of_images import build, fault, images_of
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional

from sslkuramoto.data import DATA, batches, in_order
from sslkuramoto.data.images import build as build_module
from sslkuramoto.errors import UserError

CIFAR_ZIP = Path(__file__).parents[2] / "../shared/data/cifar10.zip"


@pytest.mark.parametrize("top", [None, "", "cifar/", "a/b/"])
def test_images_and_labels_are_those_of_torchvision(
    tree: Path, tmp_path: Path, pack: Callable[..., Path], top: str | None
) -> None:
    root = tree if top is None else pack(tree, tmp_path / "x.zip", top)
    for split in ("train", "test"):
        data, original = build(root, split), ImageFolder(tree / split)
        assert data.classes == tuple(original.classes)
        assert data.labels.tolist() == original.targets
        expected = torch.stack([functional.to_image(image) for image, _ in original])
        assert torch.equal(images_of(data), expected / 255)


def test_images_are_resized_by_the_short_side_and_cropped_in_the_centre(tmp_path: Path) -> None:
    folder = tmp_path / "train/a"
    folder.mkdir(parents=True)
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = 255  # the centre square is white
    Image.fromarray(pixels).save(folder / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2).copy()).save(folder / "tall.png")
    Image.fromarray(pixels[:10, 15:25]).save(folder / "small.png")
    images = images_of(build(tmp_path, size=10))
    assert images.shape == (3, 3, 10, 10)
    assert images[:, :, 1:-1, 1:-1].min() == 1
    assert images.min() > 0.8  # antialiasing reaches one pixel over the edge


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "LA"])
def test_every_eight_bit_mode_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    (tmp_path / "train/a").mkdir(parents=True)
    Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode).save(tmp_path / "train/a/x.tif")
    assert torch.equal(images_of(build(tmp_path)), torch.ones(1, 3, 4, 4))


def test_sixteen_bits_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "train/a").mkdir(parents=True)
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "train/a/x.png")
    assert "train/a/x.png: pixels of mode I;16 hold more than 8 bits a channel" in fault(tmp_path)


def test_hidden_files_and_other_suffixes_are_left_out(tree: Path) -> None:
    for name in ("train/ant/._0.png", ".cache/x.png", "__MACOSX/train/ant/0.png", "train/ant/readme.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"")
    assert len(build(tree)) == 12


def test_images_may_lie_deeper_than_their_class(tmp_path: Path, write_tree: Callable[..., Path]) -> None:
    write_tree(tmp_path, {"train/a/x/y/0.png": (4, 4), "train/b/0.png": (4, 4)})
    assert build(tmp_path).labels.tolist() == [0, 1]


def test_pretraining_takes_images_without_classes(tmp_path: Path, write_tree: Callable[..., Path]) -> None:
    loose = write_tree(tmp_path / "loose", {"0.png": (8, 8), "1.png": (8, 8), "sub/2.png": (8, 8)})
    data = build(loose, labels=False)
    assert (len(data), data.labels, data.classes) == (3, None, None)
    assert next(iter(batches(data, in_order(3, 2), device="cpu"))).targets is None
    train, val = (build(loose, split, labels=False, holdout=0.34) for split in ("train", "val"))
    assert (len(train), len(val)) == (2, 1)
    assert "has no test images, only train" in fault(loose, "test", labels=False)


def test_without_labels_a_train_folder_is_still_only_for_training(tree: Path) -> None:
    assert len(build(tree, labels=False)) == 12
    assert len(build(tree, "test", labels=False)) == 6


def test_val_serves_as_test_only_where_there_is_no_test(tree: Path) -> None:
    (tree / "test").rename(tree / "val")
    assert len(build(tree, "test")) == 6
    assert "holdout=0.0" in fault(tree, "val")
    (tree / "val").rename(tree / "test")
    (tree / "train").rename(tree / "val")
    (tree / "test").rename(tree / "train")
    (tree / "test/ant").mkdir(parents=True)
    for label in ("ant", "bee", "cat"):
        (tree / "test" / label).mkdir(exist_ok=True)
        (tree / "test" / label / "0.png").write_bytes((tree / "train" / label / "0.png").read_bytes())
    assert [len(build(tree, split)) for split in ("train", "val", "test")] == [6, 12, 3]


def test_limit_is_honoured_before_decoding(tree: Path) -> None:
    kept = build(tree, limit=3, split_seed=4, device_resident=False)
    assert isinstance(kept.labels, torch.Tensor)
    assert kept.labels.tolist() == [0, 1, 2]
    names = {kept.samples.where(int(place)) for place in kept.chosen}
    for file in (tree / "train").rglob("*.png"):
        if str(file) not in names:
            file.write_bytes(b"broken")
    assert len(images_of(build(tree, limit=3, split_seed=4))) == 3


def test_large_images_are_decoded_by_threads_to_the_same_pixels(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = images_of(build(tree))
    monkeypatch.setattr(build_module, "_THREADED_PIXELS", 1)
    monkeypatch.setattr(build_module, "_CHUNK", 1)
    assert torch.equal(images_of(build(tree)), plain)


def test_auto_streams_what_is_too_large(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "RESIDENT_BYTES", 12 * 3 * 64 - 1)
    assert type(build(tree)).__name__ == "StreamedSet"
    monkeypatch.setattr(build_module, "RESIDENT_BYTES", 12 * 3 * 64)
    assert type(build(tree)).__name__ == "MemorySet"


def test_missing_empty_and_foreign_roots_are_named(tmp_path: Path) -> None:
    assert fault(tmp_path / "no") == f"data image_folder: root={tmp_path}/no: no such file or folder"
    assert f"root={tmp_path}: holds no images (.jpg, .jpeg" in fault(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    assert fault(tmp_path / "x.zip") == f"data image_folder: root={tmp_path}/x.zip: is neither a folder nor a zip"
    zipfile.ZipFile(tmp_path / "y.zip", "w").close()
    assert "y.zip: holds no images" in fault(tmp_path / "y.zip")
    with pytest.raises(UserError, match="data image_folder needs the key 'root'"):
        DATA.build("image_folder", {}, "train")


def test_broken_images_are_named(tree: Path, tmp_path: Path, pack: Callable[..., Path]) -> None:
    whole = (tree / "train/ant/0.png").read_bytes()
    (tree / "train/ant/0.png").write_bytes(whole[:60])
    assert f"data image_folder: broken image {tree}/train/ant/0.png: " in fault(tree)
    zipped = pack(tree, tmp_path / "x.zip", "top/")
    assert f"broken image {zipped}/top/train/ant/0.png: " in fault(zipped)
    (tree / "train/ant/0.png").write_bytes(b"")
    assert "0.png: not an image" in fault(tree)


def test_a_damaged_zip_is_detected_by_its_checksum(tree: Path, tmp_path: Path, pack: Callable[..., Path]) -> None:
    zipped = pack(tree, tmp_path / "x.zip")
    content = bytearray(zipped.read_bytes())
    content[content.find(b"IDAT") + 30] ^= 255
    zipped.write_bytes(content)
    assert "Bad CRC-32" in fault(zipped, "test") or "Bad CRC-32" in fault(zipped, "train")


def test_sizes_that_differ_ask_for_a_size(tmp_path: Path, write_tree: Callable[..., Path]) -> None:
    write_tree(tmp_path, {"train/a/0.png": (8, 8), "train/a/1.png": (9, 8)})
    assert "train/a/1.png is 9x8 pixels, others are 8x8; give a size, such as size=8" in fault(tmp_path)
    write_tree(tmp_path, {"train/a/0.png": (9, 8)})
    assert "train/a/0.png is 9x8 pixels, not square; give a size" in fault(tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("caf\u00e9", "cafe\u0301", r"'cafe\u0301' is almost 'caf\xe9' of the training images"),
        ("bee", "Bee", "'Bee' is almost 'bee'"),
        ("bee", "bee ", "'bee ' is almost 'bee'"),
    ],
)
def test_class_names_that_print_almost_alike_are_told_apart(tree: Path, train: str, test: str, said: str) -> None:
    (tree / "train/bee").rename(tree / f"train/{train}")
    (tree / "test/bee").rename(tree / f"test/{test}")
    assert said in fault(tree, "test")


@pytest.mark.parametrize("split", ["train", "test"])
def test_classes_that_only_the_test_images_have_are_refused_and_lacking_ones_are_said(tree: Path, split: str) -> None:
    (tree / "test/ant").rename(tree / "test/asp")
    assert "folder 'test' has classes that the training images lack: asp" in fault(tree, split)
    shutil.rmtree(tree / "test/asp")
    data = build(tree, split)
    assert data.notes == ("folder 'test' lacks classes of the training images: ant",)
    assert data.classes == ("ant", "bee", "cat")
    assert set(data.labels.tolist()) == ({0, 1, 2} if split == "train" else {1, 2}), "classes are matched by name"


def test_unsorted_test_images_forbid_what_needs_their_labels_only(tree: Path) -> None:
    for file in list((tree / "test").rglob("*.png")):
        file.rename(tree / "test" / f"{file.parent.name}-{file.name}")
    for folder in ("ant", "bee", "cat"):
        (tree / "test" / folder).rmdir()
    train = build(tree)
    assert len(train) == 12
    assert train.notes == ("folder 'test' has no class folders: its images have no labels",)
    assert "is in no class folder; labels=false" in fault(tree, "test")
    assert len(build(tree, "test", labels=False)) == 6


def test_other_names_of_the_folders_of_a_split_are_known(tree: Path) -> None:
    (tree / "train").rename(tree / "training")
    (tree / "test").rename(tree / "validation")
    assert (len(build(tree)), len(build(tree, "test"))) == (12, 6)
    (tree / "training").rename(tree / "Train")
    (tree / "validation").rename(tree / "Validation")
    assert (len(build(tree)), len(build(tree, "test"))) == (12, 6), "in any case of letters"
    (tree / "Validation").rename(tree / "validation")
    shutil.copytree(tree / "validation", tree / "valid")
    assert "both 'valid' and 'validation' are folders for 'val'" in fault(tree)


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_image_is_passed_over_and_counted(
    tree: Path, tmp_path: Path, pack: Callable[..., Path], packed: bool
) -> None:
    for name in ("train/ant/x.gif", "train/ant/y.HEIC", "train/@eaDir/thumb.jpg", "train/ant/._0.png"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x")
    data = build(pack(tree, tmp_path / "x.zip") if packed else tree)
    assert len(data) == 12
    thumbs = "images in @eaDir" if packed else "folders @eaDir"
    wanted = {f"passed over 1 {what}" for what in (".gif files, which are not read", thumbs, "hidden images")}
    assert set(data.notes) == wanted | {"passed over 1 .heic files, which are not read"}


def test_a_class_of_which_nothing_can_be_read_is_refused_and_an_empty_folder_is_said(tree: Path) -> None:
    (tree / "train/dog").mkdir()
    assert build(tree).notes == ("passed over 1 empty class folders: dog",)
    (tree / "train/dog/a.gif").write_bytes(b"GIF89a")
    assert "no image of the class folder train/dog can be read: they are .gif files" in fault(tree)
    (tree / "train/dog/a.gif").rename(tree / "train/dog/notes.txt")
    assert build(tree).classes == ("ant", "bee", "cat")


def test_jfif_is_jpeg(tree: Path) -> None:
    with Image.open(tree / "train/ant/0.png") as image:
        image.convert("RGB").save(tree / "train/ant/9.jfif", format="JPEG")
    assert len(build(tree)) == 13


def test_links_back_are_followed_once_and_dead_ones_and_pipes_are_counted(tree: Path) -> None:
    (tree / "train/ant/again").symlink_to(tree / "train/ant")
    (tree / "train/ant/up").symlink_to(tree)
    (tree / "train/ant/gone.png").symlink_to(tree / "nowhere.png")
    os.mkfifo(tree / "train/ant/pipe.png")
    data = build(tree)
    assert len(data) == 12
    assert set(data.notes) == {
        "passed over 1 dead links",
        "passed over 2 links to a folder above themselves",
        "passed over 1 pipes, sockets and devices",
    }


@pytest.mark.parametrize("folder", [False, True])
def test_training_and_test_images_that_are_one_file_are_refused(tree: Path, folder: bool) -> None:
    link, target = ("test/ant/more", "train/ant") if folder else ("test/ant/same.png", "train/ant/0.png")
    (tree / link).symlink_to(tree / target)
    assert "is also an image of 'train'; what is trained on cannot measure" in fault(tree, "test")
    assert "is also an image of 'train'" in fault(tree)


def test_a_hard_link_into_another_split_is_the_same_image(tree):
    image = sorted((tree / "train/ant").iterdir())[0]
    os.link(image, tree / "test/ant/other.png")
    assert "is also an image of 'train'; what is trained on cannot measure" in fault(tree, "test")


def test_a_link_to_a_file_of_several_names_is_the_same_image(tree: Path) -> None:
    os.link(tree / "train/ant/0.png", tree.parent / "elsewhere.png")
    (tree / "test/ant/other.png").symlink_to(tree.parent / "elsewhere.png")
    assert "is also an image of 'train'; what is trained on cannot measure" in fault(tree, "test")


def test_links_to_images_elsewhere_are_read(tree: Path, tmp_path: Path) -> None:
    (tree / "train/ant").rename(tmp_path / "pool")
    (tree / "train/ant").symlink_to(tmp_path / "pool")
    assert len(build(tree)) == 12


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_backslashes_or_a_name_twice_reads_each_image_once(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.writestr(str(file.relative_to(tree)).replace("/", "\\"), file.read_bytes())
        archive.writestr("train\\ant\\0.png", (tree / "train/ant/1.png").read_bytes())
    data = build(tmp_path / "x.zip")
    assert len(data) == 12
    assert data.notes == ("passed over 1 members that a later one of the same name replaces",)
    assert torch.equal(images_of(data)[0], images_of(build(tree))[1])


def test_a_picture_turned_by_its_tag_is_the_picture_turned_in_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    for name, orientation in (("a", 1), ("b", 6)):
        (tmp_path / "train" / name).mkdir(parents=True)
        tag = Image.Exif()
        tag[0x0112] = orientation
        image = Image.fromarray(pixels if name == "a" else np.rot90(pixels).copy())  # the viewer turns it back
        image.save(tmp_path / "train" / name / "0.png", exif=tag)
    first, second = images_of(build(tmp_path))
    assert torch.equal(first, second)


def test_a_damaged_tag_says_nothing_of_the_pixels(tmp_path: Path) -> None:
    (tmp_path / "train/a").mkdir(parents=True)
    for name, exif in (("0.png", None), ("1.png", b"Exif\x00\x00MM\x00*\x00\x00")):
        Image.new("RGB", (8, 8), (9, 8, 7)).save(tmp_path / "train/a" / name, **({"exif": exif} if exif else {}))
    first, second = images_of(build(tmp_path))
    assert torch.equal(first, second)


def test_unlabelled_images_are_refused_when_labels_are_wanted(tree: Path, tmp_path: Path) -> None:
    (tree / "train/0.png").write_bytes((tree / "train/ant/0.png").read_bytes())
    assert "train/0.png is in no class folder; labels=false reads unlabelled images" in fault(tree)
    loose = tmp_path / "loose"
    loose.mkdir()
    (tree / "train/0.png").rename(loose / "0.png")
    line = fault(loose)
    assert "no folder 'train' in it (found: images only); must hold {train,test}/CLASS/image" in line
    assert "unlabelled images can be pretrained on with labels=false" in line


def test_unknown_splits_and_too_few_images_are_named(tree: Path) -> None:
    assert "unknown split 'valid': did you mean 'val'?" in fault(tree, "valid")
    assert "limit=13: there are only 12 train images" in fault(tree, limit=13)
    assert "limit_test=7: there are only 6 test images" in fault(tree, "test", limit_test=7)
    assert "holdout=0.01: sets aside 0 of 12 training images" in fault(tree, holdout=0.01)
    assert "data.size=8.5: " in fault(tree, size=8.5)


@pytest.mark.skipif(not CIFAR_ZIP.exists(), reason="needs ../shared/data/cifar10.zip")
def test_fifty_real_images_load_from_the_shared_zip() -> None:
    data = DATA.build("cifar10", {"root": str(CIFAR_ZIP), "limit": 50}, "train")
    images = images_of(data)
    assert images.shape == (50, 3, 32, 32)
    assert torch.bincount(data.labels).tolist() == [5] * 10
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert images.flatten(1).std(1).min() > 0.02
