"""Runs or a study as LaTeX tables that need the packages booktabs and graphicx and no other."""

import re
import textwrap
import unicodedata
from collections.abc import Sequence

from sslkuramoto.report.tables.escape import visible
from sslkuramoto.report.tables.pairs import HEADS as PAIRED_HEADS
from sslkuramoto.report.tables.pairs import HOW_TO_READ, PairedLine, paired_table, untested_lines
from sslkuramoto.report.tables.study import labels_of, study_summary
from sslkuramoto.report.tables.summary import MISSING, Cell, Head, Summary
from sslkuramoto.study.paired import comparisons
from sslkuramoto.study.table import StudyTable

HEAD_WIDTH, LABEL_WIDTH = 13, 26  # characters of a line of a head, of a label
BREAK = r"\\"

# A star or a bracket after the end of a line would be read as its option.
SIGNS = {
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"[": "{[}", "]": "{]}", "*": "{*}", "`": r"\textasciigrave{}"},
    **{
        "±": r"$\pm$",
        "×": r"$\times$",
        "−": "$-$",
        "–": r"\textendash{}",
        "—": r"\textemdash{}",
        "…": r"\ldots{}",
        "·": r"$\cdot$",
    },
    **{"≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "≠": r"$\neq$", "∞": r"$\infty$", "→": r"$\to$"},
    **{"ℓ": r"$\ell$", "√": r"$\surd$", "°": r"$^\circ$", "“": "``", "”": "''", "‘": "`", "’": "'"},
}
GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
    *("xi", "omicron", "pi", "rho", "", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
)
CAPITALS = {"gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"}
SIGNS |= {chr(0x3B1 + k): f"$\\{name}$" for k, name in enumerate(GREEK) if name not in ("", "omicron")}
SIGNS |= {chr(0x391 + k): f"$\\{name.capitalize()}$" for k, name in enumerate(GREEK) if name in CAPITALS}

LETTERS = set("ßæøåÆØÅœŒłŁ")
# Every LaTeX puts these on letters, whatever its font encoding.
ACCENTS = set("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")


def in_latex(text: str) -> str:
    """Return ``text`` so that LaTeX prints it as it is, in one line; signs that it lacks as their number."""
    line = "".join(map(_sign, " ".join(unicodedata.normalize("NFC", text).split())))
    return re.sub("-(?=-)", "-{}", line)  # two hyphens in a row would become a dash


def _sign(sign: str) -> str:
    if sign in SIGNS:
        return SIGNS[sign]
    if (sign.isascii() and sign.isprintable()) or sign in LETTERS:
        return sign
    base, *marks = unicodedata.normalize("NFD", sign)
    accented = ord(sign) < 0x180 and base.isascii() and len(marks) == 1 and marks[0] in ACCENTS
    return sign if accented else f"U+{ord(sign):04X}"


def study_latex(table: StudyTable) -> dict[str, str]:
    """Return the study as ``table`` environments, one per file: ``table`` and, where it has tests, ``paired``.

    Heads, labels and intervals break over several lines; a table that is still too large for a page is scaled down.
    Notes are inside the environment, how each number was scored is in comments.

    Raises:
        UserError: a result that cannot be read.
    """
    study, summary = table.study, study_summary(table).informative()
    summary.below = [*study.notes, *table.notes]
    labels = labels_of(table)
    name = re.sub(r"[^A-Za-z0-9-]+", "-", study.name)
    title = " ".join(text for text in (study.title + ".", study.question) if text)
    comment = f"{' '.join(study.title.split())}; written by sslkuramoto study {study.name}"
    files = {"table": _measured(summary, title, name, comment)}
    tests = paired_table(table, labels, every_seed=False)
    if tests:
        heads = ["column", *map(in_latex, PAIRED_HEADS)]
        untested = [in_latex(text) for text in untested_lines(comparisons(table), labels)]
        columns = "l" + "r" * len(PAIRED_HEADS)
        files["paired"] = [
            *_comments(f"{comment}: paired tests"),
            *_float(HOW_TO_READ, f"tab:{name}-paired", columns, heads, _tests(tests), untested),
        ]
    return {key: "\n".join(lines) + "\n" for key, lines in files.items()}


def summary_latex(summary: Summary, title: str) -> str:
    """Return the table of runs as a ``table`` environment with its notes.

    Args:
        summary: of :func:`~sslkuramoto.report.tables.table.summarise`.
        title: its caption, plain.
    """
    comment = f"{' '.join(title.split())}; written by sslkuramoto report"
    return "\n".join(_measured(summary.informative(), title, "runs", comment)) + "\n"


def _measured(summary: Summary, title: str, name: str, comment: str) -> list[str]:
    corner = f"model ({in_latex(summary.unit)})" if summary.unit else "model"
    heads = [corner, *map(_head, summary.heads)]
    count = summary.seeds
    caption = f"{title} ({count} seeds)" if count is not None and count > 1 else title
    notes = [f"{_marks((k + 1,))} {in_latex(text)}" for k, text in enumerate(summary.footnotes)]
    notes += [in_latex(text) for text in [*summary.reading, *summary.below]]
    columns = "l" + "r" * len(summary.heads)
    return [
        *_comments(comment, *summary.scored),
        *_float(caption, f"tab:{name}", columns, heads, _body(summary), notes),
    ]


def _comments(first: str, *more: str) -> list[str]:
    """Lines that LaTeX does not read: where the table is from, what it needs, how its numbers were scored."""
    packages = r"% \usepackage{booktabs,graphicx}"
    return [
        f"% {visible(' '.join(first.split()))}",
        packages,
        *(f"% {visible(' '.join(text.split()))}" for text in more),
    ]


def _float(
    caption: str, label: str, columns: str, heads: Sequence[str], body: Sequence[str], notes: Sequence[str]
) -> list[str]:
    """A table with its caption and notes, scaled down where it is wider than the text or higher than half a page."""
    below = [f"{_breakable(note)}\\par" for note in notes]
    if below:
        below = [
            r"\par\medskip",
            r"\begin{minipage}{\linewidth}\footnotesize\raggedright\sloppy",
            *below,
            r"\end{minipage}",
        ]
    return [
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{in_latex(caption)}}}\\label{{{label}}}",
        r"\small\setlength{\tabcolsep}{4pt}",
        r"\sbox0{%",
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        *body,
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi",
        r"\ifdim\dimexpr\ht0+\dp0\relax>.75\textheight\sbox0{\resizebox{!}{.75\textheight}{\usebox0}}\fi",
        r"\usebox0",
        *below,
        r"\end{table}",
    ]


def _body(summary: Summary) -> list[str]:
    lines, group = [], None
    for i, (label, cells) in enumerate(zip(summary.labels, summary.cells, strict=True)):
        if i == 0 or (summary.groups and summary.groups[i] != group):
            lines.append(r"\midrule")
        if summary.groups and summary.groups[i] != group:
            group = summary.groups[i]
            lines += [_across(f"\\emph{{{in_latex(group)}}}", len(summary.heads))] if group else []
        fields = [
            _field(head, cell, alike=summary.seeds is not None) for head, cell in zip(summary.heads, cells, strict=True)
        ]
        lines.append(" & ".join([_wrapped(label, LABEL_WIDTH, "l"), *fields]) + r" \\")
    return lines


def _tests(tests: Sequence[PairedLine]) -> list[str]:
    lines, pair = [], None
    for line in tests:
        if (line.first, line.second) != pair:
            pair = (line.first, line.second)
            against = in_latex(f"{line.first} against {line.second}; {line.seeds}")
            lines += [r"\midrule", _across(f"\\emph{{{against}}}", len(PAIRED_HEADS))]
        lines.append(" & ".join([_wrapped(line.column, LABEL_WIDTH, "l"), *map(_test_text, line.texts)]) + r" \\")
    return lines


def _test_text(text: str) -> str:
    return "--" if text == MISSING else re.sub(r"(?<![\w.])-(?=\d)", "$-$", in_latex(text))


def _across(text: str, others: int) -> str:
    return f"\\multicolumn{{{1 + others}}}{{l}}{{{text}}} \\\\"


def _stack(lines: Sequence[str], side: str, place: str = "t") -> str:
    """Lines of LaTeX under each other."""
    if len(lines) == 1:
        return lines[0]
    return f"\\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{BREAK.join(lines)}\\end{{tabular}}"


def _wrapped(text: str, width: int, side: str, after: Sequence[str] = (), marks: str = "", place: str = "t") -> str:
    lines = [in_latex(line) for line in textwrap.wrap(text, width)] or [""]
    lines[-1] += marks
    return _stack([*lines, *after], side, place)


def _marks(marks: tuple[int, ...]) -> str:
    return f"\\textsuperscript{{{','.join(map(str, marks))}}}" if marks else ""


def _head(head: Head) -> str:
    after = ["(reported)"] if head.published else []
    return _wrapped(head.column.name, HEAD_WIDTH, "r", after, _marks(head.marks), "b")


def _field(head: Head, cell: Cell, *, alike: bool) -> str:
    """A cell; where all have equally many seeds the caption says how many."""
    if cell.value is None:
        return ("--" if cell.text == MISSING else in_latex(cell.text)) + _marks(cell.marks)
    number = f"\\textbf{{{in_latex(cell.text)}}}" if cell.best else in_latex(cell.text)
    beside = (cell.interval, cell.departs) if alike else cell.beside
    lines = [number + _marks(cell.marks)]
    lines += [f"\\footnotesize {in_latex(text)}" for text in beside if text]
    return _stack([f"\\textit{{{line}}}" for line in lines] if head.published else lines, "r")


def _breakable(note: str) -> str:
    """Let long words, such as options and paths, break after their signs."""
    return re.sub(r"(?<=[/+=])(?=\w)|(?<=\\_)(?=\w)", r"\\allowbreak{}", note)
