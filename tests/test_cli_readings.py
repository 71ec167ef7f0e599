"""The command from an attack to the table: a column takes only a number that states what kind it is."""

import csv
from pathlib import Path

import pytest
from small_attacks import Step
from small_runs import CLASSIFIER, small

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.cli import main
from sslkuramoto.training import train

FEW = ["images=8", "eps=0.01", "select_draws=20", "control=0"]


class Theirs(Step):
    """An attack of another package, which declares nothing."""

    def __init__(self, *, strength: int = 1) -> None:
        super().__init__("theirs")
        self.strength = strength


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    data = {"name": "digits", "size": 8, "limit": 48, "limit_test": 12}
    return train(small(epochs=1, data=data, **CLASSIFIER), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def columns_of(run, tmp_path, capsys):
    """Return which columns of robust accuracy the report fills after an evaluation."""

    def call(*attacks: str, initial: str = "random") -> list[str]:
        words = [f"attacks=[{', '.join(attacks)}]", f"initial={initial}"]
        assert main(["evaluate", str(run), "robustness", *FEW, *words, "--as", "attacked"]) == 0
        assert main(["report", str(run), "--csv", str(tmp_path / "table.csv")]) == 0
        (line,) = csv.DictReader((tmp_path / "table.csv").open())
        capsys.readouterr()
        keys = ("as_published", "fixed", "eot", "held", "union")
        return [key for key in keys if line[f"robust_{key}"]]

    return call


def test_twenty_queries_of_square_are_no_robust_accuracy_as_published(columns_of):
    assert columns_of("{name: square_eot, queries: 20, draws: 2}") == []


def test_an_attack_of_another_package_fills_no_column(columns_of, monkeypatch):
    monkeypatch.setitem(ATTACKS._members, "theirs", Theirs)
    assert columns_of("{name: theirs}") == []


def test_plain_apgd_is_as_published_or_fixed_and_averaged_gradients_are_eot(columns_of):
    plain, averaged = (f"{{name: autoattack, member: apgd-ce, iterations: 2, eot_iter: {n}}}" for n in (1, 2))
    assert columns_of(plain) == ["as_published"]
    assert columns_of(plain, initial="fixed") == ["fixed"]
    assert columns_of(averaged) == ["eot"]
