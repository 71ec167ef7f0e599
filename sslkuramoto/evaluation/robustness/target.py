"""A measured run as the target of attacks; source networks of transfer attacks are other runs."""

from collections.abc import Mapping
from typing import Any, cast

from sslkuramoto.attacks.attack import Source, Target
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.evaluation.subject import subject_of
from sslkuramoto.files import at_home
from sslkuramoto.run_directory import RunDirectory, Weights


def attack_target(subject: Subject, num_classes: int) -> Target:
    """Return the target that attacks are prepared for; it loads source networks from run directories.

    Args:
        subject: the measured run.
        num_classes: of the attacked images.
    """
    assert subject.head is not None

    def source(run: str | None, changes: Mapping[str, Any]) -> Source:
        try:
            return _source(subject, run, changes)
        except UserError as error:
            raise UserError(f"transfer: {error}") from None

    return Target(subject.encoder, num_classes, subject.seed, source)


def _source(subject: Subject, run: str | None, changes: Mapping[str, Any]) -> Source:
    """Load the network of a run (None: the measured one) with changed options of its encoder.

    Raises:
        UserError: no finished run, no classifier, or options that do not fit its weights.
    """
    path = subject.run_dir if run is None else at_home(run)
    changed = {**(subject.encoder_options if run is None else {}), **changes}
    if run is not None and path.resolve() == subject.run_dir.resolve() and changed == dict(subject.encoder_options):
        raise UserError(f"run={run} is the measured network itself; name another run or change its encoder")
    other = subject
    if run is not None or changes:
        other = subject_of(
            path,
            device=subject.device,
            weights=cast(Weights, subject.weights),
            checkpoint=subject.checkpoint if run is None else None,
            encoder_options=changed,
            batch_size=subject.batch_size,
        )
    if other.head is None:
        raise UserError(f"run={other.run_dir} holds an encoder only; the source needs a classifier")
    identity: dict[str, Any] = {"source": other.encoder_hash, "head": other.head_hash}
    if other.code:
        identity["code"] = other.code
    if run is not None:
        encoder = RunDirectory(other.run_dir).recipe().encoder
        identity["network"] = {"name": encoder.name, **encoder.options}
    notes = []
    if None not in (other.trained_on, subject.trained_on) and other.trained_on != subject.trained_on:
        notes.append(f"its source was trained on {other.trained_on}, this network on {subject.trained_on}")
    same = (other.encoder_hash, other.head_hash) == (subject.encoder_hash, subject.head_hash)
    return Source(
        encoder=other.encoder,
        head=other.head,
        num_classes=cast(int, other.head.out_features),
        name=f"run={other.run_dir}",
        identity=identity,
        is_target=same and dict(other.encoder_options) == dict(subject.encoder_options),
        notes=tuple(notes),
    )
