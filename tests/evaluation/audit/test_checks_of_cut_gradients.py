"""A network whose logits carry no graph is exposed, not a reason to stop."""

from collections.abc import Callable

import pytest

from sslkuramoto.attacks.gradients import CUT
from sslkuramoto.evaluation import Result, Subject
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.protocol import CHECKS

ASKED = ("control", "eps", "black_box", "fab", "one_step", "zero_gradients", "finite_differences", "transfer")


@pytest.fixture(scope="module")
def detached(trained: Callable[[str], Subject]) -> Result:
    """Audit the plainly trained CNN with its gradient cut off, FAB of pyautoattack included."""
    skip = [question.name for question in CHECKS if question.name not in ASKED]
    options = {"images": 32, "steps": [2, 5], "queries": 300, "samples": 10, "directions": 8, "restarts": 2}
    return Audit(budget="full", eps=0.3, plant="detached", skip=skip, **options)(trained("classification"))


def test_a_cut_gradient_is_exposed(detached: Result) -> None:
    audit = detached.details["audit"]
    checks = {check["name"]: check for check in audit["checks"]}
    assert audit["word"] == "masked"
    assert detached.metrics["plain_accuracy"].value > 0.8
    assert detached.metrics["robust_accuracy"].value < 0.2
    for name in ("zero_gradients", "black_box", "eps", "finite_differences"):
        assert checks[name]["status"] == "fail", name
    assert checks["zero_gradients"]["reason"].startswith(CUT)
    assert checks["control"]["status"] == checks["fab"]["status"] == "pass"
