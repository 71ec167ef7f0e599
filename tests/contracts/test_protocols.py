"""The contract of every file in eval/protocols/, on runs of two optimiser steps."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from house_files import PROTOCOLS
from small_attacks import few as few_of

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import evaluate, load_protocol, subject_of
from sslkuramoto.evaluation.audit.protocol import CHECKS
from sslkuramoto.evaluation.protocol import PROTOCOLS as REGISTRY
from sslkuramoto.examples import Images
from sslkuramoto.run_directory import RunDirectory

FEW_IMAGES = 4
FEW_AUDITED = [
    f"images={FEW_IMAGES}",
    *(
        "steps=[1,2]",
        "k=[1,2]",
        "restarts=2",
        "queries=100",
        "samples=2",
        "directions=8",
        "select_draws=20",
        "grid=[0.1]",
    ),
]
TINY = {  # of files that hold nested settings; the other protocols declare what makes them small
    "finetune": ["recipe.epochs=1", "recipe.batch_size=8"],
    "audit-quick": FEW_AUDITED,  # every check
    "audit": [*FEW_AUDITED, f"skip=[{','.join(question.name for question in CHECKS)}]"],  # the headline
}
NEEDS_ARCHIVE = "corruptions-archive"
MEASURES = {path: load_protocol(path.stem).measure for path in PROTOCOLS}
HERE = [  # those that ask for no other data, on images; those that need masks: test_scenes.py
    path
    for path, measure in MEASURES.items()
    if path.stem != NEEDS_ARCHIVE and Images in measure.reads and "masks" not in measure.needs
]

every_protocol = pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
every_measured_protocol = pytest.mark.parametrize("path", HERE, ids=lambda path: path.stem)


def few(name: str) -> list[str]:
    """Return overrides that make a protocol small enough for a test."""
    if not name.startswith("robustness"):
        declared = [f"{key}={json.dumps(value)}" for key, value in REGISTRY.small(load_protocol(name).name).items()]
        return next((overrides for start, overrides in TINY.items() if name.startswith(start)), declared)
    ways = load_protocol(name).options["ways"]
    return [
        f"images={FEW_IMAGES}",
        "select_draws=20",
        "control=0",
        *(
            f"ways.{way}.attacks[{place}].{key}={value}"
            for way, options in ways.items()
            for place, entry in enumerate(options["attacks"])
            for key, value in few_of(entry["name"], iterations=1, targets=1, queries=2, eot_iter=2).items()
            if key not in ("name", "version") and (key != "eot_iter" or way == "eot")  # elsewhere one draw is the point
        ),
    ]


@pytest.fixture(scope="session")
def result_of(supervised: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict]:
    """Measure a run of two steps by a protocol, once a session; each protocol has a copy of its own."""
    done: dict[str, dict] = {}

    def measure(name: str) -> dict:
        if name not in done:
            copy = shutil.copytree(supervised.path, tmp_path_factory.mktemp(name) / "run")
            subject = subject_of(copy)
            before = torch.get_rng_state()
            _, path = evaluate(subject, load_protocol(name, few(name)), {"python": "test"})
            assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
            done[name] = json.loads(path.read_text()) | {"file": path}
        return done[name]

    return measure


@every_protocol
def test_it_loads_and_keeps_every_option_it_states(path: Path) -> None:
    loaded = load_protocol(path.stem)
    assert loaded.file == path.stem
    assert loaded.name in set(REGISTRY)
    assert set(loaded.options) == set(REGISTRY.options(loaded.name))


@every_protocol
def test_its_header_says_what_it_measures_and_what_it_costs(path: Path) -> None:
    header = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    assert len(header[0]) > 30, "the first line is the one that 'sslkuramoto list protocols' shows"
    assert any(line.startswith("Cost") or "a minute" in line for line in header)


def test_every_registered_protocol_has_a_file() -> None:
    assert set(REGISTRY) == {load_protocol(path.stem).name for path in PROTOCOLS}


@every_protocol
def test_a_misspelt_option_is_answered_with_the_nearest(path: Path) -> None:
    with pytest.raises(UserError, match="'draw': did you mean 'draws'"):
        load_protocol(path.stem, ["draw=30"])


@every_measured_protocol
def test_its_result_is_complete_and_its_numbers_lie_in_their_intervals(path: Path, result_of: Callable) -> None:
    result = result_of(path.stem)
    assert result["protocol"] == path.stem == result["file"].stem
    assert result["data"]["name"] == "digits"
    assert result["data"]["split"] == "test"
    assert result["encoder"]["stochastic"] is True
    assert result["encoder"]["sha256"]
    assert set(result["options"]) == set(REGISTRY.options(load_protocol(path.stem).name))
    assert result["metrics"]
    for name, metric in result["metrics"].items():
        assert math.isfinite(metric["value"]), name
        if metric["unit"] == "fraction" and metric["low"] is not None:
            assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1, name


@every_measured_protocol
def test_a_randomised_network_is_scored_over_twenty_draws_and_a_fixed_one_by_one(
    path: Path, result_of: Callable
) -> None:
    for name, metric in result_of(path.stem)["metrics"].items():
        assert metric["draws"] == (1 if name.startswith("fixed/") else 20), name


@every_measured_protocol
def test_fewer_than_twenty_draws_of_a_randomised_network_are_refused(path: Path, supervised: RunDirectory) -> None:
    for draws in (1, 19):
        protocol = load_protocol(path.stem, [*few(path.stem), f"draws={draws}"])
        with pytest.raises(UserError, match=f"draws={draws}"):
            protocol.measure(subject_of(supervised.path))


@every_measured_protocol
def test_every_image_of_the_test_split_counts_once(path: Path, result_of: Callable) -> None:
    result = result_of(path.stem)
    images = next((int(item.removeprefix("images=")) for item in few(path.stem) if item.startswith("images=")), 20)
    assert result["data"]["n"] == images
    assert {metric["n"] for metric in result["metrics"].values()} == {images}


@every_measured_protocol
def test_the_lists_that_it_states_to_be_verdicts_hold_a_share_for_each_image(path: Path, result_of: Callable) -> None:
    result = result_of(path.stem)
    if not result["verdicts"]:
        units = {metric["unit"] for metric in result["metrics"].values()}
        assert "fraction" not in units, "an accuracy, and a paired test has nothing to ask"
    for name in result["verdicts"]:
        shares = result["per_image"][name]
        assert len(shares) == result["data"]["n"], name
        assert all(isinstance(share, float | int) and 0 <= share <= 1 for share in shares), name


@pytest.mark.parametrize(
    "path", [p for p in HERE if "head" in load_protocol(p.stem).measure.needs], ids=lambda p: p.stem
)
def test_a_run_without_a_classifier_is_told_to_be_finetuned_first(path: Path, pretrained: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"needs a classifier.*finetune it first"):
        load_protocol(path.stem, few(path.stem)).measure(subject_of(pretrained.path))


@pytest.mark.parametrize("name", [path.stem for path in PROTOCOLS if path.stem.startswith("robustness")])
def test_robust_accuracy_has_four_readings_and_their_union_and_is_never_above_clean(
    name: str, result_of: Callable
) -> None:
    metrics = result_of(name)["metrics"]
    for way in ("published", "fixed", "eot", "held"):
        assert metrics[f"{way}/robust_accuracy"]["value"] <= metrics[f"{way}/clean_accuracy"]["value"] + 1e-9
    assert metrics["union/robust_accuracy"]["value"] <= metrics["published/clean_accuracy"]["value"] + 1e-9
    stated = {name.split("/")[0]: metric["reading"] for name, metric in metrics.items() if "reading" in metric}
    assert stated == {
        "published": "as published", "fixed": "fixed", "eot": "EoT", "held": "adaptive", "union": "union",
    }  # fmt: skip


@pytest.mark.parametrize("name", [path.stem for path in PROTOCOLS if path.stem.startswith("robustness")])
def test_the_ways_of_the_robustness_files_are_the_four_readings(name: str) -> None:
    ways = load_protocol(name).measure.ways
    assert {way: options.initial for way, options in ways.items()} == {
        "published": "random", "fixed": "fixed", "eot": "random", "held": "random",
    }  # fmt: skip
    assert ways["published"].decided_by == "one draw"
    assert {attack.eot_iter for attack in ways["published"].attacks} == {1}
    assert min(attack.eot_iter for attack in ways["eot"].attacks) > 1
    assert any(attack.label == "held-noise" for attack in ways["held"].attacks)
    if name in ("robustness-linf", "robustness-l2"):
        labels = {way: [attack.label for attack in options.attacks] for way, options in ways.items()}
        assert labels["published"] == labels["fixed"] == ["apgd-ce", "apgd-t", "fab-t", "square"]
        assert labels["eot"] == ["apgd-ce", "apgd-dlr"]
        assert {attack.eot_iter for attack in ways["eot"].attacks} == {20}
        assert ways["published"].images == 1000
