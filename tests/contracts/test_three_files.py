"""A new objective, encoder, attack, data source or protocol costs three files: a module, a line that registers it, and
one recipe or protocol file. They are generated here in a copy of the package, and nothing else is touched.

The copy runs the commands of a user and the contract tests of the new members.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from house_files import ROOT

import sslkuramoto as sk

MODULES = {
    "objectives/added_objective.py": '''
"""Align two views.

Shapes: b batch, y x pixels.
"""

from torch import nn

from sslkuramoto.objectives.losses import negative_cosine
from sslkuramoto.objectives.objective import Objective, Step, encode, features_of
from sslkuramoto.objectives.projector import Projector
from sslkuramoto.values import Positive, checked, small


@small(projector={"hidden": 4, "out": 4})
@checked
class Added(Objective):
    """Distance between the projections of two views.

    Args:
        encoder: gives the length of the features.
        num_classes: not used.
        scale: factor of the loss.
        projector: its widths, depth and norms.
    """

    views = ("a", "b")

    def __init__(self, encoder, num_classes=None, *, scale: Positive = 1.0, projector: Projector = Projector()) -> None:
        super().__init__()
        self.scale = scale
        self.projector = projector.build(features_of(encoder))

    def forward(self, encoder, views, *, draw=None, labels=None) -> Step:
        features = encode(encoder, views["a"], draw)
        loss = self.scale * negative_cosine(
            self.projector(features), self.projector(encode(encoder, views["b"], draw))
        )
        return Step(loss, {"distance": loss.detach()}, features.detach())
''',
    "encoders/added_encoder.py": '''
"""One convolution. Shapes: b batch, y x pixels."""

from torch import nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.values import Count, checked


@checked
class Added(Encoder):
    """One convolution with a ReLU, pooled.

    Args:
        width: length of the features.
    """

    def __init__(self, *, width: Count = 8) -> None:
        super().__init__()
        self.num_features = width
        self.convolution = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        grid = self.convolution(images).relu()
        return Features(grid.mean(dim=(2, 3)), grid)
''',
    "data/images/added_data.py": '''
"""Random images of three classes. Shapes: n images, s side of the square images."""

import torch

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.image_set import ImageSet
from sslkuramoto.data.images.readers import ArraySamples
from sslkuramoto.data.images.subset import Choice
from sslkuramoto.randomness import generator
from sslkuramoto.values import Count, ShareBelowOne, checked


@checked
def added(
    split: str,
    *,
    size: Count | None = None,
    limit: Count | None = None,
    limit_test: Count | None = None,
    holdout: ShareBelowOne = 0.0,
    split_seed: int = 0,
    device_resident: bool = True,
) -> ImageSet:
    """Return random images of three classes.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, holdout, split_seed, device_resident)
    part = choice.part(split, ("train", "test"), "the added data")
    draw = generator("cpu", "added", part)
    images = torch.randint(0, 256, (60, 3, 8, 8), generator=draw, dtype=torch.uint8)
    samples = ArraySamples(images, torch.arange(60) % 3, ("x", "y", "z"), f"added {part}")
    return assemble("added_data", split, part, samples, choice)
''',
    "attacks/added_attack.py": '''
"""A black image in the ball. Shapes: b batch, y x pixels."""

import torch

from sslkuramoto.attacks.attack import Attack
from sslkuramoto.registry import options_of


class Added(Attack):
    """Move every pixel towards black, as far as the ball allows.

    Args:
        label: of the result.
    """

    def __init__(self, *, label: str = "added") -> None:
        self.options = {"name": "added_attack", **options_of(locals())}
        self.label, self.restarts = label, 1

    def __call__(self, classifier, images, labels, *, threat, work):
        return threat.project(torch.zeros_like(images), images)
''',
    "evaluation/classification/added_protocol.py": '''
"""How bright the images of a split are."""

from sslkuramoto.evaluation.protocol import Protocol, Result, Subject, described
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric
from sslkuramoto.values import Count, checked, small


@small(times=1)
@checked
class Added(Protocol):
    """The mean pixel of the test images.

    Args:
        times: what it is multiplied by.
    """

    def __init__(self, *, times: Count = 2) -> None:
        self.options = options_of(locals())
        self.times = times

    def measure(self, subject: Subject) -> Result:
        images = subject.images("test")
        metric = Metric(0.25 * self.times, None, None, len(images), 1)
        return Result({"brightness": metric}, self.options, described(images), "deterministic")
''',
}
LINES = {
    "objectives/__init__.py": 'OBJECTIVES.add("added_objective", "sslkuramoto.objectives.added_objective:Added")',
    "encoders/__init__.py": 'ENCODERS.add("added_encoder", "sslkuramoto.encoders.added_encoder:Added")',
    "data/__init__.py": 'DATA.add("added_data", "sslkuramoto.data.images.added_data:added")',
    "attacks/__init__.py": 'ATTACKS.add("added_attack", "sslkuramoto.attacks.added_attack:Added")',
    "evaluation/__init__.py": 'PROTOCOLS.add("added_protocol", f"{_HERE}.classification.added_protocol:Added")',
}
RECIPE = """# Pretraining with an added {part}.
# Reproduces: nothing.
# Command:    sslkuramoto train recipes/{name}.yaml
# Cost:       seconds.
# Expected:   nothing.

# --- method: changes results
seed: 0
data: {data}
views: {{name: simsiam}}
encoder: {encoder}
objective: {objective}
optimizer: {{name: adam, lr: 1.0e-3}}
schedule: {{name: constant}}
epochs: 1
batch_size: 8
accumulate: 1
clip_grad_norm: null
weight_ema: null
init: null

# --- measurement: what the run records about itself
measure: {{stop_on_collapse: 0.0}}

# --- engine: should not affect results
engine: {{workers: 0}}
"""
PARTS = {
    "data": "{name: digits, limit: 16, limit_test: 20}",
    "encoder": "{name: akorn, channels: 4, kernel_sizes: [3, 3]}",
    "objective": "{name: simsiam, projector: {hidden: 8, out: 8}, predictor: {hidden: 8}}",
}
OWN = {
    "data": "{name: added_data, limit: 18}",
    "encoder": "{name: added_encoder}",
    "objective": "{name: added_objective, projector: {hidden: 8, out: 8}}",
}
PROTOCOL_FILES = {
    "added-protocol": """# The mean pixel of the test images, an example.
# Cost: a minute at most.
name: added_protocol
""",
    "robustness-added": """# One attack more than there was, an example.
# Cost: a minute at most.
name: robustness
eps: 0.1
images: 4
attacks: [added_attack]
""",
}
SCRIPT = """
import importlib.metadata as metadata
import sys

found = metadata.Distribution.from_name


def others(name):
    if name == "sslkuramoto":
        raise metadata.PackageNotFoundError(name)
    return found(name)


metadata.Distribution.from_name = others

import pytest

print("contracts")
if code := pytest.main(sys.argv[1:]):  # first, for it has shapes checked in what is imported after it
    sys.exit(f"exit code {code}")
print("commands", flush=True)

from sslkuramoto.cli import main

members = {"objectives": "objective", "encoders": "encoder", "data": "data", "attacks": "attack"}
recipes = {part: f"recipes/digits-added_{part}.yaml" for part in ("data", "encoder", "objective")}
for arguments in (
    *(["list", kind, f"added_{name}"] for kind, name in members.items()),
    ["list", "protocols", "added-protocol"],
    *(["train", recipe, "--check"] for recipe in recipes.values()),
    *(["train", recipe, "--run", f"runs/{part}"] for part, recipe in recipes.items()),
    ["evaluate", "runs/objective", "added-protocol"],
    ["report", "runs/objective", "runs/encoder", "--html", "runs/report.html"],
):
    if code := main(arguments):
        sys.exit(f"{arguments}: exit code {code}")
main(["--version"])
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, its recipes and its tests, with three files more for each kind."""
    root = tmp_path_factory.mktemp("house")
    for folder in ("sslkuramoto", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "eval" / "protocols", root / "eval" / "protocols")
    (root / "recipes").mkdir()
    shutil.copy(ROOT / "recipes" / "digits-akorn-supervised.yaml", root / "recipes")
    for name, text in MODULES.items():
        (root / "sslkuramoto" / name).write_text(text.lstrip())
    for name, line in LINES.items():
        file = root / "sslkuramoto" / name
        file.write_text(f"{file.read_text()}{line}\n")
    for part in PARTS:
        name = f"digits-added_{part}"
        options = {**PARTS, part: OWN[part]}
        (root / "recipes" / f"{name}.yaml").write_text(RECIPE.format(name=name, part=part, **options))
    for name, text in PROTOCOL_FILES.items():
        (root / "eval" / "protocols" / f"{name}.yaml").write_text(text)
    return root


@pytest.fixture(scope="module")
def said(house: Path) -> tuple[str, str]:
    """What contract tests and commands say, in one process, which finds no package of ours installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(house), str(house / "tests")]),
        "OMP_NUM_THREADS": "1",
    }
    names = ("registries", "objectives", "encoders", "data", "attacks", "views")
    files = [f"tests/contracts/test_{name}.py" for name in names]
    words = ["-q", "-p", "no:cacheprovider", "--rootdir", str(house), "-k", "added_", *files]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        cwd=house, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    contracts, _, commands = done.stdout.partition("\ncommands\n")
    return contracts, commands


def test_commands_list_check_train_measure_and_report_the_new_members(house: Path, said: tuple[str, str]) -> None:
    _, commands = said
    assert "scale = 1.0  (number > 0)" in commands
    assert "width = 8  (whole number >= 1)" in commands
    assert "times = 2  (whole number >= 1)" in commands
    assert "brightness" in (house / "runs" / "objective" / "results" / "added-protocol.json").read_text()
    assert "added-protocol" in (house / "runs" / "report.html").read_text()


def test_a_checkout_works_without_being_installed(said: tuple[str, str]) -> None:
    assert said[1].splitlines()[-1] == f"sslkuramoto {sk.__version__}"


def test_the_contract_tests_take_in_the_new_members_by_themselves(said: tuple[str, str]) -> None:
    contracts, _ = said
    assert "passed" in contracts
    assert "failed" not in contracts
