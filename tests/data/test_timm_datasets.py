"""Datasets that timm opens: every image is read once, and none is replaced by its neighbour."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import MNIST

from sslkuramoto.data import DATA, ImageSet, batches, in_order
from sslkuramoto.data.images.tar_shards import ShardSamples, index_shards
from sslkuramoto.data.images.timm_splits import shards_in
from sslkuramoto.errors import UserError
from sslkuramoto.files import lock

SPLITS = {"train_split": "train", "test_split": "test"}


def build(root: Path | None, dataset: str, split: str = "train", **options: object) -> ImageSet:
    return DATA.build("timm", {"root": None if root is None else str(root), "dataset": dataset, **options}, split)


def fault(*arguments: object, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        build(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def images_of(data: ImageSet, workers: int = 0) -> torch.Tensor:
    return torch.cat([b.inputs for b in batches(data, in_order(len(data), 5), device="cpu", workers=workers)])


@pytest.mark.parametrize("dataset", ["torch/image_folder", ""])
def test_folders_read_as_the_image_folder_source_reads_them(tree: Path, dataset: str) -> None:
    for split in ("train", "test"):
        ours = DATA.build("image_folder", {"root": str(tree)}, split)
        theirs = build(tree, dataset, split, **SPLITS)
        assert torch.equal(images_of(ours), images_of(theirs))
        assert torch.equal(ours.labels, theirs.labels)
        assert ours.classes == theirs.classes


def test_streaming_gives_the_same_images(tree: Path) -> None:
    stream = build(tree, "", device_resident=False)
    assert torch.equal(images_of(stream, workers=2), images_of(build(tree, "")))


def test_a_tar_is_read_by_threads_and_workers(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        archive.add(tree / "train", "train")
    assert "train.tar: a tar holds one split; give the folder of train.tar" in fault(tmp_path / "train.tar", "")
    data = build(tmp_path, "", device_resident=False)
    ours = DATA.build("image_folder", {"root": str(tree)}, "train")
    assert torch.equal(images_of(data, workers=2), images_of(ours))
    assert data.labels.tolist() == ours.labels.tolist()


@pytest.mark.parametrize("dataset", ["torch/image_folder", ""])
def test_a_broken_image_is_named_and_not_replaced(tree: Path, dataset: str) -> None:
    (tree / "train/bee/2.png").write_bytes(b"no image")
    assert "bee/2.png: " in fault(tree, dataset)


def test_torchvision_arrays_have_labels_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(6 * 28 * 28, dtype=np.int64).reshape(6, 28, 28) % 256
    monkeypatch.setattr(MNIST, "_check_exists", lambda self: True)
    given = (torch.from_numpy(pixels).to(torch.uint8), torch.tensor([9, 8, 7, 6, 5, 4]))
    monkeypatch.setattr(MNIST, "_load_data", lambda self: given)
    data = build(tmp_path, "torch/mnist")
    assert data.labels.tolist() == [9, 8, 7, 6, 5, 4]
    assert len(data.classes) == 10
    assert torch.equal(images_of(data)[:, 1], given[0] / 255)
    assert build(tmp_path, "torch/mnist", labels=False).labels is None


def test_faults_are_one_line(tree: Path, tmp_path: Path) -> None:
    assert "unknown kind of dataset 'torc/': did you mean 'torch/'?" in fault(tree, "torc/cifar10")
    assert "root=null: dataset=torch/cifar10 needs a folder" in fault(None, "torch/cifar10")
    assert "no such file or folder" in fault(tmp_path / "no", "torch/cifar10")
    assert "timm cannot open it: Dataset not found or corrupted" in fault(tree, "torch/cifar10")
    assert "timm cannot open it: Unknown torchvision dataset nosuch" in fault(tree, "torch/nosuch")
    assert "target_key: dataset=torch/image_folder has no such keys" in fault(
        tree, "torch/image_folder", target_key="x"
    )
    assert "holdout=0.0: dataset= has no val images of its own" in fault(tree, "", "val")
    (tree / "test/ant").rename(tree / "test/asp")
    assert "split 'test' has classes that the training images lack: asp" in fault(tree, "", "test", **SPLITS)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def shards(tree: Path) -> Path:
    """The tree's training images as two WebDataset shards with both kinds of labels."""
    folder = tree.parent / "shards"
    folder.mkdir()
    files = sorted((tree / "train").rglob("*.png"))
    for number in range(2):
        with tarfile.open(folder / f"data-{number}.tar", "w") as archive:
            for i, file in list(enumerate(files))[6 * number : 6 * number + 6]:
                add(archive, f"s{i:03d}.png", file.read_bytes())
                add(archive, f"s{i:03d}.cls", str(i // 4).encode())
                add(archive, f"s{i:03d}.json", json.dumps({"kind": i % 2}).encode())
    return folder


def indexed(folder: Path, target_key: str | None = None, labels: bool = True) -> tuple[ShardSamples, list[int]]:
    paths = tuple(sorted(folder.glob("*.tar")))
    entries, targets = index_shards(paths, ["jpg", "png"], target_key, labels)
    return ShardSamples(paths, entries, None, None), targets


def test_shards_are_read_at_random(shards: Path, tree: Path) -> None:
    samples, targets = indexed(shards)
    original = DATA.build("image_folder", {"root": str(tree)}, "train")
    assert targets == [0] * 4 + [1] * 4 + [2] * 4
    assert indexed(shards, "kind")[1] == [0, 1] * 6
    assert indexed(shards, labels=False)[1] == []
    for index in (11, 0, 7):
        assert torch.equal(samples.pixels(index), original.images[index])
    assert samples.where(7) == f"{shards}/data-1.tar/s007.png"


def test_faults_of_shards_are_named(shards: Path) -> None:
    def line(target_key: str | None = None) -> str:
        with pytest.raises(UserError) as caught:
            indexed(shards, target_key)
        return str(caught.value)

    assert "sample 's000': its .json field 'sort' holds no class number" in line("sort")
    with tarfile.open(shards / "data-2.tar", "w") as archive:
        add(archive, "x.png", b"")
    assert "data-2.tar: sample 'x' has no .cls file with its class" in line()
    with tarfile.open(shards / "data-2.tar", "w") as archive:
        add(archive, "x.cls", b"1")
    assert "data-2.tar: sample 'x' has no image (.jpg, .png)" in line()
    (shards / "data-2.tar").write_bytes(b"no tar" * 1000)
    assert "data-2.tar: not a readable, uncompressed tar" in line()


def test_wds_of_timm_yields_each_sample_once(shards: Path, tree: Path) -> None:
    pytest.importorskip("webdataset")
    splits = {"train_split": "data-{0..1}.tar", "test_split": "test-{0..0}.tar"}
    shutil.copy(shards / "data-1.tar", shards / "test-0.tar")
    data = build(shards, "wds/x", **splits, device_resident=False)
    original = DATA.build("image_folder", {"root": str(tree)}, "train")
    assert torch.equal(images_of(data, workers=2), images_of(original))
    assert torch.equal(data.labels, original.labels)
    assert data.classes == ("0", "1", "2")
    assert len(build(shards, "wds/x", "test", **splits)) == 6
    splits["test_split"] = "data-1.tar"
    assert "s006.png with 'data-{0..1}.tar'; what is trained on cannot measure" in fault(
        shards, "wds/x", "test", **splits
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("train.tar", 1),
        ("train-{000..009}.tar", 10),
        ("{9..0..3}{a..c}", 12),
        ("{a,b{0..4}}.tar|100", 6),
        ("{one}.tar", 1),
        ("{000000..999999999}", 1_000_000_000),
        ("{a,b}" * 40, 2**40),
    ],
)
def test_shards_are_counted_without_listing_them(name: str, count: int) -> None:
    assert shards_in(name) == count


@pytest.mark.parametrize("part", ["train_split", "test_split", "val_split"])
def test_a_range_of_shards_that_fills_the_memory_is_refused(shards: Path, part: str) -> None:
    said = fault(shards, "wds/x", **{part: "data-{000000..999999999}.tar"})
    assert said.startswith(f"data timm: {part}=data-{{000000..999999999}}.tar: names 1,000,000,000 shards")


COMMAND = "pipe:touch {canary}; echo {{}} #"


@pytest.mark.parametrize(
    ("dataset", "options", "key"),
    [
        *(("wds/x", {"root": root}, "root") for root in (COMMAND, f"  {COMMAND}", "https://a.example/x", "file:/tmp")),
        *(("wds/x", {key: COMMAND + ".tar"}, key) for key in ("train_split", "test_split", "val_split")),
        ("wds/x", {"train_split": "{{a.tar," + COMMAND + "}}"}, "train_split"),
        ("wds/x", {"train_split": "a.tar::https://a.example/b.tar"}, "train_split"),
        ("WDS/x", {"root": COMMAND}, "root"),
        *(
            (f"{kind}/x", {"root": root}, "root")
            for kind in ("hfds", "hfids", "tfds")
            for root in ("s3://a/b", "zip::a")
        ),
        ("hfds/https://a.example/x.py", {}, "dataset"),
        ("tfds/huggingface:mnist", {}, "dataset"),
        ("tfds/somebody:their_code", {}, "dataset"),
    ],
)
def test_a_url_or_a_command_in_a_recipe_is_refused_before_a_library_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str, options: dict[str, str], key: str
) -> None:
    monkeypatch.setattr("timm.data.create_dataset", lambda *_, **__: pytest.fail("timm was asked"))
    given = {key: value.format(canary=tmp_path / "canary") for key, value in options.items()}
    root = given.pop("root", str(tmp_path))
    for download in (False, True):
        assert fault(root, dataset, labels=False, download=download, **given).startswith(f"data timm: {key}=")
    assert not (tmp_path / "canary").exists()


def test_shards_are_read_from_a_folder_that_exists_whatever_download_says(tmp_path: Path) -> None:
    for download in (False, True):
        assert "nowhere: no such folder" in fault(tmp_path / "nowhere", "wds/x", download=download)


def test_a_command_among_the_file_names_of_shards_is_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("webdataset")
    split = {"name": "train", "num_samples": 1, "filenames": ["pipe:touch canary"], "shard_lengths": [1]}
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"train": split}}))
    monkeypatch.chdir(tmp_path)
    assert "not a readable, uncompressed tar" in fault(Path("."), "wds/x", labels=False)
    assert not (tmp_path / "canary").exists()


def test_a_slice_of_a_split_is_no_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments[:3])
        raise OSError("asked")

    monkeypatch.setattr("timm.data.create_dataset", refuse)
    assert "asked" in fault(tmp_path, "tfds/mnist", labels=False, train_split="train[1shard:2shard]+test[:80%]")
    assert asked == [("tfds/mnist", str(tmp_path), "train[1shard:2shard]+test[:80%]")]


def test_processes_that_start_together_download_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held: list[bool] = []

    def download(*_: object, **__: object) -> None:
        with lock(tmp_path / ".downloading.lock") as free:
            held.append(not free)
        raise OSError("no internet")

    monkeypatch.setattr("timm.data.create_dataset", download)
    for wanted in (True, False):
        assert "no internet" in fault(tmp_path, "torch/cifar10", labels=False, download=wanted)
    assert held == [True, False]


def test_a_shard_may_mix_jpg_and_jpeg(tree: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    for name in ("train", "test"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for i, file in enumerate(sorted((tree / name).rglob("*.png"))):
                with Image.open(file) as image:
                    image.convert("RGB").save(encoded := io.BytesIO(), format="JPEG")
                add(archive, f"s{i:03d}.{('jpg', 'jpeg', 'JPG')[i % 3]}", encoded.getvalue())
                add(archive, f"s{i:03d}.cls", str(i % 2).encode())
    assert len(build(tmp_path, "wds/x", train_split="train.tar", test_split="test.tar")) == 12


def test_a_split_that_is_not_there_is_refused_and_nothing_else_is_read(tree: Path) -> None:
    for dataset in ("", "torch/image_folder"):
        assert "train_split='trian': no such folder in root=" in fault(tree, dataset, train_split="trian")
        line = fault(tree, dataset, "test")
        assert "test_split='validation': no such folder" in line
        assert line.endswith("(found: test, train); set test_split")
    assert "test_split='train': is train_split='train' too" in fault(tree, "", "test", test_split="train")
    (tree / "test").rename(tree / "val")
    assert len(build(tree, "", "test")) == 6, "timm's other names of one split are known"


def test_a_mistyped_name_does_not_train_on_the_test_images_of_torchvision(tmp_path: Path) -> None:
    line = fault(tmp_path, "torch/mnist", train_split="trian")
    assert "train_split of dataset=torch/mnist 'trian': did you mean 'train'" in line
    line = fault(tmp_path, "torch/cifar10", train_split="test", test_split="val")
    assert "train_split of dataset=torch/cifar10 'test'" in line


def test_links_do_not_hide_that_splits_share_files(tree: Path) -> None:
    (tree / "test/ant/same.png").symlink_to(tree / "train/ant/0.png")
    assert "shares " in fault(tree, "", "test", **SPLITS)


@pytest.mark.parametrize("name", ["imagefolder", "parquet"])
def test_loaders_that_would_read_the_working_directory_are_refused(
    tree: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.chdir(tree)
    assert f"{name} is a loader of files and would read the working directory" in fault(tree, f"hfds/{name}", **SPLITS)
    assert sorted(path.name for path in tree.iterdir()) == ["test", "train"]


@pytest.mark.parametrize("kind", ["hfds", "hfids"])
def test_hugging_face_folders_are_read(
    tree: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tree: Callable[..., Path]
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    cache = tmp_path / "cache"
    cache.mkdir()
    data = build(cache, f"{kind}/{tree}", **SPLITS, download=kind == "hfids")
    original = DATA.build("image_folder", {"root": str(tree)}, "train")
    assert torch.equal(images_of(data), images_of(original))
    assert torch.equal(data.labels, original.labels)
    assert data.classes == original.classes
    assert "timm cannot open it" in fault(cache, f"{kind}/{tree}/nothing")
    if kind == "hfds":
        slices = {"train_split": "train[:75%]", "test_split": "train[50%:]"}
        assert "splits 'train[:75%]' and 'train[50%:]' share images" in fault(cache, f"{kind}/{tree}", "test", **slices)
        assert len(build(cache, f"{kind}/{tree}", "test", **slices | {"test_split": "train[75%:]"})) == 3
