"""Cached features and units of attacks that code of another package decides are made again after it has changed."""

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from small_attacks import few
from small_runs import AKORN, CLASSIFIER, small

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.checkpoint import export_head, load_head
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.evaluation import PROTOCOLS, subject_of
from sslkuramoto.evaluation.representation.features import split_features
from sslkuramoto.heads import HEADS, Linear
from sslkuramoto.recipe import Part
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.sources import package_code
from sslkuramoto.training import train

MEMBERS = {
    "class of an encoder": (ENCODERS, "Scaled"),
    "function that makes an encoder": (ENCODERS, "scaled"),
    "head": (HEADS, "Head"),
    "protocol": (PROTOCOLS, "Both"),
    "attack": (ATTACKS, "Attack"),
}
SOURCE = '''
from sslkuramoto.attacks.noise import Gaussian
from sslkuramoto.encoders.akorn import AKOrN
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.protocol import Protocol
from sslkuramoto.evaluation.representation.features import split_features
from sslkuramoto.heads import Linear
from sslkuramoto.results import Result
from theirs.maths import SCALE


class Scaled(AKOrN):
    """Features of AKOrN, scaled."""

    def forward(self, images, **start):
        found = super().forward(images, **start)
        return found._replace(pooled=SCALE * found.pooled)


def scaled() -> Encoder:
    """AKOrN with a step size of its own."""
    return AKOrN(channels=4, kernel_sizes=(3, 3), num_steps=1, step_size=SCALE)


class Head(Linear):
    """A linear layer, scaled."""

    def forward(self, features):
        return SCALE * super().forward(features)


class Attack(Gaussian):
    """Gaussian noise of another package."""


class Both(Protocol):
    """Features and one attack."""

    name = "both"
    needs = frozenset({"head", "labels"})

    def measure(self, subject) -> Result:
        split_features(subject, "test", draws=20)
        return PROTOCOLS.build("robustness", MEASURE)(subject)


MEASURE = {}
'''


class Package:
    """A package of others that adds one member, called 'theirs'."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.registry, self.attribute = MEMBERS[kind]
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(SOURCE)
        monkeypatch.syspath_prepend(folder.parent)
        self.write("SCALE = 1.0\n")

    def write(self, maths: str) -> None:
        """Change a module that the member imports, as between two commands."""
        (self.folder / "maths.py").write_text(maths)
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)
        for name in ("theirs", "theirs.maths"):
            self.monkeypatch.delitem(sys.modules, name, raising=False)
        package_code.cache_clear()
        point = EntryPoint("theirs", f"theirs:{self.attribute}", self.registry.group)
        own = {name: member for name, member in self.registry._members.items() if name != "theirs"}
        self.monkeypatch.setattr(self.registry, "_members", own)
        self.monkeypatch.setattr(self.registry, "_plugins", {"theirs": point})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the package that adds a member of a kind."""
    yield lambda kind: Package(tmp_path / "site" / "theirs", monkeypatch, kind)
    package_code.cache_clear()


ENCODER = {"class of an encoder": {**AKORN, "name": "theirs"}, "function that makes an encoder": {"name": "theirs"}}


def small_run(encoder: dict[str, Any], path: Path) -> RunDirectory:
    data = {"name": "digits", "limit": 48, "limit_test": 24}
    return train(small(**CLASSIFIER, data=data, encoder=encoder, epochs=1), path)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of our own members only."""
    return small_run(AKORN, tmp_path_factory.mktemp("own") / "run")


@pytest.fixture
def trained(own: RunDirectory, tmp_path: Path) -> Callable[[str], RunDirectory]:
    """Return a run whose encoder or head is that of the package, where that is what the kind says."""
    return lambda kind: trained_at(tmp_path / "run", kind, own)


def trained_at(path: Path, kind: str, own: RunDirectory) -> RunDirectory:
    if kind in ENCODER:
        return small_run(ENCODER[kind], path)
    run = RunDirectory(Path(shutil.copytree(own.path, path)))
    if kind == "head":
        linear = cast(Linear, load_head(run.head_file()))
        export_head(run.head_file(), HEADS.build("theirs", {}, linear.in_features, linear.out_features), Part("theirs"))
    return run


def measured(run: RunDirectory, kind: str) -> list[str]:
    """Measure the features and one attack; return what was computed."""
    lines: list[str] = []
    subject = subject_of(run.path)
    subject.report = lambda line: lines.append(line.partition(":")[0])
    attack = few("gaussian") | ({"name": "theirs"} if kind == "attack" else {})
    options = {"eps": 0.05, "images": 24, "chunk": 24, "select_draws": 20, "control": 0, "attacks": [attack]}
    if kind == "protocol":
        protocol = PROTOCOLS.build("theirs", {})
        vars(sys.modules["theirs"])["MEASURE"] = options
    else:
        split_features(subject, "test", draws=20)
        protocol = PROTOCOLS.build("robustness", options)
    protocol(subject)
    return [line for line in lines if line in ("features of test", "gaussian")]


@pytest.mark.parametrize("kind", MEMBERS)
def test_what_the_code_of_another_package_decides_is_made_again_after_a_change(
    package: Callable[[str], Package], trained: Callable[[str], RunDirectory], kind: str
) -> None:
    theirs = package(kind)
    run = trained(kind)
    assert measured(run, kind) == ["features of test", "gaussian"]
    before = subject_of(run.path).network
    theirs.write("# a comment\nSCALE = 1.0\n")
    assert measured(run, kind) == []
    theirs.write("SCALE = 2.0\n")
    assert measured(run, kind) == (["gaussian"] if kind == "attack" else ["features of test", "gaussian"])
    assert subject_of(run.path).network == before, "the weights are equal"


def test_the_cached_features_of_a_changed_encoder_are_those_of_its_new_code(
    package: Callable[[str], Package], trained: Callable[[str], RunDirectory]
) -> None:
    theirs = package("class of an encoder")
    run = trained("class of an encoder")
    first = split_features(subject_of(run.path), "test").values
    theirs.write("SCALE = 2.0\n")
    torch.testing.assert_close(split_features(subject_of(run.path), "test").values, 2 * first)


def test_our_own_code_and_that_of_torch_are_no_part_of_the_keys(own: RunDirectory) -> None:
    subject = subject_of(own.path)
    subject.head = torch.nn.Linear(subject.encoder.num_features, 10)
    assert subject.code == {}
