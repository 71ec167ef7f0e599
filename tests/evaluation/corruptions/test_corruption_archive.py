import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from corruption_archive import write_archive

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.corruptions import Corruptions
from sslkuramoto.evaluation.corruptions.archive import Archive
from sslkuramoto.evaluation.measurement import evaluate
from sslkuramoto.evaluation.protocol import Loaded

NAMES = ("fog", "contrast")


@pytest.fixture
def folder(tmp_path, some_set):
    return write_archive(tmp_path / "archive", some_set(30), NAMES)


def test_blocks_are_severities_and_rows_are_images(tmp_path):
    # a value that says which severity, image and channel it belongs to
    block, image, channel = np.ogrid[1:6, 0:7, 0:3]
    levels = (50 * (block - 1) + 5 * image + channel).astype(np.uint8)
    levels = np.broadcast_to(levels[:, :, None, None, :], (5, 7, 4, 4, 3)).reshape(35, 4, 4, 3)
    np.save(tmp_path / "snow.npy", levels)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(7), 5))
    archive = Archive(tmp_path, ("snow",), size=4, classes=10)
    assert len(archive) == 7
    assert archive.labels.tolist() == list(range(7))
    found = archive.images("snow", 4, torch.tensor([6, 2]))
    assert found.shape == (2, 3, 4, 4)
    assert found[:, :, 0, 0].tolist() == [[180, 181, 182], [160, 161, 162]]


def test_an_archive_is_mapped_and_not_read(tmp_path):
    # 750 MB that never touch the memory or the disk
    images = np.lib.format.open_memmap(tmp_path / "fog.npy", mode="w+", dtype=np.uint8, shape=(50_000, 64, 64, 3))
    del images
    np.save(tmp_path / "labels.npy", np.tile(np.arange(10_000) % 10, 5).astype(np.uint8))
    archive = Archive(tmp_path, ("fog",), size=64, classes=10)
    assert isinstance(archive._arrays["fog"], np.memmap)
    assert int(archive.images("fog", 5, torch.tensor([9_999])).sum()) == 0


def test_the_archive_of_our_own_corruptions_scores_as_they_do(folder, some_set, cnn, subject_of):
    images = some_set(30)
    subject = subject_of(cnn, data=lambda split: images, batch_size=8)
    ours = Corruptions(corruptions=NAMES, images=20)(subject)
    read = Corruptions(source="archive", archive=str(folder), corruptions=NAMES, images=20)(subject)
    assert read.metrics == ours.metrics
    assert read.per_image == ours.per_image
    assert read.details == ours.details
    assert len(read.data["archive_fingerprint"]) == 32
    assert ours.data["source"] == "ours"
    assert any("docs/corruptions.md" in note for note in ours.notes)
    assert not any("docs/corruptions.md" in note for note in read.notes)


def packed(folder, tar, *, mode="w", prefix="CIFAR-10-C"):
    with tarfile.open(tar, mode) as file:
        file.add(folder, prefix)
    return str(tar)


def test_a_folder_in_a_folder_and_a_tar_hold_the_same_images(folder, some_set, cnn, subject_of, tmp_path):
    subject = subject_of(cnn, data=lambda split: some_set(30))
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "README").write_text("as unpacked")
    shutil.copytree(folder, tmp_path / "outer" / "CIFAR-10-C")
    ways = [str(folder), str(tmp_path / "outer"), packed(folder, tmp_path / "a.tar")]
    ways.append(packed(folder, tmp_path / "b.tar", prefix="."))
    options = {"source": "archive", "corruptions": NAMES, "images": None, "calibration": False}
    found = [Corruptions(archive=way, **options)(subject) for way in ways]
    for result in found[1:]:
        assert result.metrics == found[0].metrics
        assert result.data["archive_fingerprint"] == found[0].data["archive_fingerprint"]
    array = Archive(tmp_path / "a.tar", NAMES, size=8, classes=10)._arrays["fog"]
    assert isinstance(array, np.memmap), "a tar is mapped and not unpacked"
    assert np.array_equal(array, np.load(folder / "fog.npy"))


def test_tars_that_are_no_archives_are_one_clear_line(folder, tmp_path):
    def refused(path, message):
        with pytest.raises(UserError, match=message) as caught:
            Archive(Path(path), NAMES, size=8, classes=10)
        assert "\n" not in str(caught.value)

    refused(packed(folder, tmp_path / "a.tar.gz", mode="w:gz"), r"a\.tar\.gz: must be a folder .* not compressed")
    refused(packed(folder / "fog.npy", tmp_path / "b.tar", prefix="fog.npy"), r"holds 0 files labels\.npy")
    shutil.copytree(folder, folder / "again")
    refused(packed(folder, tmp_path / "c.tar"), r"holds 2 files labels\.npy; must hold one")
    shutil.rmtree(folder / "again")
    content = (folder / "fog.npy").read_bytes()
    for broken, message in (
        (content[:5000], r"d\.tar: fog\.npy: is cut short"),
        (b"no array at all", r"d\.tar: fog\.npy: .*magic"),
    ):
        (folder / "fog.npy").write_bytes(broken)
        refused(packed(folder, tmp_path / "d.tar"), message)
    np.save(folder / "fog.npy", np.array([{}]), allow_pickle=True)
    refused(packed(folder, tmp_path / "e.tar"), r"fog\.npy: holds Python objects")
    (folder / "fog.npy").unlink()
    refused(packed(folder, tmp_path / "f.tar"), r"f\.tar: fog\.npy is missing$")


def test_a_baseline_from_an_archive_of_other_content_is_named(folder, some_set, cnn, subject_of):
    subject = subject_of(cnn, data=lambda split: some_set(30), file="a")
    options = {"source": "archive", "archive": str(folder), "images": None}
    _, path = evaluate(subject, Loaded("a", "corruptions", {}, Corruptions(corruptions=NAMES, **options)), {})
    fewer = {"corruptions": NAMES[1:], "baseline": str(path)}
    assert not any("baseline" in note for note in Corruptions(**options, **fewer)(subject).notes)
    levels = np.load(folder / "contrast.npy")
    levels[-1, 0, 0] ^= 1
    np.save(folder / "contrast.npy", levels)
    both = Corruptions(**options, corruptions=NAMES, baseline=str(path))(subject)
    assert "the baseline read other images from its archive: contrast" in both.notes


def test_the_other_four_corruptions_of_the_archives_can_be_asked_for(folder, some_set, cnn, subject_of):
    np.save(folder / "spatter.npy", np.load(folder / "fog.npy"))
    subject = subject_of(cnn, data=lambda split: some_set(30))
    result = Corruptions(source="archive", archive=str(folder), corruptions=("spatter",), images=None)(subject)
    assert set(result.details["corruptions"]) == {"spatter"}
    assert any("not the 15" in note for note in result.notes)


def _broken(folder, change):
    np.save(folder / "labels.npy", change(np.load(folder / "labels.npy")))


def _zipped(folder):
    np.savez(folder / "fog.npz", np.load(folder / "fog.npy"))
    (folder / "fog.npz").rename(folder / "fog.npy")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "fog.npy").unlink(), r"archive=.*: fog.npy is missing$"),
        (lambda f: (f / "labels.npy").unlink(), r"labels.npy is missing$"),
        (lambda f: np.save(f / "fog.npy", np.load(f / "fog.npy")[:-1]), r"uint8 \[149, 8, 8, 3\]; must be uint8 \[150"),
        (lambda f: np.save(f / "fog.npy", np.load(f / "fog.npy") / 255), r"fog.npy is float64 .*; must be uint8"),
        (lambda f: np.save(f / "fog.npy", np.zeros((150, 32, 32, 3), np.uint8)), r"32, 32, 3\]; must be .*8, 8, 3\]"),
        (lambda f: (f / "fog.npy").write_bytes(b"no array"), r"archive=.*: fog.npy: "),
        (lambda f: (f / "fog.npy").write_bytes(b"PK\x03\x04 no zip"), r"archive=.*: fog.npy: "),
        (_zipped, r"archive=.*: fog.npy is a zip of arrays \(.npz\); must be one array$"),
        (lambda f: (f / "fog.npy").write_bytes((f / "fog.npy").read_bytes()[:5000]), r"archive=.*: fog.npy: "),
        (lambda f: _broken(f, lambda labels: labels[:-1]), r"labels.npy is uint8 \[149\]; must be whole numbers"),
        (lambda f: _broken(f, lambda labels: labels / 2), r"labels.npy is float64"),
        (lambda f: _broken(f, lambda labels: np.roll(labels, 1) + np.arange(150) // 75), r"the 5 blocks .* differ"),
        (lambda f: _broken(f, lambda labels: labels * 11), r"labels range from 0 to 99; the run has 10 classes"),
        (lambda f: _broken(f, lambda labels: 9 - labels), r"the labels of 30 differ from data 'random', split 'test'"),
    ],
)
def test_a_broken_archive_is_one_clear_line(spoil, message, folder, some_set, cnn, subject_of):
    spoil(folder)
    subject = subject_of(cnn, data=lambda split: some_set(30))
    with pytest.raises(UserError, match=message) as caught:
        Corruptions(source="archive", archive=str(folder), corruptions=NAMES, images=None)(subject)
    assert "\n" not in str(caught.value)


def test_an_archive_of_another_number_of_images_is_refused(folder, some_set, cnn, subject_of):
    subject = subject_of(cnn, data=lambda split: some_set(40))
    with pytest.raises(UserError, match=r"30 images per severity, data 'random', split 'test', has 40"):
        Corruptions(source="archive", archive=str(folder), corruptions=NAMES, images=None)(subject)


def test_an_archive_must_be_named_and_exist(some_set, cnn, subject_of, tmp_path):
    subject = subject_of(cnn, data=lambda split: some_set(30))
    with pytest.raises(UserError, match="source=archive: needs archive=DIR"):
        Corruptions(source="archive")(subject)
    with pytest.raises(UserError, match=r"archive=.*nowhere: no such folder"):
        Corruptions(source="archive", archive=str(tmp_path / "nowhere"))(subject)
