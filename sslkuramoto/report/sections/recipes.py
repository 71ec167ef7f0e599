"""The resolved recipes, folded."""

from collections.abc import Sequence

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, element, fine, folded
from sslkuramoto.report.runs import Model, read_text
from sslkuramoto.report.sections.section import (
    Half,
    Section,
    parts_of,
)
from sslkuramoto.report.tables.study import (
    labels_of,
)
from sslkuramoto.study.table import StudyTable


def recipes_of_runs(models: Sequence[Model]) -> Markup:
    """The resolved recipe of each part, folded."""
    text = NOTHING
    for model, name, part in parts_of(models):
        title = f"{model.label}, {name}"
        if part.recipe:
            text += folded(title, element("pre", part.recipe))
        else:
            text += fine(f"{title}: the run directory holds no recipe.yaml.")
    return text


def recipes_of_study(table: StudyTable) -> Markup:
    """The resolved recipe of each stage of each row, of its first seed, folded."""
    labels, text = labels_of(table), NOTHING
    for key, row in table.study.rows.items():
        for number, path in enumerate(table.runs.get((key, row.seeds[0]), ())):
            title = f"{labels[key]}, {row.stages[number].name}, seed {row.seeds[0]}"
            recipe = read_text(path / "recipe.yaml")
            text += folded(title, element("pre", recipe)) if recipe else fine(f"{title}: not trained yet.")
    return text


def section() -> Section:
    """The resolved recipes, folded."""
    return Section(
        runs=Half(100, "Recipes", lambda shown: recipes_of_runs(shown.models)),
        study=Half(100, "Recipes", lambda shown: recipes_of_study(shown.table)),
    )
