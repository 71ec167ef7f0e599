"""Overall progress of a long battery of attacks: the share of the work that is done, and an estimate of the time left.

The work of an attack is its number of passes, counted on a stand-in (:mod:`sslkuramoto.attacks.counting`). Images that
are broken early cost less, so the estimate is usually too high.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sslkuramoto.attacks.attack import Attack
from sslkuramoto.durations import shown_time

EVERY = 30.0
"""Seconds between two lines; a shorter measurement prints none, and counts no passes."""


def seldom(report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Callable[[str], None]:
    """Return a report that passes a line on only where none was passed on in the last :data:`EVERY` seconds."""
    last = clock()

    def told(line: str) -> None:
        nonlocal last
        if clock() - last >= EVERY:
            report(line)
            last = clock()

    return told


@dataclass
class AttackProgress:
    """Follows the attacks of several readings of a network.

    Args:
        attacks: reading -> its attacks.
        chunks: reading -> number of chunks of images that each of its attacks works on.
        passes: (reading, attack) -> relative cost of an attack per chunk.
        report: receives lines.
        clock: seconds.
    """

    attacks: Mapping[str, list[Attack]]
    chunks: Mapping[str, int]
    passes: Callable[[str, Attack], float]
    report: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _computed: Counter[tuple[str, str]] = field(default_factory=Counter)  # chunks by reading and attack
    _read: Counter[tuple[str, str]] = field(default_factory=Counter)  # those whose work was in the ledger
    _begun: bool = False  # whether a unit of the current attack was computed

    def __post_init__(self) -> None:
        self._start = self._last = self.clock()

    def line(self, text: str) -> None:
        """Pass on a line about a unit of work that begins."""
        self._begun = True
        self.report(text)

    def finished(self, reading: str, label: str) -> None:
        """Note that an attack has finished a chunk; print a line if the last one is long ago."""
        (self._computed if self._begun else self._read)[reading, label] += 1
        self._begun = False
        now = self.clock()
        if now - self._last < EVERY:
            return
        self._last = now
        costs = {(name, each.label): self.passes(name, each) for name, own in self.attacks.items() for each in own}
        total = sum(self.chunks[name] * cost for (name, _), cost in costs.items())
        computed, read = (sum(costs[key] * n for key, n in done.items()) for done in (self._computed, self._read))
        if not computed:
            return
        left = (now - self._start) * max(total - computed - read, 0.0) / computed
        self.report(
            f"overall {100 * (computed + read) / total:.0f} % of the attacks, "
            f"{shown_time(now - self._start)} so far, about {shown_time(left)} left"
        )
