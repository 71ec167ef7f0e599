"""The LaTeX table compiles, prints text as it is, and keeps published figures apart."""

import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace

import pytest
from made_study import HOSTILE

from sslkuramoto.report import study_latex
from sslkuramoto.report.tables.latex import in_latex
from sslkuramoto.study import StudyCell


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


def fields_of(line):
    return [field.strip() for field in re.split(r"(?<!\\)&", line)]


def test_the_table_has_rules_of_booktabs_and_as_many_fields_in_each_line(studied):
    measured, tests = study_latex(studied.table()).values()
    assert [measured.count(f"\\{rule}rule\n") for rule in ("top", "mid", "bottom")] == [1, 2, 1]
    body = measured[measured.index("\\toprule") : measured.index("\\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 5
    assert {len(fields_of(row)) for row in rows} == {8}
    assert r"\begin{tabular}{lrrrrrrr}" in measured
    assert r"\multicolumn{9}{l}{\emph{PhiNet against SimSiam; pooled (1 seed)}}" in tests
    (line,) = (line for line in tests.splitlines() if line.startswith("clean & "))
    assert fields_of(line)[1] == "+5.0"
    assert fields_of(line.removesuffix(r" \\"))[3:] == ["0.5", "0.5", "2", "0", "40", "0.5"]


def test_measured_and_published_figures_are_fields_of_their_own(studied):
    (line,) = (line for line in study_latex(studied.table())["table"].splitlines() if line.startswith("PhiNet &"))
    fields = fields_of(line)
    assert r"95.0\\\footnotesize {[}90.0, 99.0{]}\end{tabular}" in fields[1]
    assert r"\textit{81.55\textsuperscript{" in fields[2]
    assert r"\textit{\footnotesize $\pm$ 0.25}" in fields[2]


def wide(studied):
    """A study of many columns with long titles and scoring, of rows with long names, with every footnote."""
    title = "adaptive: held noise, summed gradients"
    for k in range(8):
        column = replace(studied.columns["clean"], key=f"wide{k}", title=f"{title} {k}")
        studied.columns[column.key] = column
        for row in studied.rows:
            cell = studied.cells[row, "clean"]
            studied.cells[row, column.key] = StudyCell(
                list(cell.values), published=studied.rows[row].published.get("clean")
            )
    for key, row in studied.rows.items():
        studied.rows[key] = replace(row, label=f"{row.label}, without projection, trained on fixed oscillators")
    attacks = [{"name": "held_noise", "k": 16, "max_k": 16, "label": "pgd-half-gamma", "backward": "half_gamma"}] * 6
    folder = "/a/very/long/path_to/some_weights/of-a-network/" * 4
    options = {"attacks": attacks, "weights": folder}
    studied.write("phinet", 0, "clean", {"accuracy": {"value": 0.95, "unit": "fraction"}}, options=options)
    return studied.table()


def test_heads_wrap_notes_stand_inside_the_float_and_tests_have_a_file_of_their_own(studied):
    files = study_latex(wide(studied))
    assert list(files) == ["table", "paired"]
    measured, tests = files.values()
    assert all(text.endswith("\\end{table}\n") for text in files.values())
    assert r"\begin{tabular}[b]{@{}r@{}}adaptive:\\held noise,\\summed\\gradients 0" in measured
    scored = [line for line in measured.splitlines() if "scored: " in line]
    assert scored
    assert all(line.startswith("% scored: ") for line in scored)
    assert "against" not in measured
    assert "against" in tests
    assert measured.index("not alike in every row") < measured.index(r"\end{table}")
    measured = measured.partition(r"\begin{minipage}")[0].partition(r"\begin{table}")[2]
    assert r"\ifdim\wd0>\linewidth" in measured
    words = [r"\\".join(re.findall(r"\{@\{\}[rl]@\{\}\}(.*?)\\end\{tabular\}", line)) for line in measured.splitlines()]
    assert max(len(re.sub(r"\\\w+|[{}$]", "", part)) for line in words for part in line.split(r"\\")) <= 30


def compiled(text, folder):
    """Compile twice, return what LaTeX says."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex")
    head, end = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n", "\\end{document}\n"
    (folder / "page.tex").write_text(head + text + end)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def test_a_wide_study_fits_its_page(studied, tmp_path):
    said = compiled("".join(study_latex(wide(studied)).values()), tmp_path)
    assert "Float too large" not in said
    assert "undefined" not in said
    assert [x for x in re.findall(r"Overfull \\[hv]box \((\d+\.\d+)pt too", said) if float(x) > 20] == []


def test_it_compiles_whatever_the_text(studied, tmp_path):
    studied.title = studied.question = HOSTILE
    studied.notes = (HOSTILE, "".join(chr(k) for k in range(0x20, 0x250)), "αβγδεζηθικλμνξοπρστυφχψω ΓΔΘΛΞΠΣΥΦΨΩ ℓ√∞→≤")
    for key, row in studied.rows.items():
        studied.rows[key] = replace(row, label=f"[{key}] {HOSTILE}", group=f"*{HOSTILE}")
    compiled("".join(study_latex(studied.table()).values()), tmp_path)
