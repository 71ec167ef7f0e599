"""A small trained classifier with results of its weights, as protocols would have left them."""

import json
import shutil
from pathlib import Path

import pytest
from small_runs import CLASSIFIER, small

from sslkuramoto.checkpoint import load_encoder, load_head, weights_hash
from sslkuramoto.statistics import wilson
from sslkuramoto.training import train

READINGS = {"published": "as published", "fixed": "fixed", "eot": "EoT", "held": "adaptive", "union": "union"}


def accuracy(values, **rest):
    value = sum(values) / len(values)
    low, high = wilson(value, len(values))
    return {"value": value, "low": low, "high": high, "n": len(values), "draws": 20, **rest}


def write_result(run, name, *, right=(4, 2, 3, 2, 1), eps=0.1, **changes):
    """Write a result in which so many of five images survive each reading."""
    lists = {f"{key}/correct": [1.0] * n + [0.0] * (5 - n) for key, n in zip(READINGS, right, strict=True)}
    metrics = {
        f"{key}/robust_accuracy": accuracy(lists[f"{key}/correct"], reading=reading)
        for key, reading in READINGS.items()
    }
    content = {
        "format": 2,
        "protocol": name,
        "kind": "robustness",
        "described_by": "robustness-quick",
        "options": {"norm": "linf", "eps": eps},
        "metrics": metrics,
        "data": {"name": "digits", "split": "test", "fingerprint": "abc", "n": 5},
        "encoder": {"sha256": weights_hash(load_encoder(run / "encoder.safetensors")), "initial": "random"},
        "head": {"sha256": weights_hash(load_head(run / "head.safetensors"))},
        "environment": {"versions": {"sslkuramoto": "0.0.1", "torch": "2.6.0"}, "hardware": "a processor"},
        "seconds": 12.5,
        "per_image": lists,
    }
    (run / "results").mkdir(exist_ok=True)
    (run / "results" / f"{name}.json").write_text(json.dumps(content | changes))


AUDIT = {
    "verdict": "the accuracy is not robustness",
    "word": "suspicious",
    "threat": "linf, eps 0.1",
    "plant": None,
    "checks": [{"name": "a", "title": "a", "kind": "attack", "status": "pass", "reason": "r", "figures": {}}],
    "curves": {
        "eps": {
            "title": "Accuracy against eps",
            "x_label": "eps, linf",
            "x": [0.0, 0.1, 0.2],
            "series": {"apgd": [0.9, 0.4, 0.1]},
            "unit": "fraction",
        }
    },
}
BRACKETS = [{"sigma": 0.2, "lines": ["between 90 and 95 % at l2 0", "between 72 and 91 % at l2 0.4"]}]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    return train(small(epochs=1, **CLASSIFIER), tmp_path_factory.mktemp("board") / "run").path


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A run with a robust accuracy, an audit and a bracket."""
    path = shutil.copytree(trained, tmp_path / "akorn")
    write_result(path, "robustness-quick")
    write_result(path, "audit-quick", metrics={}, per_image={}, details={"audit": AUDIT})
    write_result(path, "certify-quick", metrics={}, per_image={}, details={"brackets": BRACKETS})
    return path


@pytest.fixture
def other(trained, tmp_path) -> Path:
    """Another run, whose name is not meant well."""
    path = shutil.copytree(trained, tmp_path / "<script>alert(1)<")
    write_result(path, "robustness-quick", right=(5, 5, 5, 5, 5), eps="8/255")
    return path
