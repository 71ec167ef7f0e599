"""The page stands alone: nothing from the net, nothing executed from files, written whole."""

import re
import shutil

import matplotlib
import pytest
import torch
from page_outline import Outline

from sslkuramoto.encoders.features import Features, LayerTrace
from sslkuramoto.errors import UserError
from sslkuramoto.report import Row, discover, page, record_phases, record_views, write_page
from sslkuramoto.report.runs import load


class Encoder(torch.nn.Module):
    stochastic = True

    def forward(self, images, *, draw, trace):
        layers = tuple(
            LayerTrace(
                torch.randn(3, len(images), 8, 32, 32, generator=draw),
                torch.zeros(4, len(images)),
                torch.zeros(4, len(images)),
            )
            for _ in range(3)
        )
        return Features(images.mean((2, 3)), images, layers)


@pytest.fixture(scope="module")
def pictured(complete_for_all):
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 32, 32, generator=draw)
    record_views(complete_for_all, lambda x, draw: {"a": x, "b": x}, images, draw)
    record_phases(complete_for_all, Encoder(), images, 2, draw)
    return complete_for_all


@pytest.fixture(scope="module")
def text(pictured):
    return page([load(Row("akorn", pictured))], notes=["read me"])


def test_the_page_of_a_complete_run_has_every_section(text):
    outline = Outline(text)
    sections = [attributes["id"] for tag, attributes in outline.tags if tag == "section"]
    assert sections == ["answer", "summary", "curves", "pictures", "results", "scored", "recipes", "environment"]
    assert "read me" in outline.text


def test_nothing_refers_outside_the_page(text):
    outline = Outline(text)
    assert outline.links
    assert all(link.startswith(("#", "data:image/png")) for link in outline.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"base64,[^\"]*", "", text.split("<script>")[0]))
    assert "http" not in text.split("<script>")[1]


def test_ids_are_unique_and_references_hit(pictured):
    outline = Outline(page([load(Row("akorn", pictured)), load(Row("twin", pictured))]))
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)


def test_pictures_have_words_and_tables_have_heads(text):
    outline = Outline(text)
    drawn = [attributes for tag, attributes in outline.tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert len(drawn) >= 6
    assert all(attributes["role"] == "img" and len(attributes["aria-label"]) > 20 for attributes in drawn)
    heads = [attributes for tag, attributes in outline.tags if tag == "th"]
    assert heads
    assert all(attributes["scope"] in ("col", "row", "colgroup") for attributes in heads)


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onload=alert(3) &amp;"


def test_text_from_files_is_shown_and_never_run(fabricate, metric):
    run = fabricate().environment(**{HOSTILE: HOSTILE})
    (run.path / "recipe.yaml").write_text(f"# {HOSTILE}\n")
    run.metrics('step,"' + HOSTILE.replace('"', '""') + '"\n1,2\n')
    run.result(
        "knn", {"accuracy": metric(0.9), HOSTILE: metric(1, unit=HOSTILE)}, notes=[HOSTILE], options={HOSTILE: HOSTILE}
    )
    outline = Outline(page([load(Row(HOSTILE, run.path))], title=HOSTILE, notes=[HOSTILE]))
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert outline.events == []
    assert "".join(outline.text).count(HOSTILE) >= 8


def test_the_browser_may_run_the_pages_own_script_only(text):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "script-src 'unsafe" not in policy


def test_unknown_metrics_stand_in_the_table_of_all_results(fabricate, metric):
    run = fabricate().result("boards", {"solved_exactly": metric(0.123456), "seconds": metric(4.5, unit="s")})
    text = "".join(Outline(page([load(Row("a", run.path))])).text)
    assert "solved_exactly" in text
    assert "12.35" in text


def test_an_empty_run_gives_a_page_that_says_what_is_missing(fabricate):
    run = fabricate().metrics("")
    (run.path / "recipe.yaml").unlink()
    text = "".join(Outline(page([load(Row("a", run.path))])).text)
    assert "No metrics over steps: a (pretrain)." in text
    assert "holds no recipe.yaml" in text


def test_a_session_is_shown_as_it_is_and_several_by_number(fabricate):
    session = {"device": "cpu", "versions": {"torch": "2.6.0"}}
    one = fabricate("one").environment(sessions=[session])
    two = fabricate("two").environment(sessions=[session, session])
    first, second = ("|".join(Outline(page([load(Row("a", run.path))])).text) for run in (one, two))
    assert "|versions.torch|2.6.0" in first
    assert "|session 2.versions.torch|2.6.0" in second


def test_twelve_long_runs_with_pictures_stay_below_two_megabytes(pictured, tmp_path):
    pictured = shutil.copytree(pictured, tmp_path / "long")
    lines = "".join(f"{s},{(s * 7919) % 1000 / 999},{(s * 104729) % 997 / 9}\n" for s in range(1, 2001))
    (pictured / "metrics.csv").write_text("step,loss,grad_norm\n" + lines)
    text = page([load(Row(f"run {k}", pictured)) for k in range(12)])
    assert len(text.encode()) < 2_000_000
    assert "Left out, to keep the page small" in text


def test_the_same_runs_give_the_same_page_and_matplotlibs_settings_are_left_alone(pictured, text):
    before = dict(matplotlib.rcParams)
    assert page([load(Row("akorn", pictured))], notes=["read me"]) == text
    assert dict(matplotlib.rcParams) == before


def test_the_page_is_written_where_asked(complete, tmp_path):
    path = write_page(tmp_path / "new" / "report.html", discover([complete]), title="Digits")
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_report_that_fails_leaves_the_old_page(complete, tmp_path):
    (tmp_path / "report.html").write_text("old")
    (complete / "results" / "knn.json").write_text("{")
    with pytest.raises(UserError, match=r"knn\.json"):
        write_page(tmp_path / "report.html", [Row("a", complete)])
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_place_that_cannot_be_written_is_named(complete, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=r"report\.html"):
        write_page(tmp_path / "report.html", [Row("a", complete)])
