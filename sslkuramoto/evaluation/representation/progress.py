"""Lines of progress on work that takes long; quick work says nothing."""

import time
from collections.abc import Callable

from sslkuramoto.durations import shown_time

EVERY = 10.0  # seconds between two lines


class Progress:
    """Says every ten seconds how much of some work is done and how long the rest will take.

    Args:
        report: receives a line.
        what: is done.
        total: units of it.
        unit: plural.
    """

    def __init__(self, report: Callable[[str], None], what: str, total: int, unit: str) -> None:
        self.report, self.what, self.total, self.unit = report, what, total, unit
        self.started = self.said = time.monotonic()

    def done(self, count: int, more: str = "") -> None:
        """Say that ``count`` units are done, unless a line was said a moment ago."""
        now = time.monotonic()
        if now - self.said < EVERY or count == 0:
            return
        self.said = now
        left = (now - self.started) / count * max(self.total - count, 0)
        self.report(f"{self.what}: {count} of {self.total} {self.unit}{more}, at most {shown_time(left)} left")
