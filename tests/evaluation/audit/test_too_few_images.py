"""An audit says before its attacks that too few images are classified correctly for a verdict."""

from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.protocol import CHECKS

FEW = {"eps": 0.2, "steps": [1, 2], "k": [1, 2], "restarts": 2, "queries": 100, "samples": 2, "directions": 8}


def test_too_few_correct_images_are_said_before_anything_is_attacked(subject_of, cnn) -> None:
    told: list[str] = []
    skip = [check.name for check in CHECKS]
    Audit(**FEW, images=6, skip=skip)(subject_of(cnn, report=told.append))
    assert told[0].startswith("incomplete: ")
    assert "of 6 images are classified correctly without an attack; with fewer than 20" in told[0]
    assert "images=..." in told[0]
    enough: list[str] = []
    Audit(**FEW, images=40, skip=skip)(subject_of(cnn, report=enough.append))
    assert not any(line.startswith("incomplete") for line in enough)
