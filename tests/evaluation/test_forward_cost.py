"""A measurement with a fixed number of forward passes says how many it makes, and loads no attack to do so."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sslkuramoto.attacks.counting import counted as counted_passes
from sslkuramoto.cost import Cost
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol

CASES = {
    "clean": [],
    "noise": ["sizes=[0.1]", "images=8", "samples=3"],
    "corruptions": ["corruptions=[contrast,fog]", "severities=[1,3]", "images=8"],
    "calibration": ["images=8", "held_out=0.5"],
    "knn": ["neighbours=3"],
    "linear": ["penalties=[0.1]"],
}


def subject_with(stochastic: bool, folder: Path) -> tuple[Subject, list[int]]:
    torch.manual_seed(0)
    options = {"channels": 4, "kernel_sizes": [3, 3], "num_steps": 1}
    encoder = ENCODERS.build("akorn", options | {"initial": "random" if stochastic else "fixed"}).eval()
    assert encoder.stochastic == stochastic
    counted: list[int] = []
    encoder.register_forward_hook(lambda module, given, found: counted.append(len(given[0])))
    digits = {"limit": 24, "limit_test": 12, "size": 8}
    return (
        Subject(
            encoder,
            torch.nn.Linear(encoder.num_features, 10),
            lambda split: DATA.build("digits", digits, split),
            torch.device("cpu"),
            folder,
            encoder_hash="x",
            batch_size=5,
        ),
        counted,
    )


@pytest.mark.parametrize("stochastic", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_cost_is_the_number_of_passes_that_are_made(name: str, stochastic: bool, tmp_path: Path):
    protocol = load_protocol(name, CASES[name])
    subject, counted = subject_with(stochastic, tmp_path)
    costs = [cost for _, cost in protocol.measure.estimate(subject)]  # pyright: ignore[reportFunctionMemberAccess]
    assert len(counted) <= 2 * 3 * len(costs), "it times a few passes only"
    counted.clear()
    protocol.measure(subject)
    looks = 2 * 5 if stochastic and name in ("noise", "corruptions", "calibration") else 0
    assert sum(cost.forward for cost in costs) == sum(counted) + looks, "one that draws is looked at once"
    assert all(cost.seconds > 0 and cost.backward == 0 for cost in costs)


@pytest.mark.parametrize("name", ["clean", "noise", "corruptions", "calibration"])
def test_a_mean_of_draws_costs_a_pass_for_each(name: str, tmp_path: Path):
    subject, _ = subject_with(True, tmp_path)

    def costs(*more: str) -> list[tuple[str, Cost]]:
        return load_protocol(name, [*CASES[name], *more]).measure.estimate(subject)

    once, thrice = costs(), costs("initial=averaged", "average=3")
    assert [cost.forward for _, cost in thrice] == [3 * cost.forward for _, cost in once]
    with counted_passes(subject.encoder) as count:
        load_protocol(name, [*CASES[name], "initial=averaged", "average=3"]).measure(subject)
    looks = 0 if name == "clean" else 3 * 2 * 5
    assert sum(cost.forward for _, cost in thrice) == count.all + looks


@pytest.mark.parametrize("name", ["noise", "corruptions", "calibration"])
def test_more_images_than_there_are_cost_nothing_but_an_error(name: str, tmp_path: Path):
    measure = load_protocol(name, [*CASES[name], "images=13"]).measure
    for act in (measure.measure, measure.estimate):
        with pytest.raises(UserError, match=r"^images=13: data 'digits', split 'test', has only 12$"):
            act(subject_with(False, tmp_path)[0])


def test_measurements_without_attacks_import_none():
    modules = ("representation.knn", "representation.linear", "classification.clean")
    code = f"import sys, {', '.join(f'sslkuramoto.evaluation.{name}' for name in modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "sslkuramoto.cost" in loaded
    assert {f"sslkuramoto.evaluation.{name}" for name in modules} <= set(loaded)
    assert not [name for name in loaded if name.startswith(("sslkuramoto.attacks", "pyautoattack"))]
