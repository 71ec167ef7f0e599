"""CIFAR's archives, fabricated in small: torchvision's md5 lists are replaced by those of the fabricated files."""

import hashlib
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from sslkuramoto.data import DATA, ImageSet
from sslkuramoto.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 3072), dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def fabricate(root: Path, original: type[CIFAR10], patch: pytest.MonkeyPatch, key: str, names: list[str]) -> Path:
    """Write an unpacked archive of 10 images a file and teach torchvision its checksums."""
    folder = root / original.base_folder
    folder.mkdir(parents=True)
    files = [name for name, _ in original.train_list + original.test_list]
    for number, name in enumerate(files):
        rows = slice(10 * number, 10 * number + 10)
        content = {"data": PIXELS[rows], key: [i % len(names) for i in range(10)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / original.meta["filename"]).write_bytes(pickle.dumps({original.meta["key"]: names}))
    for part in ("train_list", "test_list"):
        patch.setattr(original, part, [[name, md5(folder / name)] for name, _ in getattr(original, part)])
    patch.setattr(original, "meta", {**original.meta, "md5": md5(folder / original.meta["filename"])})
    with tarfile.open(root / original.filename, "w:gz") as archive:
        archive.add(folder, original.base_folder)
    patch.setattr(original, "tgz_md5", md5(root / original.filename))
    return root


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fabricate(tmp_path / "data", CIFAR10, monkeypatch, "labels", [f"class{i}" for i in range(10)])


def build(root: Path, split: str = "train", name: str = "cifar10", **options: object) -> ImageSet:
    return DATA.build(name, {"root": str(root), **options}, split)


def fault(root: Path, split: str = "train", **options: object) -> str:
    with pytest.raises(UserError) as caught:
        build(root, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def check_original(train: ImageSet, test: ImageSet) -> None:
    assert torch.equal(train.images, torch.from_numpy(PIXELS[:50]).view(50, 3, 32, 32))
    assert torch.equal(test.images, torch.from_numpy(PIXELS[50:]).view(10, 3, 32, 32))
    assert test.labels.tolist() == list(range(10))
    assert train.classes == tuple(f"class{i}" for i in range(10))


def test_unpacked_archive_is_read(cifar: Path) -> None:
    (cifar / CIFAR10.filename).unlink()
    check_original(build(cifar), build(cifar, "test"))


def test_packed_archive_in_root_is_unpacked(cifar: Path) -> None:
    remove(cifar / CIFAR10.base_folder)
    check_original(build(cifar), build(cifar, "test"))
    assert (cifar / CIFAR10.base_folder / "data_batch_1").exists()


def test_archive_itself_may_be_named(cifar: Path) -> None:
    check_original(build(cifar / CIFAR10.filename), build(cifar / CIFAR10.base_folder, "test"))


def test_half_unpacked_archive_is_unpacked_again(cifar: Path) -> None:
    (cifar / CIFAR10.base_folder / "data_batch_3").write_bytes(b"half")
    check_original(build(cifar), build(cifar, "test"))


def test_cifar100_reads_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"fine{i:02d}" for i in range(100)]
    root = fabricate(tmp_path / "data", CIFAR100, monkeypatch, "fine_labels", names)
    data = build(root, "test", name="cifar100")
    assert (len(data), data.classes) == (10, tuple(names))
    assert torch.equal(data.images, torch.from_numpy(PIXELS[10:20]).view(10, 3, 32, 32))


def test_wrong_checksums_are_named_and_nothing_is_unpickled(cifar: Path) -> None:
    marker = cifar / "ran"
    hostile = f"cbuiltins\nexec\n(V__import__('pathlib').Path({str(marker)!r}).touch()\ntR."
    (cifar / CIFAR10.base_folder / "data_batch_1").write_text(hostile)
    (cifar / CIFAR10.filename).unlink()
    assert "a file in cifar-10-batches-py is missing or has the wrong checksum" in fault(cifar)
    (cifar / CIFAR10.filename).write_bytes(b"cut off")
    assert "cifar-10-python.tar.gz has the wrong checksum (damaged or cut off); download=true" in fault(cifar)
    assert not marker.exists()


def test_wrong_checksum_of_the_class_names_is_named(cifar: Path) -> None:
    (cifar / CIFAR10.base_folder / "batches.meta").write_bytes(b"x")
    assert "metadata file not found or corrupted" in fault(cifar)


def test_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("network\nis unreachable")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    line = fault(tmp_path / "new", download=True)
    assert f"download of {CIFAR10.url} failed: network is unreachable" in line


def test_a_download_that_is_there_needs_no_network(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torchvision.datasets.utils._urlretrieve")
    check_original(build(cifar, download=True), build(cifar, "test", download=True))


def test_missing_and_empty_roots_are_named(tmp_path: Path) -> None:
    assert fault(tmp_path / "no") == f"data cifar10: root={tmp_path}/no: no such file or folder"
    assert "is empty; download=true fetches cifar-10-python.tar.gz" in fault(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    assert "holds no images" in fault(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
def test_tree_or_zip_with_ten_classes_is_read_equally(
    tmp_path: Path, write_tree: Callable[..., Path], pack: Callable[..., Path], zipped: bool
) -> None:
    names = {
        f"{part}/{label}/{i}.png": (32, 32) for part in ("train", "test") for label in "abcdefghij" for i in (0, 1)
    }
    root = write_tree(tmp_path / "tree", names)
    root = pack(root, tmp_path / "cifar10.zip", "cifar10/") if zipped else root
    data = build(root, "train", holdout=0.5)
    assert (len(data), data.size, data.classes) == (10, 32, tuple("abcdefghij"))


def test_tree_with_other_classes_is_refused(tree: Path) -> None:
    assert f"root={tree}: holds 3 classes, cifar10 has 10; other trees: name=image_folder" in fault(tree)
