import json

import pytest
from small_runs import CLASSIFIER, small

from sslkuramoto.evaluation import subject_of
from sslkuramoto.training import train

DATA = {"name": "digits", "limit": 48, "limit_test": 30}


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """A finished pretraining run."""
    return train(small(epochs=1, data=DATA), tmp_path_factory.mktemp("interop") / "pre").path


@pytest.fixture(scope="session")
def finetuned(pretrained):
    """A classifier that started from it, with results of these weights, of others, of other data and of finetuning."""
    run = train(small(epochs=1, data=DATA, init=str(pretrained), **CLASSIFIER), pretrained.with_name("tuned")).path
    own = subject_of(run).encoder_hash
    found = {
        "clean": ("clean", own, {}),
        "finetuned": ("finetune", own, {}),
        "few": ("clean", own, {"limit_test": 10}),
        "streamed": ("clean", own, {"device_resident": False}),
        "older": ("clean", "f00d", {}),
    }
    (run / "results").mkdir()
    for name, (kind, sha256, changed) in found.items():
        content = {
            "protocol": name,
            "kind": kind,
            "metrics": {
                "accuracy": {"value": 0.5, "low": 0.33, "high": 0.67, "n": 30, "draws": 20, "unit": "fraction"}
            },
            "options": {"eps": 8 / 255},
            "data": {"name": "digits", "split": "test", "n": 30, "changed_options": changed},
            "encoder": {"sha256": sha256, "changed_options": {}},
            "seed": 3,
            "notes": ["a note"],
        }
        (run / "results" / f"{name}.json").write_text(json.dumps(content))
    return run
