"""Code that is not ours is known by its meaning: plug-ins enter the keys of what they made."""

import importlib.util
import sys
from pathlib import Path

import torch

from sslkuramoto.evaluation.attacks import ATTACKS
from sslkuramoto.sources import foreign_code


def instance(path: Path, text: str) -> object:
    """Return an object of the class that a file of somebody else's defines."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Mine()


def test_foreign_classes_are_known_by_what_their_file_means(tmp_path: Path) -> None:
    path = tmp_path / "somebody_elses.py"
    first, commented, other = (
        foreign_code(instance(path, text))
        for text in ("class Mine: x = 1\n", "# a word\nclass Mine:\n    x = 1\n", "class Mine: x = 2\n")
    )
    assert list(first) == ["somebody_elses"]
    assert first == commented
    assert first != other
    del sys.modules["somebody_elses"]


def test_our_own_classes_are_not_foreign() -> None:
    assert foreign_code(ATTACKS.build("pgd", {})) == {}
    assert list(foreign_code(torch.nn.Linear(1, 1))) == ["torch.nn.modules.linear"]
