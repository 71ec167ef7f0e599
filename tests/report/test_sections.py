"""Sections: which there are, how another package adds one, and that no text becomes markup."""

from importlib.metadata import EntryPoint

import pytest
from markupsafe import Markup

from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.report import Row, page, study_page
from sslkuramoto.report.markup import cells, element, figure, folded, joined, line_of
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections import SECTIONS, Half, Section, parts_for
from sslkuramoto.report.tables.columns import _sources, columns

HOSTILE = "<b onclick='x()'>\"&"


def test_each_section_belongs_to_a_page_and_no_two_share_a_place():
    built = [SECTIONS.build(name, {}) for name in SECTIONS]
    assert all(section.runs or section.study for section in built)
    for halves in ([section.runs for section in built], [section.study for section in built]):
        places = [half.place for half in halves if half is not None]
        assert len(set(places)) == len(places) > 5


def test_a_section_of_another_package_is_shown_in_its_place_on_the_pages_that_it_names(fabricate, studied, monkeypatch):
    def section() -> Section:
        return Section(runs=Half(15, "Mine <b>", lambda shown: element("p", f"{len(shown.models)} <i>")))

    monkeypatch.setattr(SECTIONS, "_members", {**SECTIONS._members, "mine": section})
    text = page([load(Row("a", fabricate("a", "simclr").path))])
    assert text.index('id="summary"') < text.index('<section id="mine"') < text.index('id="recipes"')
    assert "<h2>Mine &lt;b&gt;</h2><p>1 &lt;i&gt;</p>" in text
    assert 'id="mine"' not in study_page(studied.table())


def test_members_of_another_package_that_cannot_be_imported_stop_no_page(fabricate, monkeypatch, capsys):
    for registry in (SECTIONS, PROTOCOLS):
        broken = EntryPoint("broken", "no_such_package:x", registry.group)
        monkeypatch.setattr(registry, "_plugins", {"broken": broken})
    _sources.cache_clear()
    columns.cache_clear()
    assert '<section id="summary"' in page([load(Row("a", fabricate("a", "simclr").path))])
    said = capsys.readouterr().err
    assert "left out of the report: protocol 'broken': its package cannot load no_such_package:x" in said
    assert "left out of the report: section 'broken'" in said


def test_a_section_that_has_nothing_to_say_keeps_its_place_empty():
    parts = parts_for(object(), {"b": Half(20, "B", lambda _: Markup()), "a": Half(30, "A", lambda _: Markup("x"))})
    assert parts == {"b": ("B", Markup()), "a": ("A", Markup("x"))}


@pytest.mark.parametrize(
    "made",
    [
        element("td", HOSTILE, data_sort=HOSTILE),
        cells([HOSTILE]),
        figure(Markup("<svg/>"), HOSTILE),
        folded(HOSTILE, HOSTILE),
        joined([HOSTILE]),
        line_of(HOSTILE, Markup("<td></td>")),
    ],
)
def test_text_in_a_piece_of_a_page_is_escaped(made):
    assert isinstance(made, Markup)
    assert "<b" not in made
    assert "onclick='" not in made
    assert "&lt;b onclick=&#39;x()&#39;&gt;&#34;&amp;" in made
