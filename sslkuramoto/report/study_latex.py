"""A study as a LaTeX table that needs the package booktabs and no other."""

import re
import unicodedata

from sslkuramoto.report.study_table import study_summary
from sslkuramoto.report.table import MISSING, Cell, Head, Summary
from sslkuramoto.study.table import StudyTable

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


def study_latex(table: StudyTable) -> str:
    """Return the study as a ``table`` environment: ours and published figures in columns of their own, notes below.

    Raises:
        UserError: a result that cannot be read.
    """
    study, summary = table.study, study_summary(table)
    columns = 1 + len(summary.heads)
    lines = [
        f"% {' '.join(study.title.split())}; written by sslkuramoto study {study.name}",
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{in_latex(' '.join(text for text in (study.title + '.', study.question) if text))}}}",
        f"\\begin{{tabular}}{{l{'r' * len(summary.heads)}}}",
        r"\toprule",
        " & ".join([f"model ({in_latex(summary.unit)})" if summary.unit else "model", *map(_head, summary.heads)])
        + r" \\",
    ]
    group = None
    for i, (label, cells) in enumerate(zip(summary.labels, summary.cells, strict=True)):
        if i == 0 or (summary.groups and summary.groups[i] != group):
            lines.append(r"\midrule")
        if summary.groups and summary.groups[i] != group:
            group = summary.groups[i]
            lines += [f"\\multicolumn{{{columns}}}{{l}}{{\\emph{{{in_latex(group)}}}}} \\\\"] if group else []
        fields = [_field(head, cell) for head, cell in zip(summary.heads, cells, strict=True)]
        lines.append(" & ".join([in_latex(label), *fields]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *_notes(summary), r"\end{table}"]
    return "\n".join(lines) + "\n"


def _marks(marks: tuple[int, ...]) -> str:
    return f"\\textsuperscript{{{','.join(map(str, marks))}}}" if marks else ""


def _head(head: Head) -> str:
    title = in_latex(head.column.name) + _marks(head.marks)
    return f"\\begin{{tabular}}[b]{{@{{}}r@{{}}}}{title}\\\\(reported)\\end{{tabular}}" if head.published else title


def _field(head: Head, cell: Cell) -> str:
    if cell.value is None:
        return ("--" if cell.text == MISSING else in_latex(cell.text)) + _marks(cell.marks)
    text = f"{in_latex(cell.text)}{_marks(cell.marks)} {in_latex(cell.interval)}".rstrip()
    return f"\\textit{{{text}}}" if head.published else text


def _notes(summary: Summary) -> list[str]:
    notes = [f"{_marks((k + 1,))} {in_latex(text)}" for k, text in enumerate(summary.footnotes)]
    notes += [in_latex(text) for text in summary.lines_below]
    if not notes:
        return []
    return [
        r"\par\medskip",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
        *(f"{n}\\par" for n in notes),
        r"\end{minipage}",
    ]
