"""A study of one's own: a file to start from, and a table that is found again by name, path or folder."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from sslkuramoto.cli import main
from sslkuramoto.study import load_study, parse


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory in which commands run."""
    folder = tmp_path / "paper"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_new_study_explains_every_key_and_loads(here: Path, capsys):
    assert main(["study", "--new", "tables/mine.yaml"]) == 0
    assert "wrote tables/mine.yaml" in capsys.readouterr().out
    text = (here / "tables" / "mine.yaml").read_text()
    keys = {*" ".join((parse._STUDY, parse._COLUMN, parse._ROW, parse._FIGURE)).split(), "recipe"}
    assert {key for key in keys if f"{key}:" not in text and f"`{key}:" not in text} == set()
    assert "sslkuramoto study tables/mine.yaml" in text
    study = load_study("tables/mine.yaml")
    assert {*study.rows} == {"simclr", "supervised", "paper"}
    content = yaml.safe_load(text)
    lines = [line.replace("  # ", "  ", 1) for line in text.splitlines() if line.startswith("  # ")]
    theirs = yaml.safe_load("\n".join(lines[next(n for n, line in enumerate(lines) if "theirs:" in line) :]))
    (here / "net.py").write_text("def build():\n    return None\n")
    content["rows"] |= theirs
    for column in ("knn", "few_steps"):
        content["columns"][column]["except"] = [*content["columns"][column].get("except", []), "theirs"]
    (here / "with_theirs.yaml").write_text(json.dumps(content))
    assert load_study("with_theirs.yaml").rows["theirs"].model == "net.py:build", "as the comment says"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--new", "mine.txt"], "--new mine.txt: a study file ends with .yaml"),
        (["--new", "report-table-2.yaml"], "the name 'report-table-2' is taken by the package"),
        (["--new", "there.yaml"], "--new there.yaml: exists already; nothing was written"),
        (["--new", "mine.yaml", "there.yaml"], "--new mine.yaml: writes one file and takes no study"),
        ([], "name a study file or a name of 'sslkuramoto list studies', or write a new file by --new FILE"),
        (["mine"], "unknown study 'mine'"),
    ],
)
def test_what_cannot_be_a_new_study_is_one_line(here: Path, capsys, words: list[str], message: str):
    (here / "there.yaml").write_text("mine")
    assert main(["study", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (here / "there.yaml").read_text() == "mine"
    assert [path.name for path in here.iterdir()] == ["there.yaml"]


def test_a_computed_study_is_reported_by_name_path_and_folder(computed, here: Path, capsys):
    (here / "tables").mkdir()
    shutil.copy(computed[0].path, here / "tables" / "mine.yaml")
    shutil.copytree(computed[1], here / "runs" / "studies")
    assert main(["study", "tables/mine.yaml"]) == 0
    capsys.readouterr()
    printed = []
    for name in ("mine", "tables/mine.yaml", "runs/studies/mine"):
        assert main(["report", name]) == 0
        printed.append(capsys.readouterr().out)
    assert "70.0" in printed[0]
    assert len(set(printed)) == 1
    shutil.move(here, here.with_name("moved"))
    assert main(["report", str(here.with_name("moved") / "runs" / "studies" / "mine"), "--root", "r"]) == 0


def test_the_folder_of_a_changed_study_knows_its_changes(computed, here: Path, capsys):
    shutil.copy(computed[0].path, here / "mine.yaml")
    assert main(["report", "mine", "epochs=2"]) == 0, "NAME stands for NAME.yaml of this directory"
    (folder,) = (path for path in (here / "runs" / "studies").iterdir() if path.is_dir())
    capsys.readouterr()
    assert main(["report", str(folder)]) == 0
    assert "changed on the command line: epochs=2" in capsys.readouterr().out
    (here / "mine.yaml").unlink()
    assert main(["report", str(folder)]) == 2
    assert "its study file" in capsys.readouterr().err
    (folder / "study.json").write_text("[]")
    assert main(["report", str(folder)]) == 2
    assert "damaged; name the study file instead" in capsys.readouterr().err
