"""What follows --config is an argument of the published network, or a change of the recipe where its key has a dot."""

import published_akorn
import pytest
import torch

from sslkuramoto.cli import main
from sslkuramoto.run_directory import RunDirectory

SMALL = ["--recipe", "digits-akorn-supervised"]


@pytest.fixture
def file(tmp_path) -> str:
    weights = published_akorn.state(*published_akorn.network(kernel_sizes=(3, 3), num_steps=2))
    torch.save(weights, tmp_path / "published.pth")
    return str(tmp_path / "published.pth")


@pytest.mark.parametrize("words", [["n=2", "T=2", "data.limit=40"], ["data.limit=40", "n=2", "T=2"]])
def test_a_key_with_a_dot_changes_the_recipe_wherever_it_is_written(words, file, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["import", "akorn", file, "--run", str(run), *SMALL, "--config", *words]) == 0
    assert RunDirectory(run).recipe().data.options["limit"] == 40
    assert "not read" not in capsys.readouterr().out
    origin = RunDirectory(run).environment_file.read_text()
    assert '"T": 2' in origin
    assert "data.limit" not in origin


@pytest.mark.parametrize(
    ("word", "line"),
    [("data.limt=40", "unknown key of data digits 'limt'"), ("0.5", "'0.5': overrides are written key=value")],
)
def test_a_wrong_key_with_a_dot_is_one_line(word, line, file, tmp_path, capsys):
    words = ["import", "akorn", file, "--run", str(tmp_path / "run"), *SMALL, "--config", "n=2", "T=2", word]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()
