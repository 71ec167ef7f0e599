"""Where every number of a study comes from: runs, options, hardware, versions, time. Equal values are written once."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from sslkuramoto.files import ABOUT, read_object
from sslkuramoto.report.markup import NOTHING, cells, element, fine, folded, heads_of, line_of, number_field, table_of
from sslkuramoto.report.sections.environment import compact, flat
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.report.tables.study import (
    gaps,
    interval_of,
    labels_of,
    result_of,
    shown_value,
    unit_of,
)
from sslkuramoto.report.tables.summary import MISSING
from sslkuramoto.report.tables.table import number_text
from sslkuramoto.study.table import SeedValue, StudyTable

OF_A_SESSION = {"started", "command", "processes"}  # what tells sessions apart and not machines


class Numbered:
    """Gives equal texts one name: E1, E2, ..."""

    def __init__(self, letter: str) -> None:
        self.letter = letter
        self.texts: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """Return the name of ``text``."""
        return self.texts.setdefault(text, f"{self.letter}{len(self.texts) + 1}") if text else MISSING

    def table(self, title: str) -> Markup:
        """All texts under their names."""
        lines = [line_of(name, element("td", text, class_="wide")) for text, name in self.texts.items()]
        return table_of(heads_of("name", title), lines, "text", label=f"{title} table")


def provenance(table: StudyTable) -> Markup:
    """A line a cell and seed, a line a training run or network of a function, and what they refer to."""
    environments, protocols = Numbered("E"), Numbered("P")
    numbers = _cells(table, environments, protocols)
    runs = _runs(table, environments)
    text = fine("P: protocol and options; E: versions and hardware; both below.") if numbers else NOTHING
    text += folded("Every cell and seed", numbers) if numbers else NOTHING
    text += folded("Training runs", runs) if runs else NOTHING
    networks = _networks(table)
    text += folded("Networks of functions", networks) if networks else NOTHING
    text += element("h3", "Protocols") + protocols.table("protocol and options") if protocols.texts else NOTHING
    if environments.texts:
        text += element("h3", "Environments") + environments.table("versions and hardware")
    return text


def _cells(table: StudyTable, environments: Numbered, protocols: Numbered) -> Markup:
    labels, lines = labels_of(table), []
    for key, row in table.study.rows.items():
        for column in table.study.columns.values():
            cell = table.cells[key, column.key]
            place = element("td", column.title, class_="name")
            for value in cell.values:
                result = result_of(value.result)
                options = ", ".join(f"{name}={compact(option)}" for name, option in result.options.items())
                changed = ", ".join(
                    f"{section} changed: {name}={compact(option)}"
                    for section in ("encoder", "data")
                    for name, option in (getattr(result, section).get("changed_options") or {}).items()
                )
                protocol = f"{result.protocol}: {options or 'no options'}{f'; {changed}' if changed else ''}"
                unit = unit_of(table, column)
                fields = element("td", str(value.seed)) + _number(value)
                fields += _interval(value)
                fields += cells((unit, str(value.n), MISSING if value.draws is None else str(value.draws)))
                fields += number_field(MISSING if result.seconds is None else f"{result.seconds:.1f}", result.seconds)
                fields += cells((protocols(protocol), environments(_environment(result.environment))))
                fields += element("td", value.result, class_="wide name")
                lines.append(line_of(labels[key], place + fields))
            if not cell.values:
                reason = "; ".join(gaps(row, column, cell))
                fields = element("td", "", data_sort="") + element("td", MISSING, data_sort="")
                fields += element("td", "", data_sort="") * 7 + element("td", reason, class_="wide name")
                lines.append(line_of(labels[key], place + fields))
    numbers = ("seed", "value", "interval", "unit", "n", "draws", "seconds", "P", "E", "result, or why there is none")
    return table_of(heads_of("model", "column", numbers=numbers), lines, "text sortable", label="table of cells")


def _number(value: SeedValue) -> Markup:
    shown = shown_value(value)
    return number_field(number_text(shown, value.unit, value.n), shown)


def _interval(value: SeedValue) -> Markup:
    if (interval := interval_of(value)) is None:
        return number_field(MISSING, None)
    return number_field(" to ".join(number_text(end, value.unit, value.n) for end in interval), interval[0])


def _environment(content: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in content.items() if key not in OF_A_SESSION}
    return ", ".join(f"{key.removeprefix('versions.')} {value}" for key, value in flat(kept).items())


def _runs(table: StudyTable, environments: Numbered) -> Markup:
    labels, lines = labels_of(table), []
    for (key, seed), paths in table.runs.items():
        for number, path in enumerate(paths):
            file = path / "environment.json"
            sessions = read_object(file).get("sessions") if file.is_file() else None
            sessions = [item for item in sessions if isinstance(item, dict)] if isinstance(sessions, list) else []
            stage = table.study.rows[key].stages[number].name
            names = dict.fromkeys(environments(_environment(session)) for session in sessions)
            fields = element("td", str(seed)) + element("td", stage, class_="name")
            fields += element("td", path if path.is_dir() else f"{path}: not there yet", class_="wide name")
            started = ", ".join(str(session.get("started", MISSING)) for session in sessions)
            fields += element("td", started or MISSING) + element("td", ", ".join(names) or MISSING)
            lines.append(line_of(labels[key], fields))
    head = heads_of("model", "seed", "recipe", "run directory", numbers=("started", "E"))
    return table_of(head, lines, "text sortable", label="table of training runs")


def _networks(table: StudyTable) -> Markup:
    """The function, its code and its data, in place of a recipe."""
    labels, lines = labels_of(table), []
    for (key, seed), network in table.networks.items():
        known = read_object(network.path / ABOUT) if (network.path / ABOUT).is_file() else {}
        code = ", ".join(f"{file} {digest}" for file, digest in network.code.items())
        data = ", ".join(f"{name}={compact(option)}" for name, option in network.data.options.items())
        fields = element("td", str(seed)) + element("td", network.function, class_="name")
        fields += element("td", code, class_="wide name")
        fields += element("td", str(known.get("network", "not measured yet"))[:12], class_="name")
        fields += element("td", f"{network.data.name}{f': {data}' if data else ''}", class_="wide name")
        fields += element("td", network.path, class_="wide name")
        lines.append(line_of(labels[key], fields))
    if not lines:
        return NOTHING
    head = heads_of("model", "seed", "function", "hashes of its code", "hash of the network", "data", "results")
    return fine("These networks were not trained here; measuring them ran the code of their files.") + table_of(
        head, lines, "text sortable", label="table of networks"
    )


def section() -> Section:
    """Where every number of a study comes from: runs, options, hardware, versions, time."""
    return Section(
        study=Half(90, "Where each number comes from", lambda shown: provenance(shown.table)),
    )
