"""Colours of the page: text is legible in light and in dark (WCAG 2.1 AA, criteria 1.4.3 and 1.4.11)."""

import re
from importlib.resources import files

import pytest

from sslkuramoto.report.pictures.export import FAINT, INK, LIGHT, SERIES

CSS = (files("sslkuramoto.report") / "page.css").read_text()
GROUNDS = ("paper", "shade")  # of the page, and of code and of the row under the pointer
TEXTS = ("ink", "faint", "link", "published", "good", "bad")
TEXT, LINE = 4.5, 3.0


def variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))


light_block, dark_block = re.findall(r":root \{(.*?)\}", CSS, flags=re.DOTALL)
SCHEMES = {"light": variables(light_block), "dark": variables(dark_block)}
LINES = sorted(name for name in SCHEMES["light"] if name.startswith("series-"))


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.1, in [0, 1]."""
    shares = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005), "the lightest grey that passes on white"


def test_both_schemes_set_every_colour():
    assert SCHEMES["light"].keys() == SCHEMES["dark"].keys()
    assert len(LINES) == len(SERIES)
    used = set(re.findall(r"var\(--([\w-]+)\)", CSS))
    assert used <= SCHEMES["light"].keys()
    assert used - {*GROUNDS, "rule", *LINES} <= set(TEXTS), "a colour of text that no check knows"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("text", TEXTS)
def test_text_is_legible(scheme: str, ground: str, text: str):
    colours = SCHEMES[scheme]
    assert contrast(colours[text], colours[ground]) >= TEXT


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("line", LINES)
def test_lines_of_plots_are_visible(scheme: str, line: str):
    assert contrast(SCHEMES[scheme][line], SCHEMES[scheme]["paper"]) >= LINE


def test_nothing_is_made_fainter_than_its_colour():
    assert "opacity" not in CSS, "it mixes a colour that passes with the ground"


def test_exported_figures_have_the_colours_of_the_light_page():
    names = {INK: "ink", FAINT: "faint"} | {stand_in: f"series-{k}" for k, stand_in in enumerate(SERIES)}
    assert {names[key]: value for key, value in LIGHT.items()} == {
        name: SCHEMES["light"][name] for name in names.values()
    }
