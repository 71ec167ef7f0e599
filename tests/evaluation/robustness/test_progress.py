"""The overall progress of a long battery: a share of the work by passes, and the time left at the rate so far."""

from types import SimpleNamespace
from typing import Any, cast

from sslkuramoto.evaluation.robustness.progress import EVERY, Progress

CHEAP, DEAR = (cast(Any, SimpleNamespace(label=label)) for label in ("cheap", "dear"))


def followed(times: list[float]) -> tuple[Progress, list[str]]:
    """Return the progress of two attacks on two chunks, one nine times as expensive, at the given times."""
    clock, lines = iter([0.0, *times]), []
    progress = Progress(
        {"": [CHEAP, DEAR]},
        {"": 2},
        lambda _, attack: {"cheap": 1.0, "dear": 9.0}[attack.label],
        lines.append,
        clock.__next__,
    )
    return progress, lines


def test_the_time_left_follows_from_the_passes_done():
    progress, lines = followed([10.0, 100.0])
    for label in ("cheap", "dear"):
        progress.line(f"{label} begins")
        progress.finished("", label)
    assert lines == ["cheap begins", "dear begins", "overall 50 % of the attacks, 2 min so far, about 2 min left"]


def test_work_that_was_in_the_ledger_does_not_count_as_fast_work():
    progress, lines = followed([0.1, 50.0])
    progress.finished("", "dear")  # no line before it: it was read
    progress.line("cheap begins")
    progress.finished("", "cheap")
    assert lines[1:] == ["overall 50 % of the attacks, 50 s so far, about 8 min left"]


def test_a_short_battery_prints_no_progress_and_counts_no_passes():
    progress, lines = followed([EVERY / 3, EVERY / 2])
    progress.passes = None  # type: ignore[assignment]  # never called
    for label in ("cheap", "dear"):
        progress.finished("", label)
    assert lines == []
