"""Run directories as a run would have left them, made by hand."""

import json
from pathlib import Path

import pytest
from made_study import FabricatedStudy


def make_metric(value, low=None, high=None, unit="fraction", **rest):
    return {
        "value": value,
        "low": low,
        "high": high,
        "n": 360,
        "draws": 20,
        "std_over_draws": 0.004,
        "unit": unit,
        **rest,
    }


class Fabricated:
    """A run directory that can be filled piece by piece."""

    def __init__(self, path: Path, objective: str = "xphinet"):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        (path / "recipe.yaml").write_text(f"encoder: {{name: akorn}}\nobjective: {{name: {objective}}}\n")
        self.environment(torch="2.6.0", seed=0)

    def environment(self, **content):
        (self.path / "environment.json").write_text(json.dumps(content))
        return self

    def metrics(self, text: str):
        (self.path / "metrics.csv").write_text(text)
        return self

    def result(self, protocol: str, metrics: dict, *, initial="random", stochastic=True, options=None, **rest):
        content = {
            "format": 2,
            "protocol": protocol,
            "options": options or {},
            "metrics": {
                name: entry if isinstance(entry, dict) else {"value": entry} for name, entry in metrics.items()
            },
            "data": {"name": "digits", "split": "test", "fingerprint": "abc", "n": 360},
            "encoder": {"sha256": "f00d", "stochastic": stochastic, "initial": initial, "weights": "ema"},
            "seconds": 1.5,
            "notes": [],
            **rest,
        }
        (self.path / "results").mkdir(exist_ok=True)
        (self.path / "results" / f"{protocol}.json").write_text(json.dumps(content))
        return self


@pytest.fixture
def metric():
    return make_metric


@pytest.fixture
def fabricate(tmp_path):
    return lambda name="run", objective="xphinet": Fabricated(tmp_path / name, objective)


@pytest.fixture
def complete(fabricate):
    return complete_run(fabricate)


@pytest.fixture(scope="module")
def complete_for_all(tmp_path_factory):
    """The complete model, for tests of a module that change nothing of it."""
    folder = tmp_path_factory.mktemp("complete")
    return complete_run(lambda name, objective="xphinet": Fabricated(folder / name, objective))


def complete_run(fabricate):
    """Make a pretrained and finetuned model with every number of the summary."""
    run = fabricate("akorn")
    run.metrics(
        "step,epoch,loss,knn\n" + "".join(f"{s},0,{1 / s:.4f},{'0.5' if s % 5 == 0 else ''}\n" for s in range(1, 21))
    )
    run.result("knn", {"accuracy": make_metric(0.9, 0.86, 0.93)}).result("linear", {"accuracy": make_metric(0.91)})
    run.result("clustering", {"accuracy": make_metric(0.8), "nmi": make_metric(0.78), "ari": make_metric(0.7)})
    tuned = fabricate("akorn/finetune", "classification").metrics(
        "step,loss,grad_norm,accuracy\n1,2.3,1,0.1\n2,2.0,1,0.4\n"
    )
    tuned.result("clean", {"accuracy": make_metric(0.97)})
    ways = {
        "published/robust_accuracy": make_metric(0.85, reading="as published"),
        "fixed/robust_accuracy": make_metric(0.05, reading="fixed"),
        "eot/robust_accuracy": make_metric(0.386, reading="EoT"),
        "held/robust_accuracy": make_metric(0.31, reading="adaptive"),
        "union/robust_accuracy": make_metric(0.3, reading="union"),
    }
    tuned.result("robustness-linf", ways, options={"eps": "8/255"})
    return run.path


@pytest.fixture
def studied(tmp_path):
    return FabricatedStudy(tmp_path)
