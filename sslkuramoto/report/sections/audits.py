"""The audit's verdict on each network."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sslkuramoto.report.evidence import (
    Audit,
    AuditCheck,
    Evidence,
    Histogram,
    audit_of,
)
from sslkuramoto.report.markup import (
    NOTHING,
    bullets,
    cells,
    element,
    figure,
    folded,
    heads_of,
    joined,
    left_out_note,
    line_of,
    row_of,
    table_of,
)
from sslkuramoto.report.pictures.evidence import (
    curve_picture,
    histograms_picture,
)
from sslkuramoto.report.sections.section import PICTURE_BUDGET, Half, Section, Studied
from sslkuramoto.report.tables.study import (
    labels_of,
)
from sslkuramoto.values import option_text

MARKS = {"pass": "✓", "fail": "✗", "not run": "–"}


def status_of(status: str) -> Markup:
    """A check's status, by sign and word as well as by colour."""
    return element("span", f"{MARKS[status]} {status}", class_=f"status {status.replace(' ', '-')}")


def audits(items: Sequence[Evidence], rows: Sequence[str] = ()) -> Markup:
    """The verdict on each network and, folded, its reasons, its checks and its drawings; nothing without an audit.

    Args:
        items: results, audits among them.
        rows: what there is no audit of, to be said in the same table.
    """
    found = [(item, audit) for item in items if (audit := audit_of(item.result))]
    if not found:
        return NOTHING
    lines, text = [], NOTHING
    for item, audit in found:
        fields = cells((item.result.path.stem, audit.threat), class_="name")
        fields += element("td", element("strong", audit.word), class_="name")
        fields += element("td", audit.verdict, class_="name wide")
        fields += cells(audit.count(status) for status in MARKS)
        lines.append(line_of(item.label, fields))
    for label in rows:
        fields = element("td", "-", data_sort="", class_="name") * 2 + element("td", "not audited", class_="name")
        lines.append(line_of(label, fields + element("td", "-", data_sort="") * (1 + len(MARKS))))
    budget, left_out = PICTURE_BUDGET, []
    for index, (item, audit) in enumerate(found):
        drawn = _drawn(audit, f"audit-{index}")
        if len(drawn) > budget:
            left_out.append(item.label)
            drawn = NOTHING
        budget -= len(drawn)
        heads = heads_of("status", "check", "kind", "why")
        checks = table_of(heads, map(_line, audit.checks), "text sortable", label=f"checks {index + 1}")
        figures = folded("Figures behind the checks", _figures(audit.checks, f"figures {index + 1}"))
        text += folded(f"{item.label}: the checks", bullets(audit.reasons) + checks + drawn + figures)
    head = heads_of("model", "audit", "threat", "verdict", "in words", numbers=MARKS)
    verdicts = table_of(head, lines, "text sortable", label="verdicts")
    return verdicts + text + left_out_note(left_out, "Drawings left out")


def _drawn(audit: Audit, name: str) -> Markup:
    curves = joined(
        figure(curve_picture(curve, name=f"{name}-curve-{k}")) for k, curve in enumerate(audit.curves) if curve.x
    )
    alike: dict[str, list[Histogram]] = {}
    for histogram in audit.histograms:
        alike.setdefault(histogram.x_label, []).append(histogram)
    pictures = (histograms_picture(each, name=f"{name}-histogram-{k}") for k, each in enumerate(alike.values()))
    return (element("div", curves, class_="panels") if curves else NOTHING) + joined(map(figure, pictures))


def _line(check: AuditCheck) -> Markup:
    texts = ((check.title, "wide"), (check.kind, None), (check.reason, "wide"))
    fields = joined(element("td", text, class_=kind) for text, kind in texts)
    return row_of(element("td", status_of(check.status), data_sort=check.status) + fields)


def _figures(checks: Sequence[AuditCheck], label: str) -> Markup:
    """A line per check and what its figures are of: an attack, a layer, or the check itself."""
    lines = []
    for check in checks:
        nested = {key: value for key, value in check.figures.items() if isinstance(value, Mapping)}
        own = {key: value for key, value in check.figures.items() if key not in nested}
        for of, figures in (("", own), *nested.items()):
            listed = ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in figures.items())
            if listed:
                lines.append(line_of(check.title, cells((of.replace("_", " "), listed), class_="name wide")))
    return table_of(heads_of("check", "of", "figures"), lines, "text", label=label)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " / ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else option_text(value)


def audits_of_study(shown: Studied) -> Markup:
    """The audit's verdict on each row of the study, and on which rows there is none."""
    labels = labels_of(shown.table)
    audited = {item.series for item in shown.every_seed if audit_of(item.result)}
    return audits(shown.every_seed, [label for k, label in enumerate(labels.values()) if k not in audited])


def section() -> Section:
    """The audit's verdict on each network, with its reasons."""
    return Section(
        runs=Half(40, "Audits", lambda shown: audits(shown.evidence)),
        study=Half(30, "The audit's verdict on each row", audits_of_study),
    )
