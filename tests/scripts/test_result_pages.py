"""Pages of results: what a script writes stands between markers, and the index lists every page."""

import re

import pytest
from house_files import ROOT, STUDIES
from scripts_by_name import script_named

from sslkuramoto.errors import UserError

FOLDER = ROOT / "docs/results"
OF_STUDIES = [path for study in STUDIES if (path := FOLDER / f"{study.stem}.md").is_file()]


@pytest.fixture(scope="module")
def script():
    return script_named("result_pages")


def test_only_what_stands_between_the_markers_is_replaced(script):
    before = f"a\n{script.START}\nold\n{script.END}\nz\n"
    assert script.placed(before, "new") == f"a\n{script.START}\nnew\n{script.END}\nz\n"


@pytest.mark.parametrize("text", ["", "<!-- table:end --> <!-- table:start -->"])
def test_a_page_without_markers_is_refused(script, text):
    with pytest.raises(UserError, match="needs the lines"):
        script.placed(text, "new")


def test_a_page_written_again_keeps_its_headline_and_summary_and_takes_the_new_title(script, tmp_path):
    page = tmp_path / "one.md"
    script.write_page(page, "First", "| a |")
    page.write_text(page.read_text().replace(script.UNWRITTEN, "It works.") + "\nAfterwards.\n")
    script.write_page(page, "Second", "| b |")
    assert page.read_text() == f"# Second\n\n**It works.**\n\n{script.START}\n| b |\n{script.END}\n\nAfterwards.\n"


def test_the_index_orders_pages_by_the_numbers_in_their_names(script, tmp_path):
    for number in (10, 2):
        script.write_page(tmp_path / f"table-{number}.md", f"Table {number}", "| a |")
    (tmp_path / "words.md").write_text("# Words alone\n")
    (tmp_path / "index.md").write_text(f"{script.START}\n{script.END}\n")
    assert script.main([str(tmp_path)]) == 0
    rows = re.findall(r"\[(.+)\]\((.+)\) \| (.+) \|", (tmp_path / "index.md").read_text())
    assert rows == [("Table 2", "table-2.md", script.UNWRITTEN), ("Table 10", "table-10.md", script.UNWRITTEN)]


def test_a_folder_without_an_index_is_one_line_and_exit_code_2(script, tmp_path, capsys):
    assert script.main([str(tmp_path)]) == 2
    assert "index.md" in capsys.readouterr().err


def test_the_index_of_results_is_the_one_the_script_writes_and_fits_a_screen(script):
    index = (FOLDER / "index.md").read_text()
    assert script.placed(index, script.index_of(FOLDER)) == index
    assert len(index.partition("```{toctree}\n:hidden:")[0].splitlines()) <= 40


@pytest.mark.parametrize("path", OF_STUDIES, ids=lambda path: path.stem)
def test_the_page_of_a_study_has_a_headline_and_says_once_how_columns_were_scored(script, path):
    text = path.read_text()
    assert f"`sslkuramoto study {path.stem}`" in text
    assert text.count("<summary>How each column was scored</summary>") == 1
    assert re.match(r"# [^\n]+\n\n\*\*[^\n]+\*\*\n\n[^\n|]+", text)
    assert script.UNWRITTEN not in text
