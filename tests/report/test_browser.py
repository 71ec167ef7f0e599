"""The pages in a real browser: nothing cut off at any width or on paper, no error, folds open by keyboard."""

import re
import shutil
import subprocess

import pytest
from browser import ENTER, TAB, Browser, missing
from made_study import FabricatedStudy

from sslkuramoto.report import study_page

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")

BEYOND = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path = folder / "study.html"
    path.write_text(study_page(FabricatedStudy(folder).table()))
    return path


@pytest.mark.parametrize("width", [1400, 800, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_no_page_scrolls_sideways_and_the_browser_complains_of_nothing(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    assert browser.run("return innerWidth") == width
    assert browser.run(BEYOND) == 0
    browser.run("for (const fold of document.querySelectorAll('details')) fold.open = true")
    assert browser.run(BEYOND) == 0
    assert browser.errors() == []


def test_landmarks_have_names_of_their_own_and_no_heading_of_a_table_is_empty(browser, page):
    browser.open(page)
    names = browser.run("return [...document.querySelectorAll('[role=region]')].map((e) => e.ariaLabel)")
    assert names
    assert len(names) == len(set(names))
    assert browser.run("return [...document.querySelectorAll('th')].filter((e) => !e.textContent.trim()).length") == 0


def test_a_fold_opens_by_keyboard(browser, page):
    browser.open(page)
    browser.run("document.activeElement.blur(); scrollTo(0, 0)")
    for _ in range(80):
        browser.press(TAB)
        if browser.run("return document.activeElement.tagName") == "SUMMARY":
            break
    before = browser.run("return document.activeElement.parentElement.open")
    browser.press(ENTER)
    assert browser.run("return document.activeElement.parentElement.open") is not before


def test_paper_shows_every_column_and_what_is_folded(browser, page, tmp_path):
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext")
    browser.open(page)
    heads = browser.run("return [...document.querySelectorAll('#table thead th')].map((e) => e.textContent)")
    file = browser.printed(tmp_path / "page.pdf")
    boxes = subprocess.run(["pdftotext", "-bbox", file, "-"], capture_output=True, text=True, check=True).stdout
    width = float(re.findall(r'<page width="([\d.]+)"', boxes)[0])
    assert all(float(end) <= width for end in re.findall(r'xMax="([\d.]+)"', boxes))
    words = re.findall(r">([^<>\s]+)</word>", boxes)
    shown = re.sub(r"[^a-z]", "", "".join(words).lower())
    for head in heads:
        for word in re.findall("[a-z]{3,}", head.lower()):
            assert word in shown, head
    assert "encodernameakorn" in shown, "a recipe, which the screen folds"
