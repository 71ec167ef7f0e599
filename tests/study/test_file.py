"""A study file is read strictly: one clear line for whatever is wrong, before data are read."""

from typing import Any

import pytest

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.study import Published, load_study

TRANSFER = {"protocol": "clean", "metric": "accuracy", "set": {"initial": "${run:simclr}"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titel": "x"}, "unknown key 'titel': did you mean 'title'?"),
        ({"title": None}, "needs the key 'title'"),
        ({"title": 3}, "title=3"),
        ({"columns__clean__metrik": "x"}, "unknown key in columns.clean 'metrik': did you mean 'metric'?"),
        ({"columns__clean__metric": None}, "columns.clean: needs the key 'metric'"),
        ({"columns__clean__protocol": "claen"}, "columns.clean: unknown protocol 'claen': did you mean 'clean'?"),
        ({"columns__knn__set": {"neighbors": 5}}, "did you mean 'neighbours'?"),
        ({"columns__knn__encoder": {"num_step": 5}}, "did you mean 'num_steps'?"),
        (
            {"rows__simclr__measure": {"drawz": 21}},
            "rows.simclr.measure, column clean: unknown key of protocol clean 'drawz'",
        ),
        (
            {"rows__simclr__measure": {"initial": "${run:steps}"}},
            "rows.simclr.measure: ${run:steps} is of columns only",
        ),
        ({"columns__knn__stage": 2}, "columns.knn.stage=2: row simclr has 2 stage(s)"),
        ({"columns__knn__rows": ["simclear"]}, "unknown row in columns.knn.rows 'simclear': did you mean 'simclr'?"),
        ({"columns__knn__except": ["x"]}, "unknown row in columns.knn.except 'x'"),
        ({"rows__simclr__trains": []}, "unknown key in rows.simclr 'trains': did you mean 'train'?"),
        ({"rows__simclr__train": [{"recipe": "digits-akron-simclr"}]}, "did you mean 'digits-akorn-simclr'?"),
        ({"rows__simclr__train": [{"recipe": "nowhere.yaml"}]}, "nowhere.yaml: no such file"),
        ({"rows__simclr__train": [{"recipe": "digits-akorn-finetune"}]}, "starts from another run"),
        ({"rows__simclr__train": [{"set": {}}]}, "rows.simclr.train[0]: needs the key 'recipe'"),
        ({"rows__reported": {"label": "nothing"}}, "rows.reported: needs 'train' or 'model', 'published', or both"),
        ({"rows__reported": {"label": "simclr", "published": {"clean": 1}}}, "another row has it too"),
        ({"rows__reported__published": {"robust": 3.0}}, "unknown column in rows.reported.published 'robust'"),
        ({"published": None}, "published.clean: published figure 81.5 has no source"),
        ({"published__source": " "}, "has no source"),
        ({"published__sourcee": "x"}, "unknown key in published 'sourcee': did you mean 'source'?"),
        ({"rows__reported__published": {"clean": {"std": 1}}}, "needs the key 'value'"),
        ({"rows__reported__published": {"clean": "high"}}, "published value='high'"),
        ({"rows__reported__published": {"clean": {"value": 1, "differs": 3}}}, "published differs=3"),
        ({"seeds": []}, "seeds=[]: must be different whole numbers >= 0"),
        ({"seeds": [-1]}, "must be different whole numbers >= 0"),
        ({"seeds": [1, 1]}, "must be different whole numbers >= 0"),
        ({"seeds": [0.5]}, "seeds=[0.5]"),
        ({"seeds": [True]}, "seeds=[True]"),
        ({"rows__simclr__seeds": ["a"]}, "rows.simclr.seeds=['a']"),
        ({"set__seed": 3}, "set.seed: is given by the study itself"),
        ({"set__epocs": 3}, "unknown key 'epocs': did you mean 'epochs'?"),
        ({"set": {"encoder": {"name": "akorn", 1: 2}}}, "encoder akorn"),
        ({"set__epochs": 0}, "epochs=0: must be >= 1"),
        ({"set__optimizer.lr": "1e-3"}, "it was read as text"),
        ({"compare": [["simclr", "stepps"]]}, "unknown row in compare 'stepps': did you mean 'steps'?"),
        ({"compare": [["simclr", "reported"]]}, "row reported is published only"),
        ({"compare": [["simclr"]]}, "must be two rows"),
        ({"compare": [["simclr", "simclr"]]}, "must be two rows, not one with itself"),
        ({"compare": [["simclr", "steps"]] * 2}, "compare: ['simclr', 'steps']: is listed twice"),
        ({"compare": [["simclr", "steps"], ["steps", "simclr"]]}, "compare: ['steps', 'simclr']: is listed twice"),
        ({"rows__reported__published": {"clean": 101}}, "published value=101 (a paper, table 2): must be a percentage"),
        ({"rows__reported__published": {"clean": -0.1}}, "must be a percentage, from 0 to 100"),
        ({"rows__reported__published": {"clean": {"value": 1, "std": -1}}}, "published std=-1 (a paper, table 2)"),
        ({"rows__reported__published": {"clean": {"value": 1, "n": 0}}}, "published n=0"),
        ({"columns__clean__stage": 0}, "columns.clean: protocol clean needs a classifier, and objective simclr makes"),
        (
            {"columns__x": {"protocol": "calibration", "metric": "ece", "stage": 0}},
            "columns.x: protocol calibration needs a classifier",
        ),
        ({"curves_stage": [0, 2]}, "curves_stage=[0, 2]: no row has more than 2 stage(s)"),
        ({"curves_stage": [0, 0]}, "curves_stage=[0, 0]: must be different training runs"),
        ({"curves_stage": []}, "curves_stage=[]: must be different training runs"),
        ({"curves_stage": [0.5]}, "curves_stage=[0.5]"),
        ({"columns__clean__per_image": None}, "no column names its 'per_image' results"),
        ({"columns__robust": {**TRANSFER, "set": {"initial": "${run:x}"}}}, "unknown row in ${run:ROW} 'x'"),
        ({"columns__robust": {**TRANSFER, "set": {"initial": "${run:reported}"}}}, "it has no run"),
        ({"columns__robust": {**TRANSFER, "set": {"initial": "a/${run:simclr}"}}}, "only '${run:ROW}'"),
        ({"columns__robust": TRANSFER, "rows__steps__seeds": [5]}, "has no seed 5, which row steps has"),
        ({"curves": "loss"}, "curves='loss'"),
    ],
)
def test_what_is_wrong_is_one_line_before_data_are_read(study, changes: dict[str, Any], message: str, monkeypatch):
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    with pytest.raises(UserError) as caught:
        study(**changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith("study tiny")
    assert "\n" not in str(caught.value)


def test_a_row_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "double.yaml"
    path.write_text("title: x\nrows:\n  a: {}\n  a: {}\n")
    with pytest.raises(UserError, match="found duplicate key a"):
        load_study(path)


def test_an_encoder_that_does_not_fit_the_stage_before_is_found_before_hours_of_training(study):
    finetune = {"recipe": "digits-akorn-finetune", "set": {"encoder.channels": 6}}
    first = {"recipe": "digits-akorn-simclr", "set": {}}
    with pytest.raises(UserError, match=r"row simclr, stage 1 .*the encoder of the stage before"):
        study(rows__simclr__train=[first, finetune])


def test_a_study_that_does_not_exist_is_answered_with_the_nearest(monkeypatch, tmp_path):
    (tmp_path / "report-table-2.yaml").touch()
    monkeypatch.setattr("sslkuramoto.study.named.STUDY_FILES", tmp_path)
    with pytest.raises(UserError, match=r"unknown study 'report-table2': did you mean 'report-table-2'\?"):
        load_study("report-table2")
    with pytest.raises(UserError, match=r"'nowhere.yaml' does not exist"):
        load_study("nowhere.yaml")


def test_figures_take_source_and_what_differs_from_the_study_unless_they_have_their_own(study):
    rows = study().rows
    assert rows["simclr"].published["clean"] == Published(81.5, "a paper, table 2", differs="seeds not stated")
    assert rows["simclr"].published["knn"].source == "elsewhere"
    assert rows["simclr"].published["knn"].n == 3
    assert rows["reported"].published["clean"].differs == "other images"


def test_changes_reach_the_recipe_in_order_study_stage_command(study, tmp_path):
    steps = [{"recipe": "digits-akorn-simclr", "set": {"epochs": 3}}, {"recipe": "digits-akorn-finetune"}]
    loaded = study(rows__steps__train=steps)
    assert loaded.recipe("steps", 0, 4).epochs == 3
    assert loaded.recipe("steps", 0, 4).seed == 4
    assert loaded.recipe("steps", 1, 0).epochs == 1
    loaded = load_study(tmp_path / "tiny.yaml", ["epochs=2", "data.limit_test=7"])
    assert {loaded.recipe(row, stage, 0).epochs for row in ("simclr", "steps") for stage in (0, 1)} == {2}
    assert loaded.recipe("simclr", 1, 0).data.options["limit_test"] == 7
    assert loaded.recipe("simclr", 1, 0).encoder.options["kernel_sizes"] == [3, 3]


def test_a_value_can_be_the_seed_in_the_changes_of_study_and_stage_and_is_a_number_then(study, tmp_path):
    steps = [{"recipe": "digits-akorn-simclr", "set": {"epochs": "${seed}"}}, {"recipe": "digits-akorn-finetune"}]
    loaded = study(seeds=[3, 5], set={"data.limit_test": "${seed}"}, rows__steps__train=steps)
    assert [loaded.recipe("steps", 0, seed).epochs for seed in (3, 5)] == [3, 5]
    assert [loaded.recipe("steps", 1, seed).data.options["limit_test"] for seed in (3, 5)] == [3, 5]
    assert loaded.recipe("steps", 1, 5).epochs == loaded.recipe("steps", 1, 3).epochs
    fixed = load_study(tmp_path / "tiny.yaml", ["data.limit_test=7"])
    assert [fixed.recipe("simclr", 0, seed).data.options["limit_test"] for seed in (3, 5)] == [7, 7]


def test_a_column_can_be_for_some_rows_only(study):
    assert study().columns["knn"].rows == ("simclr", "steps")
    assert study(columns__knn__rows=["steps"]).columns["knn"].rows == ("steps",)
    assert study(columns__knn__except=["steps"]).columns["knn"].rows == ("simclr",)
