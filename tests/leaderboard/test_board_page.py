"""The page of the board: every network with its numbers, text shown as text, sorted and filtered in a browser."""

import json
import re
import shutil
import subprocess

import pytest
from browser import ENTER, TAB, Browser, missing
from leaderboard.conftest import write_result

from sslkuramoto.cli import main
from sslkuramoto.leaderboard import card_of
from sslkuramoto.leaderboard.page import board_page


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


def test_lines_of_one_threat_stand_together_the_largest_union_first(trained, tmp_path):
    made = [("low", 0.1, 0), ("high", 0.1, 4), ("none", 0.1, None), ("wide", "64/255", 5), ("near", "8/255", 3)]
    for name, eps, union in made:
        run = shutil.copytree(trained, tmp_path / name)
        write_result(run, "robustness-quick", right=(5, 5, 5, 5, union or 0), eps=eps)
        if union is None:
            file = run / "results" / "robustness-quick.json"
            content = json.loads(file.read_text())
            del content["metrics"]["union/robust_accuracy"]
            file.write_text(json.dumps(content))
    page = board_page([card_of(tmp_path / name) for name, *_ in made])
    lines = re.findall(r'<tr><th scope="row">(.*?)</tr>', page, re.DOTALL)
    heads = re.findall(r'<th scope="col".*?>(.*?)</th>', page)
    fields = [dict(zip(heads, re.split(r"</t[hd]><td.*?>", line), strict=True)) for line in lines]
    assert [line["network"] for line in fields] == ["near", "high", "low", "none", "wide"]
    assert fields[1]["union"].startswith("80.0 [")
    assert fields[1]["as published"].startswith("100.0 [")
    assert [fields[1][name] for name in ("data", "norm", "eps", "images", "draws")] == [
        *("digits test", "linf", "0.1", "5", "20")
    ]
    assert fields[3]["union"] == "-"


def test_networks_on_other_images_of_one_name_stand_apart(trained, tmp_path):
    for name, union, fingerprint in (("a", 5, "1" * 32), ("b", 4, "2" * 32), ("c", 3, "1" * 32)):
        data = {"name": "digits", "split": "test", "fingerprint": fingerprint, "n": 5}
        write_result(
            shutil.copytree(trained, tmp_path / name), "robustness-quick", right=(5, 5, 5, 5, union), data=data
        )
    page = board_page([card_of(tmp_path / name) for name in "abc"])
    lines = re.findall(r'<tr><th scope="row">(.*?)</th><td class="name">(.*?)</td>', page)
    assert lines == [("a", "digits test (11111111)"), ("c", "digits test (11111111)"), ("b", "digits test (22222222)")]
    assert "digits test<" in board_page([card_of(tmp_path / name) for name in "ac"])


def test_what_a_result_does_not_state_is_told_in_words(run):
    text = board_page([card_of(run)])
    assert "seed not stated, 12.5 s, a processor" in text
    assert "None" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.DOTALL)


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
        assert browser.run(names) == ["<script>alert(1)<", "akorn"]  # eps 8/255 before 0.1
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
        browser.back()
        field = browser.run("return document.querySelector('label input').value")
        assert len(browser.run(names)) == (0 if field else 2), "the table shows what the field says"


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
def test_paper_has_names_and_words_of_the_board_in_one_piece(page, tmp_path):
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext")
    with Browser() as browser:
        browser.open(page)
        file = browser.printed(tmp_path / "page.pdf")
    boxes = subprocess.run(["pdftotext", "-bbox", file, "-"], capture_output=True, text=True, check=True).stdout
    width = float(re.findall(r'<page width="([\d.]+)"', boxes)[0])
    assert all(float(end) <= width for end in re.findall(r'xMax="([\d.]+)"', boxes))
    words = re.findall(r">([^<>\s]+)</word>", boxes)
    for word in ("akorn", "published", "seconds", "digits", "80.0", "suspicious", "classification"):
        assert word in words


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
def test_in_a_browser_mixed_names_are_sorted_as_text_and_a_long_one_scrolls_nothing(trained, tmp_path):
    names = ["10", "n" * 200, "2", "1a"]
    for name in names:
        write_result(shutil.copytree(trained, tmp_path / "runs" / name), "robustness-quick")
    assert main(["board", str(tmp_path / "runs"), "--html", str(tmp_path / "page.html")]) == 0
    shown = "return [...document.querySelectorAll('tbody th')].map((e) => e.textContent)"
    with Browser() as browser:
        browser.open(tmp_path / "page.html", width=800)
        assert browser.errors() == []
        assert browser.run("const e = document.documentElement; return e.scrollWidth - e.clientWidth") == 0
        assert browser.run("return document.querySelector('tbody th').offsetWidth < 400")
        browser.run("document.querySelector('th button').click()")
        assert browser.run(shown) == ["1a", "2", "10", "n" * 200]
        browser.run("document.querySelector('th button').click()")
        assert browser.run(shown) == ["n" * 200, "10", "2", "1a"]
