"""Files beside the data are told by their content, and one that is not there is a dash until it is."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from corruption_archive import write_archive

from sslkuramoto.data import DATA
from sslkuramoto.study import Study, collect, plan_study, run_plan
from sslkuramoto.study.keys import sampled_hash

NAMES = ["fog", "contrast"]


@pytest.fixture
def corrupted(study):
    """Load the tiny study with a column on an archive, in place of k-NN."""

    def load(archive: Path | None) -> Study:
        options = {"source": "archive", "archive": archive and str(archive), "corruptions": NAMES, "images": 4}
        column = {"protocol": "corruptions", "metric": "accuracy_mean", "rows": ["simclr"], "set": options}
        return study(columns__corrupted=column, columns__knn=None, rows__simclr__published__knn=None)

    return load


def archive_in(folder: Path) -> Path:
    return write_archive(folder, DATA.build("digits", {"limit": 16, "limit_test": 20, "size": 8}, "test"), NAMES)


def key_of(study: Study, root: Path) -> str:
    return plan_study(study, root).cells["simclr", "corrupted", 0]


def test_a_moved_archive_is_the_same_measurement_and_another_one_in_its_place_is_not(corrupted, tmp_path: Path):
    archive, root = archive_in(tmp_path / "a"), tmp_path / "root"
    first = key_of(corrupted(archive), root)
    moved = archive.rename(tmp_path / "b")
    assert key_of(corrupted(moved), root) == first
    images = np.load(moved / "fog.npy")
    images[-1, 0, 0, 0] ^= 1
    np.save(moved / "fog.npy", images)
    assert key_of(corrupted(moved), root) != first


def test_a_missing_archive_is_a_dash_and_the_rest_continues(corrupted, tmp_path: Path):
    folder, root, lines = tmp_path / "a", tmp_path / "root", []
    plan = plan_study(corrupted(folder), root)
    assert [f"archive={folder}: no such folder" in problem for problem in plan.problems] == [True]
    assert run_plan(plan, jobs=0, report=lines.append) == 1
    table = collect(corrupted(folder), root)
    assert "no such folder" in table.cells["simclr", "corrupted"].failures[0]
    assert table.cells["simclr", "clean"].mean is not None
    assert not (root / "failures").exists()
    archive_in(folder)
    assert run_plan(plan_study(corrupted(folder), root), jobs=0, report=lines.append) == 0, "without --retry"
    measured = collect(corrupted(folder), root).cells["simclr", "corrupted"].mean
    assert measured is not None
    folder.rename(tmp_path / "away")
    assert collect(corrupted(folder), root).cells["simclr", "corrupted"].mean == measured, "printed from the record"


def test_another_baseline_at_the_same_path_is_another_measurement(study, tmp_path: Path):
    def columns(where: Path, **names: list[str]) -> Study:
        options = {"images": 4, "baseline": str(where)}
        column = {"protocol": "corruptions", "metric": "mce", "rows": ["simclr"]}
        made = {key: column | {"set": options | {"corruptions": chosen}} for key, chosen in names.items()}
        return study(**{f"columns__{key}": each for key, each in made.items()})

    def keyed(error: float, where: Path) -> str:
        cells = {"fog": {str(severity): {"error": error} for severity in range(1, 6)}}
        content = {"details": {"corruptions": cells}, "data": {"source": "ours"}}
        where.write_text(json.dumps({**content, "metrics": {"clean_accuracy": {"value": 0.9}}}))
        return key_of(columns(where, corrupted=["fog"]), tmp_path / "root")

    place = tmp_path / "a.json"
    first = keyed(0.5, place)
    assert keyed(0.5, tmp_path / "moved.json") == first
    assert keyed(0.4, place) != first
    both = ({"fits": ["fog"]}, {"lacks": ["fog", "frost"]})
    for one, other in (both, both[::-1]):
        plan = plan_study(columns(place, **one, **other), tmp_path / "root")
        assert plan.problems == [f"baseline={place}: lacks frost at the severities 1 to 5"]
        assert ("simclr", "fits", 0) in plan.cells


def test_an_incomplete_or_unnamed_archive_is_said_in_the_plan(corrupted, tmp_path: Path):
    archive = archive_in(tmp_path / "a")
    (archive / "fog.npy").unlink()
    assert plan_study(corrupted(archive), tmp_path / "root").problems == [f"archive={archive}: fog.npy is missing"]
    (problem,) = plan_study(corrupted(None), tmp_path / "root").problems
    assert problem == "corruptions: needs archive=DIR, the folder of CIFAR-10-C or CIFAR-100-C"


def test_an_archive_in_a_folder_or_a_tar_is_measured_and_told_by_its_content_too(corrupted, tmp_path: Path):
    root, outer, tar = tmp_path / "root", tmp_path / "outer", tmp_path / "a.tar"
    inner = archive_in(outer / "CIFAR-10-C")
    unpacked = key_of(corrupted(inner), root)
    assert key_of(corrupted(outer), root) == unpacked
    keys = set()
    for level in (0, 1):
        images = np.load(inner / "fog.npy")
        images[-1, 0, 0, 0] = level
        np.save(inner / "fog.npy", images)
        with tarfile.open(tar, "w") as file:
            file.add(inner, inner.name)
        plan = plan_study(corrupted(tar), root)
        assert plan.problems == []
        keys.add(plan.cells["simclr", "corrupted", 0])
    assert len(keys) == 2
    assert run_plan(plan_study(corrupted(tar), root), jobs=0, report=lambda line: None) == 0
    assert collect(corrupted(tar), root).cells["simclr", "corrupted"].mean is not None


def test_a_large_file_is_told_by_its_size_and_by_pieces_of_all_its_parts(tmp_path: Path):
    file = tmp_path / "x"
    content = bytearray(3_000_000)
    file.write_bytes(content)
    first = sampled_hash(file)
    for place in (0, 1_000_000, 2_999_999):
        other = content.copy()
        other[place : place + 60_000] = b"\1" * len(other[place : place + 60_000])
        file.write_bytes(other)
        assert sampled_hash(file) != first
    file.write_bytes(content[:-1])
    assert sampled_hash(file) != first
