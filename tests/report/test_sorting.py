"""A click on a heading sorts by the numbers: the script is run in node, the keys in the HTML are the numbers."""

import json
import re
import shutil
import subprocess
from importlib.resources import files

import pytest

from sslkuramoto.report import study_page
from sslkuramoto.report.markup import number_field
from sslkuramoto.report.sections.results import _sort, metric_fields
from sslkuramoto.results import Metric

# A document of one table with one column, as much of it as the script touches.
DOCUMENT = """
const fields = FIELDS, down = DOWN;
const element = () => ({append() {}, addEventListener(name, act) { this[name] = act; }});
let button, order = null;
const head = {
  childNodes: [], dataset: down ? {down: ""} : {}, sort: null,
  prepend(made) { button = made; },
  getAttribute() { return this.sort; }, setAttribute(name, value) { this.sort = value; },
  removeAttribute() { this.sort = null; },
};
const fieldOf = ([key, text]) => ({dataset: key === null ? {} : {sort: key}, textContent: text});
const rows = fields.map((field) => ({cells: [fieldOf(field)], text: field[1]}));
const body = {rows, append(...sorted) { order = sorted.map((row) => row.text); }};
globalThis.document = {
  createElement: element,
  querySelectorAll: (wanted) => wanted === "table.sortable" ? [{querySelectorAll: () => [head], tBodies: [body]}] : [],
};
globalThis.addEventListener = () => {};
SCRIPT
const orders = [];
for (let click = 0; click < 2; click++) { button.click(); orders.push(order); }
console.log(JSON.stringify(orders));
"""
NUMBERS = [
    ["9.5", "9.5 ± 0.2 (3 seeds)"],
    ["", "-"],
    ["80.0", "80.0 [75.0, 84.0]"],
    ["1e-12", "< 0.0001"],
    ["-31.25", "-31.2"],
    ["100.0", "100.0"],
]
UPWARDS = ["-31.2", "< 0.0001", "9.5 ± 0.2 (3 seeds)", "80.0 [75.0, 84.0]", "100.0"]


def clicked(fields, *, down):
    """Texts in order after one click and after two."""
    if shutil.which("node") is None:
        pytest.skip("no node")
    script = files("sslkuramoto.report").joinpath("page.js").read_text()
    program = DOCUMENT.replace("FIELDS", json.dumps(fields)).replace("DOWN", json.dumps(down))
    command = ["node", "-e", program.replace("SCRIPT", script)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout)


@pytest.mark.parametrize("down", [True, False])
def test_numbers_are_sorted_as_numbers_and_dashes_stay_last(down):
    orders = clicked(NUMBERS, down=down)
    upwards, downwards = reversed(orders) if down else orders
    assert upwards == [*UPWARDS, "-"]
    assert downwards == [*reversed(UPWARDS), "-"]


def test_names_are_sorted_as_words():
    assert clicked([[None, "b"], [None, "a"], [None, "C"]], down=False)[0] == ["a", "b", "C"]


def test_a_dash_is_last_among_words_and_among_numbers_that_state_no_key():
    for shown in (["clean", "-", "suspicious"], ["9", "-", "10"]):
        upwards, downwards = clicked([[None, text] for text in shown], down=False)
        assert upwards == [shown[0], shown[2], "-"]
        assert downwards == [shown[2], shown[0], "-"]


def test_intervals_are_sorted_by_their_lower_end():
    metrics = [Metric(0.0, low=low, high=2.0, unit="nats") for low in (-0.5, -12.25, -12.3, 1.0, None)]
    shown = [metric_fields(metric)[2] for metric in metrics]
    upwards = clicked([[_sort(text), text] for text in shown], down=False)[0]
    assert upwards == ["-12.3 to 2", "-12.25 to 2", "-0.5 to 2", "1 to 2", "-"]


@pytest.mark.parametrize("number", [None, float("nan"), float("inf")])
def test_a_field_without_a_number_has_an_empty_key(number):
    assert number_field("-", number) == '<td data-sort="">-</td>'
    assert number_field("5.0", 5.0) == '<td data-sort="5.0">5.0</td>'


def test_the_table_of_cells_has_keys_for_intervals_and_seconds(studied):
    text = study_page(studied.table())
    intervals = re.findall(r'<td data-sort="([\d.]+)">([\d.]+) to [\d.]+</td>', text)
    assert len(intervals) > 10
    assert all(float(key) == pytest.approx(float(low), abs=0.051) for key, low in intervals)
    assert '<td data-sort="12.5">12.5</td>' in text, "seconds"


def number_in(text):
    return float(re.findall(r"-?[\d.]+", text.replace("+", ""))[0])


def test_the_keys_in_the_page_are_the_numbers_that_it_shows(studied):
    text = study_page(studied.table())
    fields = re.findall(r'<td data-sort="([^"]*)"[^>]*>([^<]*)', text)
    keys = [(key, shown) for key, shown in fields if shown]
    assert len(keys) > 40
    for key, shown in keys:
        if shown == "-":
            assert key == ""
        elif shown.startswith("&lt;"):
            assert 0 <= float(key) < number_in(shown.removeprefix("&lt;"))
        else:
            assert number_in(shown) == pytest.approx(float(key), abs=0.051, rel=0.01), (key, shown)
