"""One measurement: a protocol on a subject, and its result as a file."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sslkuramoto.encoders.features import UNTRAINED
from sslkuramoto.evaluation.division import notes_of_division
from sslkuramoto.evaluation.protocol import Loaded, Subject
from sslkuramoto.results import Result


def _notes_of_encoder(subject: Subject) -> list[str]:
    return [*([UNTRAINED] if subject.encoder.untrained else []), *subject.encoder.notes]


def _notes_of_data(subject: Subject, splits: Sequence[str]) -> list[str]:
    return [f"data {split}: {note}" for split in splits for note in subject.data(split).notes]


def evaluate(
    subject: Subject, protocol: Loaded, environment: Mapping[str, Any], path: Path | None = None
) -> tuple[Result, Path]:
    """Measure a subject and write the result.

    Args:
        subject: the network to measure.
        protocol: from :func:`load_protocol`.
        environment: versions and hardware, as the run directory records them.
        path: of the result; None: ``run_dir/results/FILE.json``.
    """
    path = path or subject.run_dir / "results" / f"{protocol.file}.json"
    start = time.perf_counter()
    subject = protocol.measure.on(subject)
    found = protocol.measure(replace(subject, file=path.stem))
    kept = notes_of_division(subject, protocol.measure)
    result = replace(
        found,
        notes=[*kept, *_notes_of_encoder(subject), *found.notes, *_notes_of_data(subject, protocol.measure.splits)],
        data=found.data | {"changed_options": dict(subject.data_options)},
        protocol=protocol.file,
        kind=protocol.name,
        described_by=protocol.described_by,
        seed=subject.seed,
        batch_size=subject.batch_size,
        encoder={
            "sha256": subject.encoder_hash,
            "stochastic": subject.encoder.stochastic,
            "initial": found.initial,
            "weights": subject.weights,
            "changed_options": dict(subject.encoder_options),
            **({} if subject.checkpoint is None else {"checkpoint": subject.checkpoint}),
            **({"untrained": True} if subject.encoder.untrained else {}),
        },
        head={"sha256": subject.head_hash} if "head" in protocol.measure.needs else {},
        environment=dict(environment),
        seconds=round(time.perf_counter() - start, 3),
    )
    result.write(path)
    subject.remember_data()
    subject.log(path.stem, {name: metric.value for name, metric in result.metrics.items()})
    return result, path
