"""KEY=VALUE on the command line: it wins, it can be addressed, and a changed study does not pass for the study."""

import json
from pathlib import Path
from typing import Any

import pytest

from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.recipe import recipe_file
from sslkuramoto.study import Study, load_study, study_file
from sslkuramoto.study.overrides import check_one_source, read_overrides

FOLDER = "data/elsewhere"


@pytest.fixture
def load(tmp_path: Path, content):
    """Load the tiny study with words of the command line."""

    def loaded(*words: str, name: str = "tiny", **changes: Any) -> Study:
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(content(**changes)))
        return load_study(path, words)

    return loaded


HERE = {"data": {"name": "cifar10", "root": "data/cifar10"}}
THERE = {"data.name": "cifar100", "data.root": "data/cifar100"}
NOT_OF_CIFAR = ("data.size", "data.limit", "data.limit_test")
CIFAR100 = {
    **{f"set__{key}": None for key in NOT_OF_CIFAR},
    "set__data": HERE["data"],
    "rows__steps__train": [{"recipe": f"digits-akorn-{name}", "set": THERE} for name in ("simclr", "finetune")],
}
"""The row ``steps`` has data of its own."""


def data_of(study: Study, row: str, stage: int) -> tuple[str, str]:
    data = study.recipe(row, stage, 0).data
    return data.name, data.options["root"]


def test_a_place_of_data_leaves_rows_alone_that_have_data_of_their_own(load):
    study = load(f"data.root={FOLDER}", **CIFAR100)
    assert [data_of(study, "simclr", stage) for stage in (0, 1)] == [("cifar10", FOLDER)] * 2
    assert [data_of(study, "steps", stage) for stage in (0, 1)] == [("cifar100", "data/cifar100")] * 2
    assert study.keep_their_data == ["steps"]
    assert load("epochs=2", **CIFAR100).keep_their_data == []


def test_options_of_the_data_that_are_no_place_change_every_training_run(load):
    study = load("data.limit=40", **CIFAR100)
    assert {study.recipe(row, 0, 0).data.options["limit"] for row in ("simclr", "steps")} == {40}


def test_a_row_and_one_of_its_training_runs_can_be_addressed(load):
    study = load(f"steps.data.root={FOLDER}", "steps.1.epochs=5", "steps.epochs=4", **CIFAR100)
    assert data_of(study, "steps", 0) == ("cifar100", FOLDER)
    assert data_of(study, "simclr", 0) == ("cifar10", "data/cifar10")
    assert [study.recipe("steps", stage, 0).epochs for stage in (0, 1)] == [4, 5]
    assert study.recipe("simclr", 1, 0).epochs == 1


def test_the_data_of_a_whole_row_are_refused_where_its_training_runs_take_different_data(load):
    pretrained = [
        {"recipe": "digits-akorn-simclr", "set": {"data.root": "data/tiny-imagenet"}},
        {"recipe": "digits-akorn-finetune"},
    ]
    changes = {**CIFAR100, "rows__steps__train": pretrained}
    with pytest.raises(UserError, match=r"row steps take different data; name one: steps.0.data.root="):
        load(f"steps.data.root={FOLDER}", **changes)
    study = load(f"steps.0.data.root={FOLDER}", "data.root=data/c10", **changes)
    assert [data_of(study, "steps", stage)[1] for stage in (0, 1)] == [FOLDER, "data/c10"]


def test_one_place_for_the_data_of_different_recipes_is_refused(load, tmp_path: Path):
    other = tmp_path / "other.yaml"
    text = recipe_file("digits-akorn-simclr").read_text()
    other.write_text(text.replace("data: {name: digits, size: 16}", "data: {name: cifar10, root: there}"))
    changes = {
        **{f"set__{key}": None for key in NOT_OF_CIFAR},
        "rows__simclr__train": [{"recipe": str(other)}, {"recipe": "digits-akorn-finetune", "set": HERE}],
        "rows__steps__train": [{"recipe": "digits-akorn-supervised"}],
    }
    load(**changes)
    load(f"simclr.0.data.root={FOLDER}", **changes)
    told = "take different data: cifar10 .row a., digits .row b.; name one: ROW.data.root="
    with pytest.raises(UserError, match=told):
        check_one_source(read_overrides(["data.root=x"], {}, []), [("a", "cifar10"), ("b", "digits"), ("c", "digits")])


def test_a_column_can_be_addressed(load):
    study = load("columns.knn.neighbours=3", "columns.clean.draws=30")
    assert study.columns["knn"].settings == {"neighbours": 3}
    assert study.columns["clean"].loaded().options["draws"] == 30
    assert study.columns["vote"].loaded().options["draws"] == 20


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("simclear.epochs=2", "unknown row or section in simclear.epochs 'simclear': did you mean 'simclr'?"),
        ("columns.kn.draws=2", "unknown column in columns.kn.draws 'kn': did you mean 'knn'?"),
        ("columns.knn.neighbors=2", "did you mean 'neighbours'?"),
        ("columns.knn=2", "unknown column in columns.knn 'knn'"),
        ("simclr.2.epochs=2", "simclr.2.epochs: row simclr has 2 training run(s), counted from 0"),
        ("simclr.0=2", "simclr.0: names no option"),
        ("simclr.seed=2", "simclr.seed: is given by the study itself"),
        ("reported.epochs=2", "reported.epochs: row reported is published only"),
        ("simclr.epocs=2", "unknown key 'epocs': did you mean 'epochs'?"),
        ("seed=2", "seed: is given by the study itself"),
    ],
)
def test_what_is_not_there_is_one_line(load, word: str, message: str):
    with pytest.raises(UserError) as caught:
        load(word)
    assert message in str(caught.value)
    assert str(caught.value).startswith("study tiny")
    assert "\n" not in str(caught.value)


def test_the_folder_of_a_changed_study_is_its_own(load):
    same = [load(), load("engine.device=cpu"), load("steps.data.limit=3"), load("epochs=2"), load("epochs=3")]
    folders = [study.folder for study in same]
    assert folders[0] == folders[1] == "tiny"
    assert len(set(folders[1:])) == 4
    assert all(folder.startswith("tiny-") and len(folder) == len("tiny-") + 6 for folder in folders[2:])
    assert load("engine.precision=bf16").folder not in folders, "the precision is that of the weights"
    assert load("batch_size=4", "epochs=2").folder == load("epochs=2", "batch_size=4").folder
    assert load("epochs=2", "batch_size=4").changes == ["changed on the command line: batch_size=4, epochs=2"]


def test_the_place_of_data_is_no_change(load):
    study = load(f"data.root={FOLDER}", "steps.data.root=x", **CIFAR100)
    assert (study.folder, study.changes) == ("tiny", [])


def test_another_file_with_the_name_of_a_study_has_a_folder_of_its_own(load, tmp_path: Path):
    study = load(name="report-table-2-small")
    assert study.folder.startswith("report-table-2-small-")
    assert "report-table-2-small.yaml, not from the study of this name" in study.changes[0]
    assert load(name="report-table-2-small", title="Other").folder != study.folder
    copy = tmp_path / "report-table-2-small.yaml"
    copy.write_text(study_file("report-table-2-small").read_text() + "\n# a comment\n")
    assert load_study(copy).folder == load_study("report-table-2-small").folder == "report-table-2-small"


def test_every_output_of_a_changed_study_says_so_and_leaves_the_others_alone(computed, tmp_path: Path, capsys):
    words = [str(computed[0].path), "epochs=2", "--root", str(tmp_path)]
    said = "changed on the command line: epochs=2"
    assert main(["study", *words, "--dry-run"]) == 0
    assert said in capsys.readouterr().out
    assert main(["report", *words]) == 0
    out = capsys.readouterr().out
    assert said in out
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert folder.name.startswith("tiny-")
    assert f"wrote {folder}/table.csv, table.md, table.tex and report.html" in out
    outputs = {file.name: file.read_text() for file in folder.iterdir()}
    assert json.loads(outputs.pop("study.json"))["changes"] == ["epochs=2"]
    assert set(outputs) == {"table.csv", "table.md", "table.tex", "report.html"}
    for name, text in outputs.items():
        assert said in text.replace("\\_", "_").replace("\\allowbreak{}", ""), name
