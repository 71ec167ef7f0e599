"""The contract of every file in eval/studies/; nothing is trained and no data are read.

A study has a small version. Where classifiers are attacked, corrupted or calibrated it is the study's own: its rows
and columns have the keys of those of the study; labels and titles describe them. What it leaves out is named in its
header after "Without:", what it has of its own after "Besides:", each key in backquotes. Studies of scenes share one,
and so do those of boards and those that ask only how many images are classified correctly. NAME-part-small is a second
small version of NAME, on a part of its own images; NAME-medium and NAME-part-medium lie between both and are audited
as a small version is. Those of pairs need none, nor do those of few examples: a small machine computes them whole.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from house_files import STUDIES, loaded_study, recipe_of, resolved_recipe

from sslkuramoto.data import DATA, expected_spec
from sslkuramoto.evaluation.protocol import PROTOCOLS
from sslkuramoto.examples import Images, Pairs
from sslkuramoto.recipe import Recipe
from sslkuramoto.study import Study, checks, model
from sslkuramoto.study.checks import check_recipes
from sslkuramoto.study.options import SEED, merged

NAMES = {path.stem for path in STUDIES}

every_study = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


@pytest.fixture(scope="module", autouse=True)
def equal_recipes_are_read_and_built_once() -> Iterator[None]:
    """Studies share most of their recipes, and whether one can be trained does not depend on the study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "load_recipe", once(model.load_recipe))
        patch.setattr(checks, "weightless", once(checks.weightless))
        yield


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call a function once for arguments that look the same; what it raises is raised each time."""
    found: dict[str, Any] = {}

    def called(*arguments: Any) -> Any:
        asked = repr(arguments)
        if asked not in found:
            found[asked] = function(*arguments)
        return found[asked]

    return called


def loaded(path: Path) -> Study:
    return loaded_study(path.stem)


def name_of(path: Path) -> str:
    """Return the name of the study of which a file is a small or medium version, or its own."""
    return re.sub("(-part)?-(small|medium)$", "", path.stem)


def recipes(study: Study) -> list[Recipe]:
    """Return every recipe of a study with its changes, for the first seed of each row."""
    return [recipe_of(study.name, row.key, number) for row in study.rows.values() for number in range(len(row.stages))]


def of_classes(study: Study) -> bool:
    """Return whether a study attacks, corrupts or calibrates classifiers of images; others share a small version."""
    asked = [column.loaded() for column in study.columns.values() if column.protocol != "clean"]
    return any("head" in protocol.measure.needs for protocol in asked) and all(
        isinstance(expected_spec(r.data.name, r.data.options), Images) for r in recipes(study)
    )


SMALL_SETS = {
    "shapes": ("scenes", 4000),
    "tetrominoes": ("scenes", 4000),
    "sudoku": ("puzzles", 4000),
    "maze": ("mazes", 4000),
}
"""Source -> the option with the number of its training examples, and the most that a small version has."""


def few_examples(recipe: Recipe) -> bool:
    """Return whether the data of a recipe are those of a small version."""
    option, most = SMALL_SETS.get(recipe.data.name, ("", 0))
    few = 0 < recipe.data.options.get(option, most + 1) <= most
    return few or recipe.data.name == "digits" or bool(recipe.data.options.get("limit"))


@every_study
def test_it_loads_with_its_recipes_protocols_and_sources_and_reads_no_data(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    study = loaded(path)
    check_recipes(study)
    assert study.name == path.stem
    assert study.question
    assert recipes(study)
    assert all(column.loaded().name in set(PROTOCOLS) for column in study.columns.values())
    for row in study.rows.values():
        assert all(len(figure.source) > 5 for figure in row.published.values())


@every_study
def test_another_seed_changes_the_seed_of_a_recipe_what_the_study_ties_to_it_and_nothing_else(path: Path) -> None:
    study = loaded(path)
    for row in [row for row in study.rows.values() if row.stages][:2]:
        for number in range(len(row.stages)):
            first, other = recipe_of(study.name, row.key, number), study.recipe(row.key, number, row.seeds[-1])
            stated = merged(study.settings, row.stages[number].changes)
            tied = {key.removeprefix("data.") for key, value in stated.items() if value == SEED}
            assert tied <= {"icon_split"}, "which icons are held out; see docs/relations.md"
            options = {**first.data.options, **dict.fromkeys(tied, row.seeds[-1])}
            assert other == replace(first, seed=row.seeds[-1], data=replace(first.data, options=options))


@every_study
def test_its_header_says_what_it_reproduces_how_and_at_what_cost(path: Path) -> None:
    header = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(header[0]) > 20, "the first line is the one that 'sslkuramoto list studies' shows"
    assert any(f"sslkuramoto study {path.stem}" in line for line in header)
    assert any(line.startswith("Cost") for line in header)
    assert any(line.startswith("Cannot say") for line in header)


@every_study
def test_it_has_or_is_a_small_version_that_a_small_machine_computes(path: Path) -> None:
    study = loaded(path)
    if path.stem.endswith("-small"):
        assert study.small is None
        assert name_of(path) in NAMES or not of_classes(study)
        assert all(map(few_examples, recipes(study)))
        return
    if all(isinstance(expected_spec(r.data.name, r.data.options), Pairs) for r in recipes(study)):
        assert study.small is None
        return
    if study.small is None:
        assert all(map(few_examples, recipes(study))), "a small machine computes it"
        return
    assert study.small in {name for name in NAMES if name.endswith("-small")}
    assert study.small == f"{name_of(path)}-small" or not of_classes(study)


every_twin = pytest.mark.parametrize(
    "path",
    [path for path in STUDIES if path.stem.endswith("-small") and name_of(path) in NAMES],
    ids=lambda p: p.stem,
)


def study_of(twin: Path) -> Study:
    return loaded(twin.with_name(f"{name_of(twin)}.yaml"))


def named_in_header(path: Path, label: str) -> set[str]:
    """Return the keys in backquotes after a label of the header, continued lines included."""
    header = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    found = re.search(rf"^# {label}:(.*\n(?:#  +.*\n)*)", header, re.MULTILINE)
    return set(re.findall("`([^`]+)`", found[1])) if found else set()


def trained_and_measured(study: Study) -> set[str]:
    return {key for key, row in study.rows.items() if row.stages} | {key for key, c in study.columns.items() if c.rows}


@every_twin
def test_a_small_version_has_the_rows_and_columns_of_its_study_or_its_header_names_the_difference(path: Path) -> None:
    of_study, of_twin = trained_and_measured(study_of(path)), trained_and_measured(loaded(path))
    assert of_study - of_twin == named_in_header(path, "Without")
    assert of_twin - of_study == named_in_header(path, "Besides")


@every_twin
def test_a_row_of_a_small_version_trains_the_same_kind_of_network_by_the_same_objectives(path: Path) -> None:
    study, twin = study_of(path), loaded(path)
    for key in study.rows.keys() & twin.rows.keys():
        ours, theirs = kinds(twin, key), kinds(study, key)
        assert ours[-1] == theirs[-1], key
        if ours[-1][0] == "akorn":  # a small ResNet or ViT is not pretrained where the table's is
            assert ours == theirs, key


def kinds(study: Study, row: str) -> list[tuple[object, ...]]:
    """Return what decides which question each stage of a row answers."""
    found = []
    for stage in range(len(study.rows[row].stages)):
        recipe = resolved_recipe(study.name, row, stage)
        options = recipe.encoder.options
        kind = [str(options.get(o)) for o in ("oscillator_dim", "num_steps", "coupling", "project", "initial")]
        found.append((recipe.encoder.name, recipe.objective.name, recipe.views.options.get("noise"), *kind))
    return found


@every_study
def test_paired_tests_compare_no_two_rows_twice(path: Path) -> None:
    pairs = [frozenset(pair) for pair in loaded(path).compare]
    assert len(pairs) == len(set(pairs))


@every_study
def test_what_is_trained_on_random_oscillators_is_tested_against_the_same_on_fixed_ones(path: Path) -> None:
    study = loaded(path)
    pairs = {frozenset(pair) for pair in study.compare}
    for row in study.rows:
        if row.endswith("_fixed"):
            assert frozenset({row, row.removesuffix("_fixed")}) in pairs, row


OF_THE_AUDIT = {"plants-digits"}  # audits are what it is about
# Corruptions only; rows of other tables; forty networks; smoothed networks, attacked themselves: as their notes say.
WITHOUT_AUDIT = {
    *("opl-table-10", "report-clipping", "oscillators-under-ssl"),
    *("certified-digits", "certified-cifar10-part"),
}


@every_study
def test_every_study_of_an_adversary_audits_its_rows(path: Path) -> None:
    study, name = loaded(path), name_of(path)
    if path.stem in OF_THE_AUDIT:
        assert all(column.protocol == "audit-digits" for column in study.columns.values())
        return
    if not of_classes(study) or path.stem.endswith("-part-small"):
        assert "audit" not in study.columns
        return
    if name in WITHOUT_AUDIT:
        assert "audit" not in study.columns
        assert any("audit" in note for note in loaded(path.with_name(f"{name}.yaml")).notes)
        return
    audit = study.columns["audit"]
    assert (audit.metric, audit.per_image) == ("robust_accuracy", "correct")
    trained = {key for key, row in study.rows.items() if row.stages}
    if path.stem == name:
        assert audit.protocol == "audit-full"
        assert set(audit.rows) == trained
        return
    assert audit.protocol == ("audit-quick" if "-part-" in path.stem else "audit-digits")
    assert {row for row in trained if kinds(study, row)[-1][-1] == "fixed"} <= set(audit.rows)


@every_twin
def test_a_small_version_audits_no_random_network_that_small_mechanism_does_not(path: Path) -> None:
    """An audit takes eight minutes on one core; studies share it at equal seeds, so that it is computed once."""
    if "audit" not in loaded(path).columns:
        return
    mechanism = loaded(path.with_name("robustness-mechanism-small.yaml"))
    assert random_audits(loaded(path)) <= random_audits(mechanism)
    if path.stem != mechanism.name:
        assert len(random_audits(loaded(path))) <= 2


def random_audits(study: Study) -> set[str]:
    """Return what is audited and trained on random oscillators, each network by its whole training."""
    return {
        repr([resolved_recipe(study.name, row, stage, seed) for stage in range(len(study.rows[row].stages))])
        for row in study.columns["audit"].rows
        if kinds(study, row)[-1][-1] == "random"
        for seed in study.rows[row].seeds
    }


@every_study
def test_every_row_that_is_trained_is_measured_and_every_column_measures_something(path: Path) -> None:
    study = loaded(path)
    trained = {key for key, row in study.rows.items() if row.changes}
    assert trained == {row for column in study.columns.values() for row in column.rows}
    for key, column in study.columns.items():
        assert column.rows or any(key in row.published for row in study.rows.values())
