"""A study of two steps a run on sixteen digits, and changes of it."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sslkuramoto.study import Study, StudyTable, collect, load_study, plan_study, run_plan

HEADS = {"objective.projector.hidden": 8, "objective.projector.out": 8}
FINETUNE = {"recipe": "digits-akorn-finetune"}
TINY: dict[str, Any] = {
    "title": "Tiny",
    "seeds": [0],
    "set": {
        "data.limit": 16,
        "data.limit_test": 20,
        "data.size": 8,
        "batch_size": 8,
        "epochs": 1,
        "encoder.channels": 4,
        "encoder.kernel_sizes": [3, 3],
        "measure.monitor_every": 0,
        "engine.device": "cpu",
    },
    "columns": {
        "clean": {"protocol": "clean", "metric": "accuracy", "per_image": "correct"},
        "vote": {"protocol": "clean", "metric": "accuracy_majority"},
        "knn": {"protocol": "knn", "metric": "accuracy", "stage": 0, "set": {"neighbours": 5}},
    },
    "rows": {
        "simclr": {
            "train": [{"recipe": "digits-akorn-simclr", "set": HEADS}, FINETUNE],
            "published": {"clean": 81.5, "knn": {"value": 70, "std": 0.5, "n": 3, "source": "elsewhere"}},
        },
        "steps": {
            "label": "finetuned with two steps of the oscillators",
            "train": [
                {"recipe": "digits-akorn-simclr", "set": HEADS},
                {**FINETUNE, "set": {"encoder.num_steps": 2}},
            ],
        },
        "reported": {"published": {"clean": {"value": 88.9, "differs": "other images"}}},
    },
    "published": {"source": "a paper, table 2", "n": None, "differs": "seeds not stated"},
    "compare": [["simclr", "steps"]],
}


def changed(**changes: Any) -> dict[str, Any]:
    """Return the tiny study with values replaced; ``__`` in a key reaches inside, None removes."""
    content = copy.deepcopy(TINY)
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = content
        for section in sections:
            place = place[section]
        if value is None:
            del place[key]
        else:
            place[key] = value
    return content


@pytest.fixture(scope="session")
def content() -> Callable[..., dict[str, Any]]:
    """Make the content of the tiny study with changes."""
    return changed


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """Load the tiny study with changes."""

    def load(**changes: Any) -> Study:
        path = tmp_path / "tiny.yaml"
        path.write_text(json.dumps(changed(**changes)))  # JSON is YAML
        return load_study(path)

    return load


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path, StudyTable]:
    """The tiny study, its root and its table, computed in this process."""
    folder = tmp_path_factory.mktemp("studies")
    path = folder / "tiny.yaml"
    path.write_text(json.dumps(TINY))
    loaded, root = load_study(path), folder / "root"
    assert run_plan(plan_study(loaded, root), jobs=0, report=lambda line: None) == 0
    return loaded, root, collect(loaded, root)
