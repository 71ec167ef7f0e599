"""What the site adds to the pages, text from other files and tables of registries; files that pages name exist."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from browser import Browser, missing
from house_files import REGISTRIES, ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"extensions/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def from_files() -> ModuleType:
    pytest.importorskip("sphinx")
    return extension("pages_from_files")


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    pytest.importorskip("sphinx")
    return extension("registry_tables")


def test_a_script_in_percent_format_becomes_text_and_code_in_its_order(from_files: ModuleType) -> None:
    script = "# %% [markdown]\n# # Title\n#\n#     indented\n\n# %%\nx = 1\n\n\n# %%\ny = 2\n"
    page = "# Title\n\n    indented\n\n```python\nx = 1\n```\n\n```python\ny = 2\n```"
    assert from_files.page_of(script) == page


def test_a_script_without_cells_is_refused(from_files: ModuleType) -> None:
    with pytest.raises(ValueError, match="begins with the line"):
        from_files.page_of("x = 1\n")


@pytest.mark.parametrize(
    ("at_root", "link", "expected"),
    [
        (True, "docs/studies.md#keys", "/studies.md#keys"),
        (True, "CHANGELOG.md", "/changelog.md"),
        (True, "LICENSE", "../LICENSE"),
        (True, "https://example.org/docs/x.md", "https://example.org/docs/x.md"),
        (False, "../README.md", "/index.md"),
        (False, "../../CONTRIBUTING.md", "/contributing.md"),
        (False, "../recipes/x.yaml", "../recipes/x.yaml"),
        (False, "audit.md", "audit.md"),
        (False, "#here", "#here"),
    ],
)
def test_links_lead_within_the_site_where_it_has_the_page(
    from_files: ModuleType, at_root: bool, link: str, expected: str
) -> None:
    assert from_files.linked_from_the_site(f"a [b]({link}) c", at_root=at_root) == f"a [b]({expected}) c"


def test_every_registry_has_a_page_of_reference() -> None:
    named = {
        place
        for path in (DOCS / "reference").glob("*.md")
        for place in re.findall(r"^```\{registry\} (\S+)$", path.read_text(), flags=re.MULTILINE)
    }
    found = []
    for place in named:
        module, _, name = place.partition(":")
        found.append(getattr(importlib.import_module(module), name))
    assert {registry.kind for registry in found} == {registry.kind for registry in REGISTRIES}


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_the_reference_shows_every_member_with_every_option(tables: ModuleType, registry: object) -> None:
    text = tables.registry_page(registry)
    for name in registry:  # pyright: ignore[reportGeneralTypeIssues]
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for option in tables.options_in_words(registry, name):
            assert f"| `{option.key}` |" in section


def test_the_table_of_a_folder_names_each_of_its_files(tables: ModuleType) -> None:
    names = re.findall(r"^\| `(\S+)` \|", tables.folder_page("recipes"), flags=re.MULTILINE)
    assert sorted(names) == sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


def test_every_tutorial_is_in_the_site_and_begins_with_text() -> None:
    index = (DOCS / "tutorials/index.md").read_text()
    for script in (DOCS / "tutorials").glob("*.py"):
        assert f"\n{script.stem}\n" in index
        assert script.with_suffix(".md").is_file()
        assert script.read_text().startswith("# %% [markdown]\n")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_page_names_exist(path: Path) -> None:
    """CHANGELOG names what once was, and pages for authors name files that a reader will write."""
    if path.name == "CHANGELOG.md":
        return
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    named = re.findall(r"`((?:sslkuramoto|scripts|eval|tests|docs|recipes)/[\w./-]+\.(?:py|yaml|md|sh))`", text)
    written_by_readers = {"mine", "my", "NAME"}
    missing = [
        name
        for name in named
        if not (ROOT / name).exists() and not any(word in Path(name).stem for word in written_by_readers)
    ]
    assert missing == []


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
def test_a_wide_block_of_code_scrolls_by_itself_and_leaves_the_list_of_sections_on_the_screen(tmp_path: Path) -> None:
    pytest.importorskip("furo")
    (tmp_path / "conf.py").write_text(
        f"html_theme, html_static_path, html_css_files = 'furo', [{str(DOCS / 'static')!r}], ['site.css']\n"
    )
    text = (
        "Page\n====\n\n::\n\n    " + "word " * 40 + "\n\n" + "".join(f"Part {k}\n------\n\nText.\n\n" for k in range(3))
    )
    (tmp_path / "index.rst").write_text(text)
    subprocess.run([sys.executable, "-m", "sphinx", "-q", tmp_path, tmp_path / "site"], check=True)
    with Browser() as browser:
        for width in (1600, 1366, 1320, 1024, 375):
            browser.open(tmp_path / "site/index.html", width=width)
            assert browser.run("const e = document.documentElement; return e.scrollWidth - e.clientWidth") == 0, width
