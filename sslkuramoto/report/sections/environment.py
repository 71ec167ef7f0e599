"""Versions, hardware and seeds of each run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, cells, element, fine, joined, row_of, table_of
from sslkuramoto.report.runs import Model
from sslkuramoto.report.sections.section import Half, Section, parts_of
from sslkuramoto.report.tables.summary import MISSING
from sslkuramoto.values import option_text


def compact(value: object) -> str:
    """An option in a line."""
    return json.dumps(value) if isinstance(value, dict | list | bool | None) else option_text(value)


def environment(models: Sequence[Model]) -> Markup:
    """Versions, hardware and seeds of each part; values equal everywhere are written once."""
    parts = [(f"{model.label}, {name}", part) for model, name, part in parts_of(models)]
    columns = {label: flat(sessions_of(part.environment)) for label, part in parts if part.environment}
    lines = []
    for key in dict.fromkeys(key for column in columns.values() for key in column):
        values = [column.get(key, MISSING) for column in columns.values()]
        alike = len(set(values)) == 1
        fields = element("td", values[0], colspan=str(len(values))) if alike else cells(values)
        lines.append(row_of(element("th", key, scope="row", class_="key") + fields))
    head = row_of(
        element("th", "what", scope="col", class_="name")
        + joined(element("th", label, scope="col") for label in columns)
    )
    note = fine("A value that is the same everywhere is written once.") if len(columns) > 1 else NOTHING
    return (note if lines else NOTHING) + table_of(head, lines, "text", label="environment table")


def sessions_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """One session as it is, several by number."""
    sessions = content.get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
        return dict(content)
    rest = {key: value for key, value in content.items() if key != "sessions"}
    if len(sessions) == 1:
        return sessions[0] | rest
    return {f"session {k + 1}": session for k, session in enumerate(sessions)} | rest


def flat(content: Any, before: str = "") -> dict[str, str]:
    """Nested mappings by ``outer.inner``, each value as text."""
    if isinstance(content, dict):
        below = (flat(value, f"{before}.{key}" if before else str(key)) for key, value in content.items())
        return {key: value for each in below for key, value in each.items()}
    return {before: ", ".join(map(compact, content)) if isinstance(content, list) else str(content)}


def section() -> Section:
    """Versions, hardware and seeds of each run."""
    return Section(
        runs=Half(110, "Environment", lambda shown: environment(shown.models)),
    )
