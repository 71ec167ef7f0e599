"""The LaTeX table compiles, prints text as it is, and keeps published figures apart."""

import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace

import pytest
from made_study import HOSTILE

from sslkuramoto.report import study_latex
from sslkuramoto.report.study_latex import in_latex


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("100 % & a_b #1 $x$ {y}", r"100 \% \& a\_b \#1 \$x\$ \{y\}"),
        ("\\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("[x]*", "{[}x{]}{*}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("γ ± ε, Γ", r"$\gamma$ $\pm$ $\epsilon$, $\Gamma$"),
        ("--jobs – —", r"-{}-jobs \textendash{} \textemdash{}"),
        ("two\nlines", "two lines"),
        ("Müller, 中", "Müller, U+4E2D"),
        ("u" + unicodedata.lookup("COMBINING DIAERESIS"), "ü"),
    ],
)
def test_text_is_printed_as_it_is(text, written):
    assert in_latex(text) == written


def test_the_table_has_rules_of_booktabs_and_as_many_fields_in_each_line(studied):
    text = study_latex(studied.table())
    assert [text.count(f"\\{rule}rule\n") for rule in ("top", "mid", "bottom")] == [1, 2, 1]
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 5
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {7}
    assert r"\begin{tabular}{lrrrrrrr}" in text


def test_measured_and_published_figures_are_fields_of_their_own(studied):
    (line,) = (line for line in study_latex(studied.table()).splitlines() if line.startswith("PhiNet &"))
    fields = [field.strip() for field in line.split("&")]
    assert fields[1] == "95.0 {[}90.0, 99.0{]}"
    assert fields[2].startswith(r"\textit{81.55\textsuperscript{")
    assert fields[2].endswith(r"$\pm$ 0.25}")


def test_it_compiles_whatever_the_text(studied, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex")
    studied.title = studied.question = HOSTILE
    studied.notes = (HOSTILE, "".join(chr(k) for k in range(0x20, 0x250)), "αβγδεζηθικλμνξοπρστυφχψω ΓΔΘΛΞΠΣΥΦΨΩ ℓ√∞→≤")
    for key, row in studied.rows.items():
        studied.rows[key] = replace(row, label=f"[{key}] {HOSTILE}", group=f"*{HOSTILE}")
    head, end = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n", "\\end{document}\n"
    (tmp_path / "page.tex").write_text(head + study_latex(studied.table()) + end)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
