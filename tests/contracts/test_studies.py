"""What holds for every file in eval/studies/; nothing is trained and no data are read."""

from functools import cache
from pathlib import Path

import pytest
from house_files import ROOT

from sslkuramoto.data import DATA
from sslkuramoto.evaluation.protocol import PROTOCOLS
from sslkuramoto.recipe import Recipe
from sslkuramoto.study import Study, load_study

STUDIES = sorted((ROOT / "eval" / "studies").glob("*.yaml"))
NAMES = {path.stem for path in STUDIES}

every_study = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


@cache
def loaded(path: Path) -> Study:
    return load_study(path)


def recipes(study: Study) -> list[Recipe]:
    """Return every recipe of a study with its changes, for every seed."""
    return [
        study.recipe(row.key, number, seed)
        for row in study.rows.values()
        for number in range(len(row.stages))
        for seed in row.seeds
    ]


@every_study
def test_it_loads_with_its_recipes_protocols_and_sources_and_reads_no_data(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    study = loaded(path)
    assert study.name == path.stem
    assert study.question
    assert recipes(study)
    assert all(column.loaded().name in set(PROTOCOLS) for column in study.columns.values())
    for row in study.rows.values():
        assert all(len(figure.source) > 5 for figure in row.published.values())


@every_study
def test_its_header_says_what_it_reproduces_how_and_at_what_cost(path: Path) -> None:
    header = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(header[0]) > 20, "the first line is the one that 'sslkuramoto list studies' shows"
    assert any(f"sslkuramoto study {path.stem}" in line for line in header)
    assert any(line.startswith("Cost") for line in header)
    assert any(line.startswith("Cannot say") for line in header)


@every_study
def test_it_has_a_small_twin_that_a_small_machine_computes_or_is_one(path: Path) -> None:
    study = loaded(path)
    if path.stem.endswith("-small"):
        assert study.small is None
        assert path.stem.removesuffix("-small") in NAMES
        assert all(recipe.data.name == "digits" or recipe.data.options.get("limit") for recipe in recipes(study))
        return
    assert study.small == f"{path.stem}-small"
    assert study.small in NAMES


@every_study
def test_every_row_that_is_trained_is_measured_and_every_column_measures_something(path: Path) -> None:
    study = loaded(path)
    trained = {key for key, row in study.rows.items() if row.stages}
    assert trained == {row for column in study.columns.values() for row in column.rows}
    for key, column in study.columns.items():
        assert column.rows or any(key in row.published for row in study.rows.values())
