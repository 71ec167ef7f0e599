"""A page or table is written where it replaces no file of a run, or it is refused before anything is read."""

from pathlib import Path

import pytest

from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.outputs import PAGES, check_output
from sslkuramoto.run_directory import RunDirectory

OF_RUNS = ("recipe.yaml", "environment.json", "board-card.json", "encoder.safetensors", "metrics.csv", "model.json")


@pytest.fixture
def run(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    RunDirectory(tmp_path / "run").recipe_file.write_text("recipe")
    return tmp_path / "run"


@pytest.mark.parametrize("option", PAGES)
@pytest.mark.parametrize("name", OF_RUNS)
def test_no_page_replaces_a_file_of_a_run(run, option, name):
    with pytest.raises(UserError, match=f"^--{option}={run / name}: (must end in|is a file of the run)"):
        check_output(option, run / name)


@pytest.mark.parametrize(
    "words",
    [
        ["board", "RUN", "--html", "RUN/recipe.yaml"],
        ["board", "RUN", "--html", "RUN/board-card.json"],
        ["report", "RUN", "--html", "RUN/recipe.yaml"],
        ["report", "RUN", "--markdown", "RUN/recipe.yaml"],
        ["report", "RUN", "--latex", "RUN/recipe.yaml"],
        ["report", "RUN", "--csv", "RUN/metrics.csv"],
    ],
)
def test_commands_refuse_in_one_line_and_write_nothing(run, capsys, words):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main([word.replace("RUN", str(run)) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words[3].replace("RUN", str(run)) in line
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}


def test_a_place_where_nothing_can_be_written_is_refused_first(run, tmp_path):
    for place in (Path("/proc/page.html"), run / "recipe.yaml" / "page.html"):
        with pytest.raises(UserError, match=r"page\.html: cannot be written"):
            check_output("html", place)
    check_output("html", tmp_path / "new" / "folder" / "page.HTML")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("option", PAGES)
def test_a_page_within_a_run_and_an_older_page_may_be_written(run, option):
    name = f"page{PAGES[option][0]}"
    check_output(option, run / name)
    (run / name).write_text("an older page")
    check_output(option, run / name)
