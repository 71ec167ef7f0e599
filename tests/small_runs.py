"""Runs of a second: the smallest recipes, and what two runs are compared by."""

import csv
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.recipe import Recipe, dump_recipe, recipe_from
from sslkuramoto.training.log import Log
from sslkuramoto.views import ViewPolicy

TIMING = {"images_per_second"}
AKORN = {"name": "akorn", "channels": 4, "kernel_sizes": [3, 3], "num_steps": 1}
SMALL: dict[str, Any] = {
    "data": {"name": "digits", "limit": 48},
    "views": {"name": "simclr"},
    "encoder": AKORN,
    "objective": {"name": "simclr", "projector": {"hidden": 8, "out": 8}},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "epochs": 2,
    "batch_size": 16,
    "engine": {"device": "cpu"},
}
XPHINET = {"name": "xphinet", "projector": {"hidden": 8, "out": 8}, "predictor": {"hidden": 8}}
CLASSIFIER = {"views": {"name": "plain"}, "objective": {"name": "classification"}}


def small(**changes: Any) -> Recipe:
    """Return the small recipe, 3 steps an epoch, with sections replaced."""
    return recipe_from({**SMALL, **changes})


def recipe_file(path: Path, **changes: Any) -> str:
    """Write the small recipe and return the file's name, as a command line has it."""
    path.write_text(dump_recipe(small(**changes)))
    return str(path)


class Killed(BaseException):
    """Ends a run as abruptly as one can without ending the process."""


@contextmanager
def after_step(last: int, act: Any) -> Iterator[None]:
    """Call ``act`` when step ``last`` (from 0) was logged, before anything else is written."""
    logged = Log.step

    def step(self: Log, number: int, *arguments: Any) -> None:
        logged(self, number, *arguments)
        if number == last:
            act()

    Log.step = step
    try:
        yield
    finally:
        Log.step = logged


def kill() -> None:
    raise Killed


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def metrics(run: Path, *, timing: bool = False) -> list[dict[str, str]]:
    """Return the lines of metrics.csv."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if timing or k not in TIMING} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    """Assert that two runs left the same bytes and the same numbers."""
    for file in sorted(one.glob("*.safetensors")):
        assert file.read_bytes() == (other / file.name).read_bytes(), file.name
    assert metrics(one) == metrics(other)


class Mirrored(ViewPolicy):
    """Views that no draw decides: the image, its mirror image, and the image again."""

    def __init__(self, image_size: int) -> None:
        super().__init__(image_size, a=nn.Identity(), b=nn.Identity(), clean=nn.Identity())

    def forward(self, images: torch.Tensor, draw: torch.Generator) -> dict[str, torch.Tensor]:
        return {"a": images, "b": images.flip(3), "clean": images}


class Dropping(Encoder):
    """One convolution with dropout, which draws from torch's global generator."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        grid = self.drop(self.first(images)).relu()
        return Features(grid.mean(dim=(2, 3)), grid)


class Convolving(Encoder):
    """One convolution, which draws nothing."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        grid = self.first(images).relu()
        return Features(grid.mean(dim=(2, 3)), grid)
