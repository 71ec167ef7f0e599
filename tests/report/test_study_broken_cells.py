"""The page of a study with a failed row, a missing seed and a number that is none, as collect() finds them."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from made_study import HOSTILE
from page_outline import Outline

from sslkuramoto.report import study_csv, study_latex, study_markdown, study_page, study_text
from sslkuramoto.study import StudyTable, collect, load_study, plan_study
from sslkuramoto.study.jobs import record_failure

SMALL = {
    "data.limit": 16,
    "data.limit_test": 20,
    "data.size": 8,
    "batch_size": 8,
    "encoder.channels": 4,
    "encoder.kernel_sizes": [3, 3],
}


def train(**changes: Any) -> list[dict]:
    return [{"recipe": "digits-akorn-supervised", "set": changes}]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> StudyTable:
    """Rows of 95 %, 9.5 % and 100 %, one whose every seed failed, one of infinity and one of NaN, one seed missing."""
    folder = tmp_path_factory.mktemp("broken")
    study = {
        "title": HOSTILE,
        "question": HOSTILE,
        "seeds": [0, 1],
        "set": SMALL,
        "columns": {"clean": {"title": HOSTILE, "protocol": "clean", "metric": "accuracy"}},
        "rows": {
            "high": {"label": f"high {HOSTILE}", "group": HOSTILE, "train": train(epochs=2)},
            "low": {"train": train(epochs=3), "seeds": [0]},
            "whole": {"train": train(epochs=4), "seeds": [0]},
            "failed": {"train": train(epochs=5)},
            "infinite": {"train": train(epochs=6), "seeds": [0]},
            "nan": {"train": train(epochs=7), "seeds": [0]},
            "published": {"published": {"clean": {"value": 88.9, "source": HOSTILE, "differs": HOSTILE}}},
        },
        "notes": [HOSTILE],
    }
    path = folder / "broken.yaml"
    path.write_text(json.dumps(study))
    loaded, root = load_study(path), folder / "root"
    plan = plan_study(loaded, root)
    for row, value in {"high": 0.95, "low": 0.095, "whole": 1.0, "infinite": math.inf, "nan": math.nan}.items():
        result = plan.tasks[plan.cells[row, "clean", 0]].path
        result.parent.mkdir(parents=True)
        metrics = {"accuracy": {"value": value, "low": None, "high": None, "n": 20, "unit": "fraction"}}
        result.write_text(json.dumps({"protocol": "clean", "metrics": metrics, "seconds": 1.0, "notes": [HOSTILE]}))
    for seed in (0, 1):
        record_failure(root, plan.chains["failed", seed][0], "failed", f"no luck {HOSTILE}", "")
    return collect(loaded, root)


@pytest.fixture(scope="module")
def text(table) -> str:
    return study_page(table)


def footnotes(text: str) -> str:
    return " ".join("".join(Outline(text).text).split())


def test_each_cell_without_a_number_says_why(text: str):
    told = footnotes(text)
    assert f"seeds 0, 1: failed: training failed: no luck {HOSTILE}" in told
    assert "seed 1: not computed yet" in told
    assert "seed 0: the result records accuracy = inf" in told
    assert "metrics.accuracy: must have a finite value and its n" in told, "NaN is no number"


def test_it_names_no_address_outside_and_runs_nothing_of_the_files(text: str):
    outline = Outline(text)
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert not re.search(r"https?:", re.sub(r"base64,[^\"]*", "", text))
    assert [tag for tag, _ in outline.tags].count("script") == 1
    assert outline.events == []
    assert "<script>alert" not in text


def test_cells_sort_by_their_number_and_those_without_one_by_none(text: str):
    line = re.compile(r'<tr><th scope="row">(\w+).*?</th>(.*?)</tr>', re.DOTALL)
    table = text[text.index('class="summary') :]
    table = table[: table.index("</table>")]
    keys = {name: re.findall(r'data-sort="([^"]*)"', rest) for name, rest in line.findall(table)}
    assert {name: key[0] for name, key in keys.items()} == {
        "high": "95.0",
        "low": "9.5",
        "whole": "100.0",
        "failed": "",
        "infinite": "",
        "nan": "",
        "published": "",
    }
    assert keys["published"][1] == "88.9"
    assert {"inf", "nan"}.isdisjoint(key for found in keys.values() for key in found)


def test_every_other_form_of_the_table_says_the_same(table: StudyTable):
    for text in (study_text(table), study_markdown(table), study_latex(table)["table"]):
        words = " ".join(text.split())
        assert "not computed yet" in words
        assert "the result records accuracy = inf" in words
        assert "metrics.accuracy: must have a finite value and its n" in words.replace("\\_", "_")
        assert "no luck" in words
    lines = study_csv(table).splitlines()
    kinds = [line.split(",")[0] for line in lines[1:]]
    assert {kind: kinds.count(kind) for kind in ("measured", "failed", "missing", "published")} == {
        "measured": 4,
        "failed": 3,
        "missing": 1,
        "published": 1,
    }
    assert isinstance(table.runs["high", 0][0], Path)
