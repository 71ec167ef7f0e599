"""Batches are the same from memory and from a stream, with and without workers."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sslkuramoto.data import DATA, ImageSet, batches, in_order, shuffled
from sslkuramoto.data.images.image_set import MemorySet, StreamedSet
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Batch


def read(data: ImageSet, workers: int = 0, batch_size: int = 5) -> list[Batch]:
    return list(batches(data, in_order(len(data), batch_size), device="cpu", workers=workers))


def build(root: Path, split: str = "train", **options: object) -> ImageSet:
    return DATA.build("image_folder", {"root": str(root), **options}, split)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [None, 6])
@pytest.mark.parametrize("zipped", [False, True])
def test_memory_and_stream_give_identical_batches(
    tree: Path, tmp_path: Path, pack: Callable[..., Path], workers: int, size: int | None, zipped: bool
) -> None:
    root = pack(tree, tmp_path / "tree.zip", "deep/down/") if zipped else tree
    memory, stream = (build(root, size=size, device_resident=resident) for resident in (True, False))
    assert isinstance(memory, MemorySet)
    assert isinstance(stream, StreamedSet)
    order = shuffled(len(memory), 4, seed=0, epoch=0)
    for a, b in zip(
        batches(memory, order, device="cpu"), batches(stream, order, device="cpu", workers=workers), strict=True
    ):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.indices, b.indices)
        assert a.inputs.dtype == b.inputs.dtype == torch.float32
    assert torch.equal(memory.labels, stream.labels)
    assert (memory.classes, memory.size, len(memory)) == (stream.classes, stream.size, len(stream))


def test_arrays_can_be_streamed_too() -> None:
    memory, stream = (
        DATA.build("digits", {"limit": 30, "size": 16, "device_resident": resident}, "train")
        for resident in (True, False)
    )
    for a, b in zip(read(memory), read(stream), strict=True):
        assert torch.equal(a.inputs, b.inputs)


def test_batches_follow_the_given_order(tree: Path) -> None:
    data = build(tree)
    (all_images,) = (batch.inputs for batch in read(data, batch_size=12))
    order = [torch.tensor([7, 7, 0]), torch.tensor([3])]
    found = list(batches(data, order, device="cpu"))
    assert torch.equal(found[0].inputs, all_images[[7, 7, 0]])
    assert found[0].targets.tolist() == [1, 1, 0]
    assert found[1].indices.tolist() == [3]


@pytest.mark.parametrize("resident", [True, False])
def test_reading_leaves_the_global_generators_alone(tree: Path, resident: bool) -> None:
    before = torch.get_rng_state()
    read(build(tree, device_resident=resident, limit=6, holdout=0.5), workers=0)
    assert torch.equal(before, torch.get_rng_state())


def test_reading_twice_gives_the_same_pixels(tree: Path) -> None:
    data = build(tree)
    assert torch.equal(read(data)[0].inputs, read(data)[0].inputs)


def test_a_zip_survives_pickling_as_workers_need_it(tree: Path, tmp_path: Path, pack: Callable[..., Path]) -> None:
    data = build(pack(tree, tmp_path / "t.zip"), device_resident=False)
    assert torch.equal(read(pickle.loads(pickle.dumps(data)))[0].inputs, read(data)[0].inputs)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_in_one_line_whoever_meets_it(tree: Path, workers: int) -> None:
    data = build(tree, device_resident=False)
    (tree / "train/bee/2.png").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        read(data, workers=workers)
    assert str(caught.value) == f"broken image {tree}/train/bee/2.png: not an image"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_vanishes_is_named(tree: Path, workers: int) -> None:
    data = build(tree, device_resident=False)
    (tree / "train/bee/2.png").unlink()
    with pytest.raises(UserError, match=r"^broken image .*bee/2.png: \[Errno 2\] No such file"):
        read(data, workers=workers)


def test_a_negative_number_of_workers_is_named(tree: Path) -> None:
    with pytest.raises(UserError, match="workers=-1: must be >= 0"):
        read(build(tree), workers=-1)


def test_fingerprint_follows_content_and_choice_not_the_place(tree: Path, tmp_path: Path) -> None:
    for resident in (True, False):
        base = build(tree, device_resident=resident).fingerprint
        shutil.copytree(tree, moved := tmp_path / f"moved-{resident}")
        assert build(moved, device_resident=resident).fingerprint == base
        others = [
            build(tree, device_resident=resident, size=4).fingerprint,
            build(tree, device_resident=resident, limit=6).fingerprint,
            build(tree, device_resident=resident, limit=6, split_seed=1).fingerprint,
            build(tree, device_resident=resident, labels=False).fingerprint,
            build(tree, "test", device_resident=resident).fingerprint,
        ]
        assert len({base, *others}) == 6
        (moved / "train/ant/0.png").write_bytes((moved / "train/ant/1.png").read_bytes() + b"\0")
        assert build(moved, device_resident=resident).fingerprint != base


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_and_stream_are_identical_on_a_gpu(tree: Path) -> None:
    memory, stream = (build(tree, device_resident=resident) for resident in (True, False))
    order = in_order(12, 5)
    for a, b in zip(
        batches(memory, order, device="cuda"), batches(stream, order, device="cuda", workers=2), strict=True
    ):
        assert a.inputs.is_cuda
        assert a.targets.is_cuda
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
        assert not a.indices.is_cuda
