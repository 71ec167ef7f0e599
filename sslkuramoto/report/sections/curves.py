"""Curves over steps: of each run, or of a study's rows with the spread over seeds."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, element, figure, fine, folded, joined
from sslkuramoto.report.pictures.bands import Together, band_panel, together
from sslkuramoto.report.pictures.curves import Panel, panels
from sslkuramoto.report.runs import Model, read_series
from sslkuramoto.report.sections.section import (
    TITLES_OF_PARTS,
    Half,
    Section,
    parts_of,
)
from sslkuramoto.report.tables.study import (
    labels_of,
)
from sslkuramoto.study.table import StudyTable


def curves_of_runs(models: Sequence[Model]) -> Markup:
    """Loss, gradient norm and accuracy over steps of each part; the other quantities folded away."""
    text = NOTHING
    for part in dict.fromkeys(name for _, name, _ in parts_of(models)):
        drawn = panels(models, part)
        others = [panel for panel in drawn if not panel.main]
        if drawn:
            text += element("h3", TITLES_OF_PARTS.get(part, part))
            text += element("div", joined(_figure(panel) for panel in drawn if panel.main), class_="panels")
        if others:
            drawings = element("div", joined(map(_figure, others)), class_="panels")
            text += folded(f"Other measurements ({len(others)})", drawings)
    empty = [f"{model.label} ({name})" for model, name, part in parts_of(models) if not part.series]
    note = fine(f"No metrics over steps: {', '.join(empty)}.") if empty else NOTHING
    key = fine(
        "Of a long curve the faint line is the record, the bold one its mean over stretches of steps. "
        "A cross marks the first value that is not finite."
    )
    return key + text + note if text else note


def _figure(panel: Panel) -> Markup:
    return figure(panel.svg, f"{'; '.join(panel.remarks)}." if panel.remarks else "")


def curves_of_study(table: StudyTable) -> Markup:
    """The columns of metrics.csv that the study names, of each training run that it names: one panel a column."""
    labels = labels_of(table)
    drawn, missing, names = NOTHING, [], []
    for place, number in enumerate(table.study.curves_stages):
        stage, by_row = _records(table, number)
        names.append(stage)
        for index, metric in enumerate(table.study.curves):
            rows: dict[int, tuple[str, Together]] = {}
            for series, seeds in by_row.items():
                if (found := together([one[metric] for one in seeds if metric in one])) is not None:
                    rows[series] = list(labels.values())[series], found
            if rows:
                picture, remarks = band_panel(metric, rows, stage=stage, name=f"curve-{place}-{index}")
                parts = [stage, *remarks] if len(table.study.curves_stages) > 1 else remarks
                drawn += figure(picture, ". ".join(parts) + "." if parts else "")
            else:
                missing.append(metric if len(table.study.curves_stages) == 1 else f"{metric} of {stage}")
    note = fine(f"No record of {', '.join(missing)}.") if missing else NOTHING
    if not drawn:
        return note
    text = fine(
        f"Metrics of {' and '.join(names)}. Lines are means over seeds, at the steps that all seeds recorded; the band "
        "is one standard deviation over seeds to each side, where there are several. Of a long curve the faint line is "
        "the mean of the records themselves. A cross marks the first value that is not finite."
    )
    return text + element("div", drawn, class_="panels") + note


def _records(table: StudyTable, stage: int) -> tuple[str, dict[int, list[Mapping]]]:
    """Return the name of a training run of the rows, and series -> what each of its seeds recorded."""
    found: dict[int, list[Mapping]] = {}
    names: set[str] = set()
    for series, (key, row) in enumerate(table.study.rows.items()):
        if -len(row.stages) <= stage < len(row.stages):
            files = [table.runs[key, s][stage] / "metrics.csv" for s in row.seeds if (key, s) in table.runs]
            found[series] = [read_series(file) for file in files if file.is_file()]
            names.add(row.stages[stage].name)
    return next(iter(names)) if len(names) == 1 else f"stage {stage}", found


def section() -> Section:
    """Curves over steps: of each run, or of a study's rows with the spread over seeds."""
    return Section(
        runs=Half(20, "Curves", lambda shown: curves_of_runs(shown.models)),
        study=Half(70, "Curves", lambda shown: curves_of_study(shown.table)),
    )
