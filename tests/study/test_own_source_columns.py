"""Columns that measure other data than those of the run: checked when the study loads, then computed apart."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sslkuramoto.cli import main
from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import load_protocol
from sslkuramoto.results import Result
from sslkuramoto.study import collect, load_study, plan_study, run_plan

BOARDS: dict[str, Any] = {
    "recipe": "sudoku4-akorn",
    "set": {
        "data.puzzles": 24,
        "data.puzzles_test": 20,
        "encoder.channels": 8,
        "encoder.num_steps": 2,
        "encoder.attention_heads": 2,
        "epochs": 1,
        "schedule.warmup_epochs": 0,
        "batch_size": 8,
    },
}
SCENES: dict[str, Any] = {
    "recipe": "shapes-small-akorn-simclr",
    "set": {
        "data.scenes": 8,
        "data.scenes_test": 6,
        "encoder.channels": 8,
        "encoder.num_steps": 1,
        "encoder.attention_heads": 2,
        "epochs": 1,
        "batch_size": 8,
        "weight_ema": None,
    },
}
FEW = {"side": 4, "puzzles_test": 6}


def boards(metric: str = "board_accuracy_blanks", protocol: str = "sudoku-ood", **options: Any) -> dict[str, Any]:
    return {"protocol": protocol, "metric": metric, "set": options}


def scenes(protocol: str = "objects-up4", **options: Any) -> dict[str, Any]:
    return {"protocol": protocol, "metric": "mbo", "set": {"clusters": 3, **options}}


def written(folder: Path, train: dict[str, Any], **columns: dict[str, Any]) -> Path:
    path = folder / "own.yaml"
    content = {"title": "Own", "columns": columns, "rows": {"a": {"train": [train]}}}
    path.write_text(yaml.safe_dump(content | {"set": {"engine.device": "cpu"}}, sort_keys=False))
    return path


def test_another_source_given_by_an_option_replaces_the_one_of_the_file() -> None:
    """Options of one source are none of another."""
    loaded = load_protocol("sudoku-ood", ["boards={name: sudoku_rrn, root: somewhere}"])
    assert loaded.options["boards"] == {"name": "sudoku_rrn", "root": "somewhere"}
    assert load_protocol("sudoku-ood", ["boards.puzzles_test=7"]).options["boards"]["family"] == "seeds"


@pytest.mark.parametrize(
    ("train", "columns", "message"),
    [
        (BOARDS, {"ood": boards()}, "is built for boards of 4 x 4 cells, 4 symbols; data sudoku gives boards of 9 x 9"),
        (
            BOARDS,
            {"id": boards(protocol="sudoku"), "ood": boards(protocol="sudoku-ood-dug")},
            "columns.ood: encoder board_akorn is built for boards of 4 x 4 cells",
        ),
        (
            SCENES,
            {"others": scenes(scenes={"name": "shapes", "size": 42})},
            "columns.others: encoder patch_akorn takes images of a multiple of 4 pixels; data shapes gives",
        ),
        (
            BOARDS,
            {"more": boards(protocol="sudoku") | {"encoder": {"side": 6, "symbols": 6}}},
            "columns.more: encoder board_akorn is built for boards of 6 x 6 cells, 6 symbols; data sudoku gives",
        ),
    ],
)
def test_data_that_do_not_fit_the_network_are_one_line_before_anything_is_read_or_trained(
    train: dict[str, Any],
    columns: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    path = written(tmp_path, train, **columns)
    for words in ([], ["--dry-run"]):
        assert main(["study", str(path), "--root", str(tmp_path / "root"), *words]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.startswith("sslkuramoto: study own, row a, stage 0 (")
        assert said.count("\n") == 1
    assert not (tmp_path / "root").exists()


def test_a_study_with_data_of_the_size_of_the_network_loads(tmp_path: Path) -> None:
    load_study(written(tmp_path, BOARDS, ood=boards(boards={"name": "sudoku", "side": 4, "givens": 5})))
    load_study(written(tmp_path, SCENES, others=scenes(scenes={"name": "tetrominoes"})))
    wrong = boards(protocol="sudoku", boards={"name": "digits"})
    with pytest.raises(UserError, match="boards reads boards; data digits gives images"):
        load_study(written(tmp_path, BOARDS, ood=wrong))


def computed(path: Path, root: Path) -> dict[str, Result]:
    """Return column -> the result behind its cell."""
    assert run_plan(plan_study(load_study(path), root), jobs=0, device="cpu", report=lambda _: None) == 0
    table = collect(load_study(path), root)
    assert all(cell.mean is not None for cell in table.cells.values())
    return {column: Result.read(table.cells["a", column].values[0].result) for column in table.study.columns}


def test_columns_that_share_a_protocol_are_told_apart_by_their_options_and_one_measurement_serves_equal_ones(
    tmp_path: Path,
) -> None:
    dug = {"name": "sudoku", **FEW, "puzzles": 4}
    found = computed(
        written(
            tmp_path,
            BOARDS,
            id=boards(protocol="sudoku"),
            five=boards(boards=dug | {"givens": 5}, num_steps=2, votes=["energy_sum"], steps=[]),
            five_vote=boards(
                "energy_sum/board_accuracy_blanks",
                boards=dug | {"givens": 5},
                num_steps=2,
                votes=["energy_sum"],
                steps=[],
            ),
            six=boards(protocol="sudoku-ood-dug", boards=dug | {"givens": 6}, num_steps=2, steps=[1]),
            vote=boards("confidence/board_accuracy_blanks", "sudoku-vote", num_steps=2, votes=["confidence"], steps=[]),
        ),
        tmp_path / "root",
    )
    assert [found[key].protocol for key in found] == [
        "sudoku",
        "sudoku-ood",
        "sudoku-ood",
        "sudoku-ood-dug",
        "sudoku-vote",
    ]
    assert found["five"].path == found["five_vote"].path
    assert len({result.path for result in found.values()}) == 4
    prints = [found[key].data["fingerprint"] for key in ("id", "five", "six", "vote")]
    assert len({*prints}) == 3
    assert prints[0] == prints[3], "the votes are of the run's own boards"
    assert {*found["five"].per_image["givens"]} == {5}
    assert {*found["six"].per_image["givens"]} == {6}
    assert found["six"].details["sudoku"]["steps"].keys() == {"1"}


def test_columns_of_up_tiled_maps_and_of_other_scenes_are_measurements_of_their_own(tmp_path: Path) -> None:
    others = {"name": "tetrominoes", "scenes": 4, "scenes_test": 5}
    found = computed(
        written(tmp_path, SCENES, plain=scenes("objects", draws=1), fine=scenes(), others=scenes(scenes=others)),
        tmp_path / "root",
    )
    assert [result.protocol for result in found.values()] == ["objects", "objects-up4", "objects-up4"]
    assert [result.data["name"] for result in found.values()] == ["shapes", "shapes", "tetrominoes"]
    assert [result.options["up_tile"] for result in found.values()] == [1, 4, 4]
    assert json.loads((found["others"].path).read_text())["described_by"] == "objects-up4"
