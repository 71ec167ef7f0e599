"""How often audits are right: plants found and missed, honest networks accused, with exact intervals.

A plant hides that a network is not robust, so a verdict that trusts the figure misses it. An honest network hides
nothing, so a verdict that names a sign of masking is a false alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sslkuramoto.statistics import clopper_pearson

FINDS = ("masked", "suspect", "void", "plain figure too high", "rests on noise")
"""Verdicts that warn of a plant's figure: it is refuted, not to be trusted, or due to noise."""
MISSES = ("no sign of masking", "not settled")
"""Verdicts that report the tightest bound as that of a robust network."""
NOTHING_HIDDEN = ("no robustness left",)
"""The usual attack breaks the network as the union does: this plant hides nothing from it."""
ACCUSES = ("masked", "suspect", "void")
"""Verdicts that are false of an honest network. "plain figure too high" is none: a loss may be weak."""

Outcome = Literal["found", "missed", "nothing hidden", "undecided", "false alarm", "fair"]


@dataclass(frozen=True)
class Audited:
    """One audit of a network that is known.

    Attributes:
        name: of the network.
        plant: what was planted; empty for an honest network.
        word: the verdict in short.
    """

    name: str
    plant: str
    word: str

    @property
    def outcome(self) -> Outcome:
        """What the verdict is worth."""
        if not self.plant:
            return "false alarm" if self.word in ACCUSES else "fair"
        if self.word in FINDS:
            return "found"
        if self.word in MISSES:
            return "missed"
        return "nothing hidden" if self.word in NOTHING_HIDDEN else "undecided"


def record_of(audits: Sequence[Audited]) -> list[str]:
    """Return the record of some audits in words: one sentence on plants, one on honest networks.

    Args:
        audits: each of another network.
    """
    by_outcome: dict[Outcome, list[Audited]] = {}
    for audit in audits:
        by_outcome.setdefault(audit.outcome, []).append(audit)
    found, missed = by_outcome.get("found", []), by_outcome.get("missed", [])
    said = []
    if plants := [audit for audit in audits if audit.plant]:
        line = f"{len(plants)} plant{'s' * (len(plants) > 1)}: {share(len(found), len(found) + len(missed), 'found')}"
        for outcome in ("missed", "nothing hidden", "undecided"):
            if listed := by_outcome.get(outcome):
                line += f"; {outcome}: {', '.join(f'{audit.name} ({audit.word})' for audit in listed)}"
        said.append(line)
    if honest := [audit for audit in audits if not audit.plant]:
        alarms = by_outcome.get("false alarm", [])
        line = (
            f"{len(honest)} honest network{'s' * (len(honest) > 1)}: {share(len(alarms), len(honest), 'false alarms')}"
        )
        said.append(line + "".join(f"; {audit.name} ({audit.word})" for audit in alarms))
    return said


def share(count: int, of: int, what: str) -> str:
    """Return a count with the Clopper-Pearson interval of its share, as text."""
    if not of:
        return f"0 of 0 {what}"
    low, high = clopper_pearson(count, of, 0.025)  # together 95 %
    return f"{count} of {of} {what} (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
