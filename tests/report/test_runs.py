"""What a run left is read as it is: gaps stay gaps, and a broken file is named."""

import math
from pathlib import Path

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.report.runs import Row, discover, load, read_series
from sslkuramoto.results import Result


def series(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    return read_series(tmp_path / "metrics.csv")


def test_gaps_leave_no_points_and_nan_and_inf_are_kept(tmp_path):
    read = series(tmp_path, "step,loss,knn\n1,0.5,\n2,nan,0.7\n3,inf,\n")
    assert read["knn"] == ([2.0], [0.7])
    assert read["loss"][0] == [1.0, 2.0, 3.0]
    assert math.isnan(read["loss"][1][1])
    assert math.isinf(read["loss"][1][2])


@pytest.mark.parametrize("text", ["", "step,loss\n", "\n"])
def test_an_empty_record_has_no_series(tmp_path, text):
    assert series(tmp_path, text) == {}


def test_a_missing_record_has_no_series(tmp_path):
    assert read_series(tmp_path / "metrics.csv") == {}


def test_a_step_written_twice_keeps_the_later_value_and_both_rows_columns(tmp_path):
    read = series(tmp_path, "step,loss,knn\n1,1,\n2,9,\n1,,0.3\n2,2,\n3,3,\n")
    assert read["loss"] == ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert read["knn"] == ([1.0], [0.3])


def test_a_last_line_cut_off_is_left_out(tmp_path):
    assert series(tmp_path, "step,loss\n1,0.5\n2,1.2e-")["loss"] == ([1.0], [0.5])


def test_text_before_the_last_line_is_named_with_its_line(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.csv, line 2: loss='high'"):
        series(tmp_path, "step,loss\n1,high\n2,1\n")


def test_a_record_without_steps_is_refused(tmp_path):
    with pytest.raises(UserError, match="no column 'step'"):
        series(tmp_path, "epoch,loss\n1,2\n")


@pytest.mark.parametrize("content", ['{"protocol": "knn", "metr', "", "[1, 2]", '{"metrics": 3}', b"\xff\xfe\x00"])
def test_a_truncated_or_foreign_result_is_named(tmp_path, content):
    path = tmp_path / "knn.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"knn\.json"):
        Result.read(path)


@pytest.mark.parametrize("entry", ['{"value": "0.9"}', '{"value": [1]}', '{"value": 0.9, "low": "a"}', '"much"'])
def test_a_metric_that_is_no_number_is_named(tmp_path, entry):
    (tmp_path / "knn.json").write_text(f'{{"metrics": {{"accuracy": {entry}}}}}')
    with pytest.raises(UserError, match=r"knn\.json: metrics\.accuracy"):
        Result.read(tmp_path / "knn.json")


def test_a_truncated_environment_is_named(fabricate):
    run = fabricate()
    (run.path / "environment.json").write_text('{"torch": ')
    with pytest.raises(UserError, match=r"environment\.json: truncated"):
        load(Row("a", run.path))


def test_a_recipe_that_is_no_yaml_is_named_in_one_line(fabricate):
    run = fabricate()
    (run.path / "recipe.yaml").write_text("a: [1\nb: }")
    with pytest.raises(UserError, match=r"recipe\.yaml") as caught:
        load(Row("a", run.path))
    assert "\n" not in str(caught.value)


def test_a_finetuned_run_below_the_run_is_its_second_part(complete):
    assert list(load(Row("a", complete)).parts) == ["pretrain", "finetune"]


def test_a_classification_run_alone_counts_as_finetuned(fabricate):
    assert list(load(Row("a", fabricate("supervised", "classification").path)).parts) == ["finetune"]


def test_parts_that_are_given_are_not_searched(complete):
    assert list(load(Row("a", complete, parts={"pretrain": complete})).parts) == ["pretrain"]


def test_discover_finds_runs_one_level_down_but_no_finetuned_part(fabricate, complete):
    fabricate("resnet")
    assert [row.label for row in discover([complete.parent])] == ["akorn", "resnet"]


def test_runs_of_the_same_name_get_labels_that_differ(fabricate):
    rows = discover([fabricate("one/run").path, fabricate("two/run").path])
    assert [row.label for row in rows] == ["one/run", "two/run"]


def test_a_run_named_twice_is_one_row(complete):
    assert len(discover([complete, complete])) == 1


def test_a_place_without_runs_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no run directory"):
        discover([tmp_path])
    with pytest.raises(UserError, match="is not a directory"):
        discover([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="is not a directory"):
        load(Row("a", Path(tmp_path / "nowhere")))
