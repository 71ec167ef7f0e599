"""How long the rest of a study takes: the estimates of the plan, corrected by what the finished tasks took."""

from collections.abc import Iterable, Mapping

from sslkuramoto.durations import shown_time


class TimeLeft:
    """Follows the tasks of a study.

    Args:
        expected: key of a task -> estimated seconds, None when unknown.
        workers: tasks that run side by side.
    """

    def __init__(self, expected: Mapping[str, float | None], workers: int) -> None:
        self.expected, self.workers = expected, workers
        self._estimated, self._taken = 0.0, 0.0  # seconds of the finished tasks that had an estimate

    def finished(self, key: str, seconds: float) -> None:
        """Note what a task took."""
        if estimate := self.expected.get(key):
            self._estimated += estimate
            self._taken += seconds

    def of(self, keys: Iterable[str]) -> str:
        """Return the time that unfinished tasks take, in words; empty where no estimate is known."""
        rest = [*keys]
        known = [seconds for key in rest if (seconds := self.expected.get(key)) is not None]
        if not known:
            return ""
        slower = self._taken / self._estimated if self._estimated else 1.0
        side_by_side = max(1, min(self.workers, len(rest)))
        seconds = max(sum(known) / side_by_side, *known) * slower
        unknown = f", and {len(rest) - len(known)} tasks of unknown cost" if len(known) < len(rest) else ""
        return f"about {shown_time(seconds)} left{unknown}"
