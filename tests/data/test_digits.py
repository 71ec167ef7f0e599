"""The handwritten digits: real pixels, a fixed stratified test part."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from sslkuramoto.data import DATA, batches, in_order
from sslkuramoto.data.images import digits as of_digits
from sslkuramoto.errors import UserError


def images_of(options: dict, split: str) -> torch.Tensor:
    data = DATA.build("digits", options, split)
    return torch.cat([batch.inputs for batch in batches(data, in_order(len(data), 500), device="cpu")])


def test_train_and_test_hold_each_of_the_1797_digits_once() -> None:
    original = torch.from_numpy(load_digits().images).float().div(16)
    images = torch.cat([images_of({}, "train"), images_of({}, "test")])
    assert images.shape == (1797, 3, 8, 8)
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    levels = images[:, 0].mul(16).round().long().flatten(1).tolist()
    assert sorted(levels) == sorted(original.mul(16).round().long().flatten(1).tolist())
    assert images[:, 0].sub(images[:, 0].mul(16).round() / 16).abs().max() < 0.5 / 255 + 1e-6
    assert images.min() == 0
    assert images.max() == 1


def test_the_test_part_is_stratified() -> None:
    test = DATA.build("digits", {}, "test")
    assert len(test) == 360
    whole = torch.bincount(torch.from_numpy(load_digits().target)) * 360 / 1797
    assert (torch.bincount(test.labels) - whole).abs().max() <= 1


def test_labels_belong_to_their_images() -> None:
    original = load_digits()
    table = {tuple(row): int(label) for row, label in zip(original.data.tolist(), original.target, strict=True)}
    data = DATA.build("digits", {"limit": 40}, "train")
    rows = images_of({"limit": 40}, "train")[:, 0].mul(16).round().flatten(1).tolist()
    assert [table[tuple(row)] for row in rows] == data.labels.tolist()


def test_the_images_are_read_without_the_import_of_scikit_learn() -> None:
    code = "import sys; from sslkuramoto.data import DATA; DATA.build('digits', {}, 'test')"
    code += "; print('sklearn' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "False\n"


def test_a_scikit_learn_without_the_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(of_digits, "of_package", lambda _, member: tmp_path / member)
    with pytest.raises(UserError, match=r"the installed scikit-learn holds no datasets/data/digits\.csv\.gz"):
        DATA.build("digits", {}, "test")


def test_another_split_seed_gives_another_test_part() -> None:
    same = DATA.build("digits", {}, "test").fingerprint
    assert DATA.build("digits", {"split_seed": 0}, "test").fingerprint == same
    assert DATA.build("digits", {"split_seed": 1}, "test").fingerprint != same


def test_the_division_is_that_of_the_published_numbers() -> None:
    assert DATA.build("digits", {}, "test").fingerprint == "dbcb2b3d5d95ed76d4c64bc3a5378c64"


def test_digits_grow_bilinearly_on_request() -> None:
    small, large = images_of({"limit": 20}, "train"), images_of({"limit": 20, "size": 16}, "train")
    expected = torch.nn.functional.interpolate(small, size=16, mode="bilinear", align_corners=False)
    assert large.shape == (20, 3, 16, 16)
    assert (large - expected).abs().max() < 1.5 / 255


@pytest.mark.parametrize(
    ("options", "split", "message"),
    [
        ({"limit": 5000}, "train", "data digits: limit=5000: there are only 1437 train images"),
        ({}, "val", "data digits: holdout=0.0: the digits data has no val images"),
        ({"rot": "x"}, "train", "unknown key of data digits 'rot'"),
        ({"limit": "40"}, "train", "data.limit='40': "),
    ],
)
def test_bad_options_are_named(options: dict, split: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DATA.build("digits", options, split)
