"""The contract of every source of labelled images, on a few generated images: pixels, labels, splits, fingerprints."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mnist_files import wheel
from PIL import Image

from sslkuramoto.data import DATA, DataSet, ImageSet, batches, expected_spec, in_order
from sslkuramoto.data.scenes.scene_set import SceneSet
from sslkuramoto.errors import UserError

SIDE = 12
A_CLASS = {"train": 4, "test": 2}


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def tree(root: Path, classes: int, test: str = "test") -> Path:
    """Write {train,test}/CLASS/image, every image different."""
    seed = 0
    for split, folder in (("train", "train"), ("test", test)):
        for label in range(classes):
            for number in range(A_CLASS[split] if classes <= 10 else A_CLASS[split] // 2):
                picture(root / folder / f"class{label:03d}" / f"{number}.png", seed := seed + 1)
    return root


def tiny_imagenet(root: Path) -> Path:
    lines = []
    for label in range(3):
        for number in range(A_CLASS["train"]):
            picture(root / "train" / f"n{label}" / "images" / f"n{label}_{number}.png", 10 * label + number)
        for number in range(A_CLASS["test"]):
            name = f"val_{label}_{number}.png"
            picture(root / "val" / "images" / name, 100 + 10 * label + number)
            lines.append(f"{name}\tn{label}\t0\t0\t{SIDE}\t{SIDE}")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    return root


LAYOUTS: dict[str, Callable[[Path], dict[str, Any]]] = {  # of images that a source reads from the disk
    "cifar10": lambda root: {"root": str(tree(root, 10))},
    "cifar100": lambda root: {"root": str(tree(root, 100))},
    "image_folder": lambda root: {"root": str(tree(root, 3))},
    "tiny_imagenet": lambda root: {"root": str(tiny_imagenet(root))},
    "mnist5k": lambda root: {"root": str(wheel(root, a_class=10))},
    "timm": lambda root: {"dataset": "", "root": str(tree(root, 3, test="validation"))},
}

KINDS = {name: DATA.result_class(name, DataSet) for name in DATA}
IMAGES = [  # those with masks have no labels: test_scenes.py
    name for name, kind in KINDS.items() if issubclass(kind, ImageSet) and not issubclass(kind, SceneSet)
]
every_source = pytest.mark.parametrize("name", IMAGES)


@pytest.fixture(scope="module")
def options_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {}

    def options(name: str) -> dict[str, Any]:
        if name not in made:
            if name not in LAYOUTS and "root" in DATA.options(name):
                pytest.skip("reads a layout that no test writes")
            own = LAYOUTS[name](tmp_path_factory.mktemp(name)) if name in LAYOUTS else {}
            made[name] = {**DATA.small(name), **own}
        return dict(made[name])

    return options


def pixels(data: ImageSet) -> torch.Tensor:
    return torch.cat([batch.inputs for batch in batches(data, in_order(len(data), 7), device="cpu")])


@pytest.mark.parametrize("name", ["digits", "mnist5k", "tetrominoes"])
def test_the_side_that_a_source_declares_is_that_of_its_images(name: str, options_of: Callable) -> None:
    options = options_of(name)
    declared = expected_spec(name, options)
    assert not declared.unsized
    assert declared.side == DATA.build(name, options, "train").spec.side


@every_source
@pytest.mark.parametrize("split", ["train", "test"])
def test_images_are_pixels_in_0_1_and_every_one_counts_once(name: str, split: str, options_of: Callable) -> None:
    data = DATA.build(name, options_of(name), split)
    assert data.split == split
    assert data.labels is not None
    assert data.classes is not None
    assert data.labels.dtype == torch.int64
    assert set(data.labels.tolist()) == set(range(len(data.classes)))
    seen = []
    for batch in batches(data, in_order(len(data), 7), device="cpu"):
        assert batch.inputs.dtype == torch.float32
        assert batch.inputs.shape[1:] == (3, data.size, data.size)
        assert batch.inputs.min() >= 0
        assert batch.inputs.max() <= 1
        assert torch.equal(batch.targets, data.labels[batch.indices])
        seen += batch.indices.tolist()
    assert seen == list(range(len(data)))


@every_source
def test_held_out_images_and_the_rest_are_the_training_images(name: str, options_of: Callable) -> None:
    options = options_of(name)
    whole = DATA.build(name, options, "train")
    kept, aside = (DATA.build(name, {**options, "holdout": 0.25}, split) for split in ("train", "val"))
    assert len(aside) == round(0.25 * len(whole))
    rows = [{image.numpy().tobytes() for image in pixels(part)} for part in (whole, kept, aside)]
    assert rows[1] | rows[2] == rows[0]
    assert not rows[1] & rows[2]


@every_source
def test_a_limit_takes_as_many_of_every_class(name: str, options_of: Callable) -> None:
    options = options_of(name) | {"limit": None}
    classes = len(DATA.build(name, options, "train").classes or ())
    data = DATA.build(name, {**options, "limit": 2 * classes}, "train")
    assert data.labels is not None
    assert torch.bincount(data.labels).tolist() == [2] * classes


@every_source
def test_the_fingerprint_differs_for_other_images_and_is_the_same_each_time(name: str, options_of: Callable) -> None:
    options = options_of(name)
    first, again = (DATA.build(name, options, "train").fingerprint for _ in range(2))
    assert first == again
    others = [
        DATA.build(name, options, "test").fingerprint,
        DATA.build(name, {**options, "size": 9}, "train").fingerprint,
        DATA.build(name, {**options, "holdout": 0.25}, "train").fingerprint,
    ]
    assert len({first, *others}) == 4


@every_source
def test_a_set_in_memory_and_a_streamed_one_give_the_same_pixels(name: str, options_of: Callable) -> None:
    resident, streamed = (
        DATA.build(name, {**options_of(name), "size": 10, "device_resident": way}, "test") for way in (True, False)
    )
    assert torch.equal(pixels(resident), pixels(streamed))


@every_source
def test_reading_leaves_the_global_generator_alone(name: str, options_of: Callable) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pixels(DATA.build(name, {**options_of(name), "holdout": 0.25}, "train"))
    assert torch.equal(torch.get_rng_state(), before)


@every_source
def test_a_place_without_data_is_named(name: str, tmp_path: Path, options_of: Callable) -> None:
    if "root" not in DATA.options(name):
        pytest.skip("brings its own images")
    nowhere = tmp_path / "nowhere"
    with pytest.raises(UserError) as caught:
        DATA.build(name, {**options_of(name), "root": str(nowhere)}, "train")
    assert "nowhere" in str(caught.value) or name == "timm"
    assert "\n" not in str(caught.value)


def test_a_pickle_in_place_of_the_archive_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    with (folder / "data_batch_1").open("wb") as file:
        pickle.dump(_Bomb(tmp_path / "fired"), file)
    with pytest.raises(UserError, match="checksum"):
        DATA.build("cifar10", {"root": str(tmp_path)}, "train")
    assert not (tmp_path / "fired").exists()


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
