"""Sections of a page about evidence: audits, calibration, adversarial images. Each is empty without any."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sslkuramoto.report.evidence import (
    Audit,
    AuditCheck,
    Bins,
    Evidence,
    Histogram,
    attacked_of,
    audit_of,
    bins_of,
)
from sslkuramoto.report.markup import (
    NOTHING,
    bullets,
    cells,
    element,
    figure,
    fine,
    folded,
    heads_of,
    joined,
    line_of,
    row_of,
    table_of,
)
from sslkuramoto.report.pictures.evidence import (
    attacked_picture,
    calibration_picture,
    curve_picture,
    histograms_picture,
    magnification,
    reliability_picture,
)
from sslkuramoto.report.pictures.oscillators import MAX_TILE
from sslkuramoto.report.sections.runs import legend
from sslkuramoto.report.tables.columns import option_text

MARKS = {"pass": "✓", "fail": "✗", "not run": "–"}
POOLED = (
    "Bins hold the answers of all draws, and a mean gap is taken over them together. An ECE in the tables is the mean "
    "over draws, each binned by itself; with few images it is larger, since chance leaves a gap in every bin."
)
PICTURE_BUDGET = 900_000  # bytes of one section's pictures: the page stays a page


def status_of(status: str) -> Markup:
    """A check's status, by sign and word as well as by colour."""
    return element("span", f"{MARKS[status]} {status}", class_=f"status {status.replace(' ', '-')}")


def audits(items: Sequence[Evidence], rows: Sequence[str] = ()) -> Markup:
    """The verdict on each network and, folded, its reasons, its checks and its drawings.

    Args:
        items: results, audits among them.
        rows: what there is no audit of, to be said in the same table.
    """
    found = [(item, audit) for item in items if (audit := audit_of(item.result))]
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
        checks = table_of(
            heads_of("status", "check", "kind", "why", "figures"), map(_line, audit.checks), "text sortable"
        )
        text += folded(f"{item.label}: the checks", bullets(audit.reasons) + checks + drawn)
    head = heads_of("model", "audit", "threat", "verdict", "in words", numbers=MARKS)
    return (
        table_of(head, lines, "text sortable") + text + _left_out(left_out, "Drawings left out") if lines else NOTHING
    )


def _left_out(labels: Sequence[str], what: str) -> Markup:
    return fine(f"{what}, to keep the page small: {', '.join(labels)}.") if labels else NOTHING


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
    figures = ", ".join(f"{key} = {_shown(value)}" for key, value in check.figures.items())
    texts = ((check.title, "wide"), (check.kind, None), (check.reason, "wide"), (figures, "wide"))
    fields = joined(element("td", text, class_=kind) for text, kind in texts)
    return row_of(element("td", status_of(check.status), data_sort=check.status) + fields)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else option_text(value)


def calibration(items: Sequence[Evidence]) -> Markup:
    """Accuracy against confidence of all networks in one picture, and a reliability diagram of each."""
    found = [(item, bins) for item in items if (bins := bins_of(item.result))]
    if not found:
        return NOTHING
    kinds = list(dict.fromkeys(each.name for _, bins in found for each in bins))
    text = fine(POOLED)
    for index, kind in enumerate(kinds):
        by_item = [(item, each) for item, bins in found for each in bins if each.name == kind]
        content = _calibration_of(kind, by_item, f"calibration-{index}")
        text += element("h3", kind) + content if index == 0 else folded(kind, content)
    return text


def _calibration_of(kind: str, found: Sequence[tuple[Evidence, Bins]], name: str) -> Markup:
    together: dict[int, tuple[str, Bins]] = {}
    for item, bins in found:
        together.setdefault(item.series, (item.label, bins))
    text = NOTHING
    if len(together) > 1:
        below = "Accuracy against confidence, one point a bin that holds answers. Below the diagonal: too sure."
        text = legend({series: label for series, (label, _) in together.items()})
        text += figure(calibration_picture(together, name=name), below)
    drawn = NOTHING
    for index, (item, bins) in enumerate(found):
        picture = reliability_picture(item.label, bins, series=item.series, name=f"{name}-{index}")
        gap = f"mean gap {100 * bins.calibration_error:.2f} %" if bins.filled else "no answers"
        drawn += figure(picture, f"{kind}, {sum(bins.count):.0f} answers: {gap}.")
    return text + element("div", drawn, class_="panels small")


def adversarial_images(items: Sequence[Evidence]) -> Markup:
    """Images before and after an attack, as many as the page may weigh."""
    text, left_out, budget = NOTHING, [], PICTURE_BUDGET
    for index, item in enumerate(items):
        drawn = NOTHING
        for way, attacked in enumerate(attacked_of(item.result)):
            if not len(attacked.clean):
                drawn += fine(f"{attacked.way or 'attack'}: no image was broken, there is none to show.")
                continue
            below = (
                f"{f'{attacked.way}: a' if attacked.way else 'A'}bove each image its label and what the network then "
                f"says most often. Third row: the difference on grey, magnified {magnification(attacked)} times"
                f"{f', all averaged down to {MAX_TILE} pixels' if max(attacked.clean.shape[-2:]) > MAX_TILE else ''}."
            )
            picture = attacked_picture(attacked, name=f"attacked-{index}-{way}")
            drawn += figure(picture, below)
        if drawn and len(drawn) <= budget:
            budget -= len(drawn)
            text += element("h3", f"{item.label}, {item.result.protocol}") + drawn
        elif drawn:
            left_out.append(item.label)
    return text + _left_out(left_out, "Left out")
