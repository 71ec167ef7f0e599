"""The table over seeds: mean and deviation of what was measured, a dash for what was not."""

import json

import pytest
from scripts_by_name import script_named

SESSION = {"hardware": "a machine", "threads": 1, "device": "cpu", "python": "3.11", "revision": "abc"}


@pytest.fixture(scope="module")
def script():
    return script_named("results_table")


@pytest.fixture
def measured(tmp_path):
    """Return what leaves a finished run of a row and seed with its results."""

    def leave(row, seed, results):
        run = tmp_path / f"{row}-seed{seed}"
        (run / "results").mkdir(parents=True)
        (run / "encoder.safetensors").touch()
        (run / "recipe.yaml").write_text("encoder: {name: akorn}\nobjective: {name: classification}\n")
        session = SESSION | {"versions": {"torch": "2.6"}}
        (run / "environment.json").write_text(json.dumps({"sessions": [session]}))
        for protocol, metrics in results.items():
            stated = {name: {"value": value, "unit": "fraction", "n": 360} for name, value in metrics.items()}
            content = {"protocol": protocol, "options": {}, "metrics": stated, "data": {}, "encoder": {}, "notes": []}
            (run / "results" / f"{protocol}.json").write_text(json.dumps(content))
        return tmp_path

    return leave


def rows_of(text):
    head, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    names = [name.strip() for name in head.strip("|").split(" | ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in cells]


def test_seeds_are_joined_and_what_has_no_value_is_left_out(script, measured):
    noise = "sign_64_255_accuracy"
    measured("one", 0, {"clean": {"accuracy": 0.5}, "noise": {noise: 0.4}})
    measured("one", 1, {"clean": {"accuracy": 0.7}, "noise": {noise: None}})
    folder = measured("two", 0, {"clean": {"accuracy": 0.9}})
    one, two = rows_of(script.table(folder))
    assert (one["row"], one["seeds"]) == ("one", "0, 1")
    assert (one["Finetuned: clean accuracy"], two["Finetuned: clean accuracy"]) == ("60.0 +- 14.1", "90.0")
    assert (one["Noise: sign noise of 64/255"], two["Noise: sign noise of 64/255"]) == ("40.0", "-")


def test_an_optional_column_without_any_number_is_no_column(script, measured):
    folder = measured("one", 0, {"clean": {"accuracy": 0.5}, "noise": {"sign_64_255_accuracy": None}})
    (one,) = rows_of(script.table(folder))
    assert not any(name.startswith("Noise") for name in one)
    assert one["Robust accuracy: as published"] == "-"


def test_an_empty_folder_is_one_line_and_exit_code_2(script, tmp_path, capsys):
    assert script.main([str(tmp_path)]) == 2
    assert "holds no finished run called ROW-seedK" in capsys.readouterr().err


def test_a_page_takes_the_table_between_its_markers(script, measured, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("Words.\n<!-- table:start -->\n<!-- table:end -->\n")
    folder = measured("one", 0, {"clean": {"accuracy": 0.5}})
    assert script.main([str(folder), "--into", str(page)]) == 0
    assert page.read_text() == f"Words.\n<!-- table:start -->\n{script.table(folder)}\n<!-- table:end -->\n"
    assert capsys.readouterr().out == ""
