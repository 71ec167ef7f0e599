"""Runs that differ in the seed only share a row: mean, standard deviation over seeds, and how many there are."""

import csv
import io
from statistics import stdev

import pytest

from sslkuramoto.cli import main
from sslkuramoto.report import Row, csv_text, load, markdown, plain, summarise, summary_latex
from sslkuramoto.report.tables.table import OVER_EXAMPLES


@pytest.fixture
def seeded(fabricate, metric):
    def make(name, seed, accuracy=None, recipe="", **result):
        run = fabricate(name)
        text = f"seed: {seed}\nencoder: {{name: akorn}}\nobjective: {{name: simsiam}}\nengine: {{workers: {seed}}}\n"
        (run.path / "recipe.yaml").write_text(text + recipe)
        if accuracy is not None:
            run.result("knn", {"accuracy": metric(accuracy, accuracy - 0.03, accuracy + 0.03)}, **result)
        return Row(name, run.path)

    return make


@pytest.fixture
def three(seeded):
    return [seeded(f"akorn-seed{k}", k, accuracy) for k, accuracy in enumerate((0.9, 0.8, 0.85))]


def table_of(rows, grouped=True):
    return summarise([load(row) for row in rows], grouped=grouped)


def knn(table, row=0):
    return table.cells[row][[head.column.key for head in table.heads].index("knn")]


def test_seeds_of_one_recipe_are_one_row_with_mean_and_standard_deviation(three):
    table = table_of(three)
    assert table.labels == ["akorn (seeds 0, 1, 2)"]
    cell = knn(table)
    assert (cell.value, cell.std, cell.seeds) == (pytest.approx(85), pytest.approx(stdev([90, 80, 85])), 3)
    assert (cell.text, cell.interval) == ("85.0", "± 5.0")
    assert "85.0 +- 5.0" in plain(table)
    assert "| akorn (seeds 0, 1, 2) | 85.0 ± 5.0 |" in markdown(table)
    assert "standard deviation" in table.reading[0]


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("net-10", "net-11"), "net (seeds 0, 1)"),
        (("net18-seed1", "net18-seed12"), "net18 (seeds 0, 1)"),
        (("first", "other"), "first, other"),
    ],
)
def test_the_label_is_what_the_runs_share_without_their_numbers(names, label, seeded):
    assert table_of([seeded(name, k, 0.5) for k, name in enumerate(names)]).labels == [label]


def test_ungrouped_every_run_has_its_row_and_interval(three):
    table = table_of(three, grouped=False)
    assert table.labels == ["akorn-seed0", "akorn-seed1", "akorn-seed2"]
    assert knn(table).interval == "[87.0, 93.0]"
    assert table.reading == [OVER_EXAMPLES]


def test_another_option_is_another_row(three, seeded):
    table = table_of([*three, seeded("wide", 0, 0.7, "epochs: 3\n")])
    assert table.labels == ["akorn (seeds 0, 1, 2)", "wide"]
    assert knn(table, 1).interval == "[67.0, 73.0]"


def test_one_seed_twice_is_a_repetition_and_no_group(three, seeded):
    assert table_of([*three, seeded("again", 2, 0.85)]).labels == [*(row.label for row in three), "again"]


def test_a_run_without_a_recipe_stays_alone(three):
    (three[0].run / "recipe.yaml").unlink()
    assert table_of(three).labels == ["akorn-seed0", "akorn (seeds 1, 2)"]


def test_runs_that_started_from_seeds_of_one_recipe_are_a_group(seeded):
    starts = [seeded(f"pre-{k}", k, 0.5) for k in range(2)]
    other = seeded("other", 0, 0.5, "epochs: 9\n")
    tuned = [seeded(f"tuned-{k}", k, 0.6, f"init: {row.run}\n") for k, row in enumerate(starts)]
    apart = seeded("tuned-2", 2, 0.6, f"init: {other.run}\n")
    assert table_of([*tuned, apart]).labels == ["tuned (seeds 0, 1)", "tuned-2"]


def test_a_seed_without_the_number_is_counted_and_named(three, seeded):
    table = table_of([*three, seeded("akorn-seed3", 3)])
    cell = knn(table)
    assert (cell.seeds, cell.value) == (3, pytest.approx(85))
    notes = " ".join(table.footnotes[k - 1] for k in cell.marks)
    assert "mean over 3 of 4 seeds: akorn-seed0, akorn-seed1, akorn-seed2" in notes


def test_numbers_that_were_not_measured_alike_have_no_mean(three, seeded, metric):
    data = {"name": "digits", "split": "test", "fingerprint": "other", "n": 360}
    table = table_of([*three, seeded("akorn-seed3", 3, 0.8, data=data)])
    cell = knn(table)
    assert (cell.value, cell.text) == (None, "-")
    assert "no mean over seeds, not measured alike: data fingerprint" in table.footnotes[cell.marks[-1] - 1]


def test_csv_has_value_std_and_number_of_seeds_and_no_interval_of_a_mean(three, seeded):
    lines = list(csv.DictReader(io.StringIO(csv_text(table_of([*three, seeded("wide", 0, 0.7, "epochs: 3\n")])))))
    group, single = lines
    assert [float(group[key]) for key in ("knn", "knn_std")] == pytest.approx([85, 5])
    assert (group["knn_seeds"], group["knn_low"], group["knn_high"], group["knn_n"]) == ("3", "", "", "360")
    assert (single["knn_seeds"], single["knn_std"], single["knn_low"]) == ("1", "", "67.0")


def test_latex_has_the_rows_and_their_notes(three):
    text = summary_latex(table_of(three), "Seeds & co")
    assert text.startswith("% Seeds & co; written by sslkuramoto report\n% \\usepackage{booktabs,graphicx}\n")
    assert "\\caption{Seeds \\& co (3 seeds)}\\label{tab:runs}" in text
    assert "85.0" in text
    assert "$\\pm$ 5.0" in text
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 1
    assert text.index("standard deviation") < text.index("\\end{table}"), "notes stand inside the table"


def test_the_command_groups_and_writes_every_format(three, tmp_path, capsys):
    endings = {"html": "html", "markdown": "md", "latex": "tex", "csv": "csv"}
    files = {option: tmp_path / f"out.{ending}" for option, ending in endings.items()}
    words = ["report", *(str(row.run) for row in three)]
    assert main([*words, *(word for option, file in files.items() for word in (f"--{option}", str(file)))]) == 0
    assert "akorn (seeds 0, 1, 2)" in capsys.readouterr().out
    assert all("85.0" in file.read_text() for file in files.values() if file.suffix != ".csv")
    assert main([*words, "--no-groups"]) == 0
    assert "akorn-seed1" in capsys.readouterr().out.splitlines()[1]


def test_runs_that_began_from_the_same_kept_epoch_of_other_seeds_are_one_row_and_from_another_epoch_none(seeded):
    for seed in (0, 1):
        before = seeded(f"before-{seed}", seed).run
        for epoch in (1, 2):
            (before / "checkpoints" / f"epoch-{epoch}").mkdir(parents=True)
    folder = before.parent

    def after(seed, place):
        return seeded(
            f"{place.replace('/', '-') or 'end'}-{seed}", seed, 0.5, f"init: {folder}/before-{seed}/{place}\n"
        )

    places = ("", "checkpoints/epoch-1", "checkpoints/epoch-2")
    end, first, second = ([after(seed, place) for seed in (0, 1)] for place in places)
    assert len(table_of([*end, *first, *second]).labels) == 3
    assert len(table_of([first[0], second[1]]).labels) == 2
