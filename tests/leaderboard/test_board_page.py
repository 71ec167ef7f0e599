"""The page of the board: every network with its numbers, text shown as text, sorted and filtered in a browser."""

import re

import pytest
from browser import ENTER, TAB, Browser, missing

from sslkuramoto.cli import main


@pytest.fixture
def page(run, other, tmp_path):
    assert main(["board", str(run), str(other), "--html", str(tmp_path / "page.html")]) == 0
    return tmp_path / "page.html"


def test_a_folder_of_runs_gives_a_line_each_with_its_readings(run, other, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["board", str(tmp_path), "--html", str(page)]) == 0
    said = f"<script>alert(1)<, akorn: the same weights\n2 cards match their runs; wrote {page}\n"
    assert capsys.readouterr().out == said
    text = page.read_text()
    for shown in ("80.0 [37.6, 96.4]", "20.0 [3.6, 62.4]", "8/255", "suspicious (linf, eps 0.1)"):
        assert shown in text
    assert "between 72 and 91 % at l2 0.4" in text
    assert "<svg" in text
    assert "Accuracy against eps" in text


def test_text_of_a_run_is_shown_as_text(page):
    text = page.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;" in text
    assert "akorn, &lt;script&gt;alert(1)&lt;: the same weights." in text


def test_without_a_script_the_page_is_a_plain_table(page):
    body = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)
    assert "<input" not in body
    assert body.count('<th scope="row">') == 2


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
def test_a_browser_sorts_and_filters_the_board_by_keyboard(page):
    names = "return [...document.querySelectorAll('tbody th')].filter((e) => e.offsetParent).map((e) => e.textContent)"
    with Browser() as browser:
        browser.open(page, width=800)
        assert browser.errors() == []
        assert browser.run("const e = document.documentElement; return e.scrollWidth - e.clientWidth") == 0
        assert browser.run(names) == ["akorn", "<script>alert(1)<"]
        browser.run("[...document.querySelectorAll('th button')].find((e) => e.textContent === 'union').focus()")
        browser.press(ENTER)
        assert browser.run(names) == ["<script>alert(1)<", "akorn"]
        browser.press(ENTER)
        assert browser.run(names) == ["akorn", "<script>alert(1)<"]
        browser.run("document.activeElement.blur(); scrollTo(0, 0)")
        for _ in range(40):
            browser.press(TAB)
            if browser.run("return document.activeElement.type") == "search":
                break
        browser.press(*"AKORN 0.1 susp")
        assert browser.run(names) == ["akorn"]
        assert browser.run("return document.querySelector('output').textContent") == "1 of 2"
        assert browser.run("return document.querySelector('label input').labels[0].textContent") == "Filter: "
        browser.press(*"x")
        assert browser.run(names) == []
