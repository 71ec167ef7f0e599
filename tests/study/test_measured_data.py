"""A measurement is of the images that its own row names, and its key holds every split that it reads."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.study import Study, collect, plan_study, run_plan
from sslkuramoto.study.plan import Plan

FINETUNE = {"recipe": "digits-akorn-supervised"}
CLEAN = {"protocol": "clean", "metric": "accuracy"}
KNN = {"protocol": "knn", "metric": "accuracy", "set": {"neighbours": 5}}


@pytest.fixture
def rows(study) -> Callable[..., Study]:
    """Load the tiny study with one training run a row, and other rows, columns and changes."""

    def load(rows: dict[str, dict], columns: dict[str, dict], **changes: object) -> Study:
        made = {name: {"train": [{**FINETUNE, "set": values}]} for name, values in rows.items()}
        return study(rows=made, columns=columns, compare=None, published=None, **changes)

    return load


def folder_of_images(root: Path, split: str, seed: int) -> None:
    """Write eight images of noise of two classes."""
    for label in range(2):
        noise = np.random.default_rng([label, seed])
        (folder := root / split / f"class{label}").mkdir(parents=True, exist_ok=True)
        for number in range(4):
            Image.fromarray(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")


def folder(root: Path) -> dict[str, object]:
    return {"data": {"name": "image_folder", "root": str(root), "size": 8}}


def test_rows_that_share_a_training_are_measured_each_on_its_own_test_images(rows, tmp_path: Path):
    loaded = rows({"few": {"data.limit_test": 10}, "many": {"data.limit_test": 30}}, {"clean": CLEAN, "knn": KNN})
    plan = plan_study(loaded, tmp_path / "root")
    assert len(plan.stages) == 1
    assert run_plan(plan, jobs=0, report=lambda line: None) == 0
    cells = collect(loaded, tmp_path / "root").cells
    counts = {at: [value.n for value in cell.values] for at, cell in cells.items()}
    assert counts == {("few", "clean"): [10], ("few", "knn"): [10], ("many", "clean"): [30], ("many", "knn"): [30]}


def test_the_measurement_of_a_row_is_the_same_whether_another_row_shares_its_training(rows, tmp_path: Path):
    for name, seed in (("one", 1), ("two", 2)):
        folder_of_images(tmp_path / name, "train", 0)
        folder_of_images(tmp_path / name, "test", seed)
    changes = {f"set__data.{key}": None for key in ("limit", "limit_test", "size")}
    loaded = rows({name: folder(tmp_path / name) for name in ("one", "two")}, {"clean": CLEAN}, **changes)
    plan = plan_study(loaded, tmp_path / "root")
    assert len(plan.stages) == 1
    assert run_plan(plan, jobs=0, report=lambda line: None) == 0
    alone = plan_study(loaded, tmp_path / "alone", rows=["two"])
    assert alone.cells["two", "clean", 0] == plan.cells["two", "clean", 0] != plan.cells["one", "clean", 0]
    prints = {Result.read(task.path).data["fingerprint"] for task in plan.evaluations}
    assert len(prints) == 2


def test_a_function_is_measured_anew_on_other_training_images_by_what_reads_them(study, tmp_path: Path):
    file = tmp_path / "net.py"
    file.write_text("def build():\n    raise RuntimeError('is not called by a plan')\n")

    def cells(limit: int) -> dict[str, str]:
        data = {"name": "digits", "size": 8, "limit": limit, "limit_test": 20}
        net = {"net": {"model": f"{file}:build", "data": data}}
        loaded = study(rows=net, columns={"clean": CLEAN, "knn": KNN}, compare=None, published=None)
        return {column: key for (_, column, _), key in plan_study(loaded, tmp_path / "root").cells.items()}

    few, many = cells(16), cells(200)
    assert few["clean"] == many["clean"]
    assert few["knn"] != many["knn"]


@pytest.mark.parametrize(("held_out", "same"), [("val", False), (0.5, True)])
def test_other_val_images_are_another_calibration_where_the_temperature_is_fitted_on_them(
    rows, tmp_path: Path, held_out: str | float, same: bool
):
    column = {"protocol": "calibration", "metric": "ece", "set": {"held_out": held_out}}
    for split in ("train", "test"):
        folder_of_images(tmp_path / "images", split, len(split))
    changes = {f"set__data.{key}": None for key in ("limit", "limit_test", "size")}
    loaded = rows({"one": folder(tmp_path / "images")}, {"ece": column, "clean": CLEAN}, **changes)
    cells = []
    for seed in (1, 2):
        folder_of_images(tmp_path / "images", "val", seed)
        cells.append(plan_study(loaded, tmp_path / "root").cells)
    assert (cells[0]["one", "ece", 0] == cells[1]["one", "ece", 0]) is same
    assert cells[0]["one", "clean", 0] == cells[1]["one", "clean", 0]


@pytest.mark.parametrize("nested", [False, True])
def test_other_weights_in_the_source_of_a_transfer_attack_are_another_measurement(
    rows, computed, tmp_path: Path, nested: bool
):
    _, root, _ = computed
    source = shutil.copytree(plan_study(computed[0], root).stages[-1].path, tmp_path / "source")
    attacks = {"attacks": [{"name": "transfer", "run": str(source), "iterations": 2}]}
    options = {"eps": 0.1, "images": 4, "chunk": 4, **({"ways": {"one": attacks}} if nested else attacks)}
    robust = {"protocol": "robustness", "metric": "robust_accuracy", "set": options}
    audit = {"protocol": "audit-quick", "metric": "lowest", "set": {"sources": [str(source)]}}
    loaded = rows({"one": {}}, {"robust": robust, "audit": audit, "clean": CLEAN})

    def plan() -> Plan:
        return plan_study(loaded, tmp_path / "root")

    first = plan()
    head = RunDirectory(source).head_file()
    weights = bytearray(head.read_bytes())
    weights[-1] ^= 1
    head.write_bytes(weights)
    second = plan()
    moved = {column for (_, column, _), key in first.cells.items() if key not in second.cells.values()}
    assert moved == {"robust", "audit"}
    shutil.rmtree(source)
    assert plan().problems == [f"run={source}: is no finished run (no encoder.safetensors)"]
    assert plan().cells == second.cells, "what was seen of the weights is recorded"
