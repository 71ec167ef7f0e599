"""The panel in a real browser: slider, play, keys and pointer move it; nothing moves by itself; paper leaves it out."""

import shutil
import subprocess
import time

import pytest
import torch
from browser import TAB, Browser, missing

from sslkuramoto.encoders.features import Features, LayerTrace
from sslkuramoto.report import Row, record_phases, write_page

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")

BEYOND = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
LEFT, RIGHT, DOWN, SPACE = "\ue012", "\ue014", "\ue015", " "
FIND = "const panel = document.querySelector('.dynamics'); const find = (what) => panel.querySelector(what); "
STEPS = 4


class Turning(torch.nn.Module):
    """Oscillators that turn by 90 degrees a step; two layers of 4 x 6 sites, N = 2."""

    stochastic = False

    def forward(self, images, *, draw, trace):
        site = torch.arange(24.0).view(4, 6) / 24 * 2 * torch.pi
        angles = torch.stack([site + step * torch.pi / 2 for step in range(STEPS)])
        field = torch.stack([angles.cos(), angles.sin()], dim=1)[:, None].expand(STEPS, len(images), 2, 4, 6)
        energy = -torch.arange(STEPS + 1.0)[:, None].expand(STEPS + 1, len(images))
        return Features(images.mean((2, 3)), images, (LayerTrace(field, energy, energy),) * 2)


@pytest.fixture(scope="module")
def browser():
    with Browser() as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = tmp_path_factory.mktemp("turning")
    (run / "recipe.yaml").write_text("encoder: {name: akorn}\nobjective: {name: simclr}\n")
    record_phases(run, Turning(), torch.rand(3, 3, 16, 16), 2, torch.Generator())
    return write_page(run / "report.html", [Row("turning", run)])


def said(browser, selector="output"):
    return browser.run(f"{FIND} return find('{selector}').textContent")


def picture(browser):
    return browser.run(f"{FIND} return find('canvas').toDataURL()")


@pytest.mark.parametrize("width", [1400, 800, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_the_panel_shows_at_every_width_and_scrolls_nothing_sideways(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    assert browser.run(f"{FIND} const box = find('canvas').getBoundingClientRect(); return box.width > 150") is True
    assert browser.run(BEYOND) == 0
    assert browser.errors() == []


def test_the_slider_moves_the_picture_the_words_and_the_mark_on_the_curve(browser, page):
    browser.open(page)
    seen = []
    for place in range(STEPS):
        browser.run(f"{FIND} find('input').value = {place}; find('input').dispatchEvent(new Event('input'))")
        assert said(browser).startswith(f"step {place + 1} of {STEPS}: energy -{place + 1}, order parameter 0.00")
        seen.append((picture(browser), browser.run(f"{FIND} return find('circle').getAttribute('cx')")))
    assert len({image for image, _ in seen}) == STEPS
    assert [float(x) for _, x in seen] == sorted({float(x) for _, x in seen})


def test_whoever_comes_back_finds_slider_and_picture_at_the_same_step(browser, page):
    browser.open(page)
    browser.run(f"{FIND} find('input').focus()")
    browser.press(RIGHT, RIGHT)
    browser.back()
    shown = browser.run(f"{FIND} return find('input').value")
    assert said(browser).startswith(f"step {int(shown) + 1} of")


def test_play_stops_at_the_end_and_begins_again_from_there(browser, page):
    browser.open(page)
    before = picture(browser)
    time.sleep(0.7)
    assert picture(browser) == before, "nothing moves by itself"
    for _ in range(2):
        browser.run(f"{FIND} find('.play').click()")
        assert said(browser, ".play") == "Pause"
        assert said(browser).startswith("step 1 of")
        for _ in range(100):
            if said(browser, ".play") == "Play":
                break
            time.sleep(0.1)
        assert said(browser).startswith(f"step {STEPS} of {STEPS}")
        ended = picture(browser)
        time.sleep(0.7)
        assert picture(browser) == ended


def test_for_a_reader_who_wants_less_motion_the_button_goes_one_step_at_a_time(browser, page):
    browser.open(page, still=True)
    assert said(browser, ".play") == "Next step"
    for step in (2, 3, 4, 1):
        browser.run(f"{FIND} find('.play').click()")
        assert said(browser).startswith(f"step {step} of")
        shown = picture(browser)
        time.sleep(0.6)
        assert picture(browser) == shown


def test_layers_and_images_are_chosen_by_buttons_that_say_which_is(browser, page):
    browser.open(page)
    browser.run(f"{FIND} find('[data-layer=\"1\"]').click(); find('[data-image=\"2\"]').click()")
    pressed = f"{FIND} return [...panel.querySelectorAll('[aria-pressed=true]')].map((e) => e.textContent)"
    assert browser.run(pressed) == ["layer 2", "image 3"]
    assert browser.errors() == []


def test_everything_works_by_keyboard_and_shows_where_the_focus_is(browser, page):
    browser.open(page)
    browser.run(f"{FIND} panel.querySelector('button').focus()")
    reached = []
    for _ in range(7):
        browser.press(TAB)
        reached.append(browser.run("const e = document.activeElement; return e.textContent || e.tagName"))
    assert reached == ["layer 2", "image 1", "image 2", "image 3", "CANVAS", "Play", "INPUT"]
    browser.press(RIGHT)
    browser.press(RIGHT)
    assert said(browser).startswith("step 3 of")
    browser.press(LEFT)
    assert said(browser).startswith("step 2 of")
    browser.press(SPACE)
    assert said(browser, ".play") == "Pause"
    browser.press(SPACE)
    assert said(browser, ".play") == "Play"
    browser.run(
        f"{FIND} find('input').value = 0; find('input').dispatchEvent(new Event('input')); find('canvas').focus()"
    )
    for key in (RIGHT, DOWN, RIGHT):
        browser.press(key)
    assert said(browser, "p") == "Row 2, column 2: phase 105°, x = (-0.3, 1.0)"
    for place in ("canvas", "input", ".play"):
        browser.run(f"{FIND} find('{place}').focus()")
        browser.press("\ue008")  # shift: a key, so that the focus is one of a keyboard
        assert browser.run(f"{FIND} return getComputedStyle(find('{place}')).outlineStyle") == "solid", place


def test_pointing_at_a_site_reads_its_phase(browser, page):
    browser.open(page)
    browser.run(
        f"{FIND} const box = find('canvas').getBoundingClientRect(); "
        "find('canvas').dispatchEvent(new PointerEvent('pointermove', "
        "{clientX: box.left + 2.5 / 6 * box.width, clientY: box.top + 0.5 / 4 * box.height}))"
    )
    assert said(browser, "p") == "Row 1, column 3: phase 30°, x = (0.9, 0.5)"
    assert browser.run(f"{FIND} return find('.site').hidden") is False


def test_whoever_cannot_see_it_is_told_names_and_values(browser, page):
    browser.open(page)
    browser.run(f"{FIND} find('input').value = 1; find('input').dispatchEvent(new Event('input'))")
    assert browser.run(f"{FIND} return find('input').getAttribute('aria-valuetext')") == f"step 2 of {STEPS}"
    names = f"{FIND} return [panel, find('canvas'), find('input')].map((e) => e.ariaLabel)"
    assert all(browser.run(names))


def test_paper_has_the_strip_and_not_the_panel(browser, page, tmp_path):
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext")
    browser.open(page)
    file = browser.printed(tmp_path / "page.pdf")
    text = subprocess.run(["pdftotext", file, "-"], capture_output=True, text=True, check=True).stdout
    assert "step 4" in text
    assert "Play" not in text
