"""The overall progress of a long battery: a share of the work by passes, and the time left at the rate so far."""

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.evaluation.robustness.attack_progress import EVERY, AttackProgress, seldom

CHEAP, DEAR = (ATTACKS.build(name, {}) for name in ("pgd", "square_eot"))


def followed(times: list[float]) -> tuple[AttackProgress, list[str]]:
    """Return the progress of two attacks on two chunks, one nine times as expensive, at the given times."""
    clock, lines = iter([0.0, *times]), []
    progress = AttackProgress(
        {"": [CHEAP, DEAR]},
        {"": 2},
        lambda _, attack: {CHEAP.label: 1.0, DEAR.label: 9.0}[attack.label],
        lines.append,
        clock.__next__,
    )
    return progress, lines


def test_the_time_left_follows_from_the_passes_done():
    progress, lines = followed([10.0, 100.0])
    for label in (CHEAP.label, DEAR.label):
        progress.line(f"{label} begins")
        progress.finished("", label)
    assert lines[:2] == [f"{CHEAP.label} begins", f"{DEAR.label} begins"]
    assert lines[2:] == ["overall 50 % of the attacks, 2 min so far, about 2 min left"]


def test_work_that_was_in_the_ledger_does_not_count_as_fast_work():
    progress, lines = followed([0.1, 50.0])
    progress.finished("", DEAR.label)  # no line before it: it was read
    progress.line("begins")
    progress.finished("", CHEAP.label)
    assert lines[1:] == ["overall 50 % of the attacks, 50 s so far, about 8 min left"]


def test_a_short_battery_prints_no_progress_and_counts_no_passes():
    progress, lines = followed([EVERY / 3, EVERY / 2])
    progress.passes = None  # type: ignore[assignment]  # never called
    for label in (CHEAP.label, DEAR.label):
        progress.finished("", label)
    assert lines == []


def test_lines_that_come_often_are_passed_on_seldom():
    now, lines = [0.0], []
    told = seldom(lines.append, lambda: now[0])
    for second in (1, EVERY - 1, EVERY + 1, EVERY + 2, 2 * EVERY, 2 * EVERY + 1):
        now[0] = second
        told(str(second))
    assert lines == [str(EVERY + 1), str(2 * EVERY + 1)]
