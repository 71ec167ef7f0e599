"""Curves are thinned without losing spikes, and survive any record."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes

from sslkuramoto.report.pictures.curves import panels
from sslkuramoto.report.pictures.drawing import MAX_POINTS, axes_grid, downsample, running_mean, svg_of
from sslkuramoto.report.runs import Row, load


def test_thinning_keeps_the_extremes_and_the_bound():
    values = np.sin(np.arange(10_000) / 50)
    values[7_123], values[42] = 99.0, -99.0
    x, y = downsample(range(10_000), values)
    assert len(x) <= MAX_POINTS
    assert dict(zip(x, y, strict=True))[7_123] == 99.0
    assert dict(zip(x, y, strict=True))[42] == -99.0
    assert (np.diff(x) > 0).all()


def test_thinning_keeps_a_gap_where_values_are_not_finite():
    values = [1.0] * 5_000
    values[2_500] = math.inf
    x, y = downsample(range(5_000), values)
    assert math.isnan(dict(zip(x, y, strict=True))[2_500])


def test_a_short_curve_is_left_alone():
    x, y = downsample([1, 2, 3], [4, math.nan, 6])
    assert x.tolist() == [1, 2, 3]
    assert np.isnan(y).tolist() == [False, True, False]


@pytest.mark.parametrize("count", [1, 7, 399, 401, 1_200])
@pytest.mark.parametrize("limit", [24, 400])
def test_no_length_breaks_the_bound(count, limit):
    assert len(downsample(range(count), range(count), limit)[0]) <= limit
    assert len(running_mean(range(count), limit)[0]) <= limit


def test_running_means_of_a_ramp_lie_on_it():
    at, means = running_mean(np.arange(1_000.0), 400)
    assert np.abs(at - means).max() <= 1


def test_loss_and_gradient_norm_come_first_then_accuracies_then_the_rest(fabricate):
    run = fabricate().metrics("step,epoch,lr,knn,grad_norm,loss\n1,0,0.1,0.2,3,4\n")
    drawn = panels([load(Row("a", run.path))], "pretrain")
    assert [(panel.metric, panel.main) for panel in drawn] == [
        ("loss", True),
        ("grad_norm", True),
        ("knn", True),
        ("lr", False),
    ]


@pytest.mark.parametrize(
    "lines",
    ["1,nan", "1,inf\n2,-inf", "1,1e300\n2,-1e300", "1,0\n2,0", "1,5", "1,1e-30\n2,1e30", "1e15,1\n2e15,2", "1,\n2,3"],
)
@pytest.mark.parametrize("name", ["loss", "grad_norm", "accuracy", "a $x_1$ <b>&\"'"])
def test_any_record_can_be_drawn(fabricate, lines, name):
    quoted = '"' + name.replace('"', '""') + '"'
    run = fabricate().metrics(f"step,{quoted}\n{lines}\n")
    (panel,) = panels([load(Row("<i>", run.path))], "pretrain")
    assert panel.svg.endswith("</svg>")
    assert "<b>" not in panel.svg
    assert "<i>" not in panel.svg
    assert ("not finite" in " ".join(panel.remarks)) == ("n" in lines)


def test_what_a_curve_shows_is_told_in_words(fabricate):
    run = fabricate().metrics("step,loss\n10,4\n20,2.5\n")
    (panel,) = panels([load(Row("akorn", run.path))], "pretrain")
    assert 'aria-label="Loss over steps, pretrain. akorn: from 4 at step 10 to 2.5 at step 20."' in panel.svg


@pytest.mark.parametrize("margins", [None, (0.1, 0.9, 0.1, 0.9)])
def test_a_figure_is_drawn_once(margins, monkeypatch):
    drawn, draw = [], Axes.draw
    monkeypatch.setattr(Axes, "draw", lambda axes, renderer: drawn.append(axes) or draw(axes, renderer))
    figure, grid = axes_grid(1, 2, 4, 2, margins)
    svg_of(figure, alt="", name="one")
    assert drawn == [*grid[0]]
