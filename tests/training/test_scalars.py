"""What an objective of another package logs is recorded beside the loop's own numbers, or refused in one line."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from small_runs import metrics, small

from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.representation.monitor import online_measures
from sslkuramoto.objectives import OBJECTIVES, Objective, Step, encode
from sslkuramoto.recipe import dump_recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train
from sslkuramoto.training.scalars import OWN, scalars


def step(**logged) -> Step:
    return Step(torch.tensor(2.0, dtype=torch.float64, requires_grad=True), logged, torch.zeros(2, 3))


@pytest.fixture
def logging(monkeypatch):
    """Register the objective "mine", which logs what it is told to."""

    class Mine(Objective):
        """Pull two views together."""

        views = ("a", "b")
        logged: ClassVar[dict] = {}

        def __init__(self, encoder, num_classes=None) -> None:
            super().__init__()

        def forward(self, encoder, views, *, draw=None, labels=None) -> Step:
            a, b = (encode(encoder, views[name], draw) for name in self.views)
            return Step((a - b).square().mean(), {name: make(a) for name, make in self.logged.items()}, a.detach())

    def tell(**logged):
        Mine.logged = logged
        return {"name": "mine"}

    monkeypatch.setitem(OBJECTIVES._members, "mine", Mine)
    return tell


def test_scalars_and_numbers_are_averaged_over_the_parts_of_a_batch():
    first = step(a=torch.tensor(1.0), b=3, c=np.float32(5), d=torch.tensor(1.0, requires_grad=True))
    second = step(b=4.0, a=torch.tensor(3), c=np.float64(7), d=torch.tensor(float("nan")))
    names, values = scalars("mine", [first, second])
    assert names == ["loss", "a", "b", "c", "d"]
    assert values.tolist()[:4] == [2.0, 2.0, 3.5, 6.0]
    assert values.isnan().tolist() == [False] * 4 + [True]
    assert (values.dtype, values.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.ones(30), r"torch.float32 \[30\]"),
        (torch.ones(1), r"torch.float32 \[1\]"),
        (torch.tensor(1j), r"torch.complex64 \[\]"),
        ([1.0], "a list"),
        (None, "a NoneType"),
        ("1", "a str"),
    ],
)
def test_a_metric_that_is_no_scalar_is_one_line(value, found):
    line = f"^objective mine: metric 'odd' is {found}: must be a detached scalar tensor or a number$"
    with pytest.raises(UserError, match=line):
        scalars("mine", [step(odd=value)])


@pytest.mark.parametrize("name", OWN)
def test_a_metric_with_a_name_of_the_loop_is_one_line(name):
    with pytest.raises(UserError, match=f"^objective mine: metric {name!r}: the name is the loop's own"):
        scalars("mine", [step(**{name: torch.tensor(1.0)})])


def test_parts_with_different_metrics_are_one_line():
    with pytest.raises(UserError, match=r"^objective mine: the parts of a batch have different metrics"):
        scalars("mine", [step(a=1.0), step(b=1.0)])


def test_the_names_of_the_loop_are_all_that_it_writes(logging, tmp_path):
    run = train(small(objective=logging(penalty=lambda _: 0.5)), tmp_path / "run")
    rows = metrics(run.path, timing=True)
    assert {*rows[-1]} == {*OWN, "penalty"}
    assert {row["penalty"] for row in rows} == {"0.5"}


@pytest.mark.parametrize(
    ("name", "make", "line"),
    [
        ("each", lambda features: features.detach().mean(1), "objective mine: metric 'each' is torch.float32 [16]: "),
        ("lr", lambda _: torch.tensor(3.0), "objective mine: metric 'lr': the name is the loop's own (step, epoch, "),
    ],
)
def test_the_first_step_says_it_in_one_line(name, make, line, logging, tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(dump_recipe(small(objective=logging(**{name: make}))))
    assert main(["train", str(tmp_path / "r.yaml"), "--run", str(tmp_path / "run")]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"sslkuramoto: {line}")
    assert not RunDirectory(tmp_path / "run").begun


def test_a_metric_that_a_monitor_measures_too_is_one_line(logging, tmp_path):
    recipe = small(objective=logging(knn=lambda _: 0.5), measure={"monitor_every": 2, "monitors": ["knn"]})
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match=r"^objective mine: metric 'knn': a monitor measures under this name too; "):
        train(recipe, run.path, monitor=online_measures(recipe, run))
    assert not run.begun, "at the first step, not in the second epoch"


def test_a_further_name_of_a_monitor_is_one_line_where_it_measures(logging, tmp_path):
    recipe = small(objective=logging(alpha_req=lambda _: 0.5), measure={"monitor_every": 1, "monitors": ["rankme"]})
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match=r"^objective mine: metric 'alpha_req': a monitor measures under this name too"):
        train(recipe, run.path, monitor=online_measures(recipe, run))
