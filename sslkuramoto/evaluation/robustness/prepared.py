"""Attacks prepared for a classifier of a subject: its own, or a smoothed one."""

from collections.abc import Sequence
from dataclasses import replace

from sslkuramoto.attacks import Attack
from sslkuramoto.attacks.attack import ImpossibleAttackError
from sslkuramoto.classifier import Classifier
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import Chosen
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.evaluation.robustness.target import attack_target


def prepared_for(
    subject: Subject, classifier: Classifier, chosen: Chosen, attacks: Sequence[Attack]
) -> tuple[list[Attack], list[str]]:
    """Return attacks prepared for a classifier, and sentences about them and those that are skipped.

    Raises:
        UserError: none of several attacks can be run.
    """
    assert chosen.images.classes is not None
    target = replace(attack_target(subject, len(chosen.images.classes)), encoder=classifier.encoder)
    ready, notes = list[Attack](), list[str]()
    for attack in attacks:
        try:
            ready.append(attack.prepared(target))
        except ImpossibleAttackError as reason:
            notes.append(str(reason))
            continue
        ready[-1].check_source(chosen.pixels[:1])
        notes += ready[-1].notes
    if attacks and not ready:
        raise UserError(f"no attack can be run: {'; '.join(notes)}")
    return ready, notes
