"""Scores against the number of clusters: networks on the same images share a picture; damage is one line."""

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.report import Row, page
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections.objects import curves, objects
from sslkuramoto.results import Result

POINTS = {
    "10": {"mbo": {"value": 0.4}},
    "2": {"mbo": {"value": 0.2}, "fg_ari": {"value": -0.1}, "mbo_class": {"value": 0.7}},
}


@pytest.fixture
def evidence(fabricate):
    def make(label: str, points, name: str = "objects", **data) -> Evidence:
        data = {"name": "shapes", "split": "test", "fingerprint": "abc", "n": 360} | data
        run = fabricate(label).result(name, {}, details={"objects": {"clusters": points}}, kind="objects", data=data)
        return Evidence(label, 0, Result.read(run.path / "results" / f"{name}.json"))

    return make


def test_networks_on_the_same_images_share_a_picture_for_each_score(evidence) -> None:
    few = {"2": {"mbo": {"value": 0.1}}, "10": {"mbo": {"value": 0.5}}}
    other = evidence("third", {"3": {"mbo": {"value": 0.1}}})
    found = curves([evidence("first", POINTS), evidence("second", few), other])
    assert [curve.x for curve in found] == [(2.0, 10.0), (2.0,), (3.0,)]
    assert found[0].series == {"first, objects": (0.2, 0.4), "second, objects": (0.1, 0.5)}
    assert found[1].series == {"first, objects": (0.7,)}
    assert found[1].title.startswith("MBO of classes against clusters")


@pytest.mark.parametrize("other", [{"fingerprint": "def"}, {"n": 100}, {"split": "val"}])
def test_networks_on_other_images_have_a_picture_of_their_own(evidence, other) -> None:
    found = curves([evidence("first", {"2": POINTS["10"]}), evidence("second", {"2": POINTS["10"]}, **other)])
    assert [[*curve.series] for curve in found] == [["first, objects"], ["second, objects"]]
    assert found[0].title == "MBO of instances against clusters, 360 images of shapes test"


def test_the_curve_stands_on_the_page_and_a_result_without_it_has_none(evidence, fabricate) -> None:
    item = evidence("<b>", POINTS)
    text = objects([item])
    assert "MBO of instances against clusters" in text
    assert "20 at 2, 40 at 10" in text
    assert "<b>" not in text
    whole = page([load(Row("a", item.result.path.parents[1]))])
    assert ">Objects<" in whole
    plain = fabricate("b").result("objects", {}, kind="objects").path
    assert objects([Evidence("b", 0, Result.read(plain / "results" / "objects.json"))]) == ""


@pytest.mark.parametrize("points", [[1], {"two": {"mbo": {"value": 1}}}, {"2": {"mbo": 0.2}}, {"2": {"mbo": {}}}])
def test_damaged_details_are_one_line(evidence, points) -> None:
    with pytest.raises(UserError, match=r"objects\.json: details\.objects: not as the protocol leaves it$"):
        curves([evidence("a", points)])
