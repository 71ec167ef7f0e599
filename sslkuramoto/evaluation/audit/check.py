"""One check of an audit: the question and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["pass", "fail", "not run"]
Kind = Literal["control", "masking", "noise", "strength", "rule", "hint"]


@dataclass(frozen=True)
class Check:
    """One check of an audit: the question and its answer.

    Attributes:
        name: key of the check.
        title: the statement that passes or fails.
        kind: what a failure means. "control": the measurement itself is broken. "masking": attacks that do not adapt
            overstate the robustness. "noise": the robustness is due to random draws. "strength": the attacks had not
            converged, so the bound is loose. "rule": RobustBench would not list the network. "hint": a possible
            mechanism; no evidence by itself.
        status: "pass", "fail" or "not run".
        reason: one sentence with the figures that decided; accuracies unless said otherwise.
        figures: all figures.
    """

    name: str
    title: str
    kind: Kind
    status: Status
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def shown(self) -> str:
        """Return the line that is printed."""
        return f"{self.status}  {self.title}: {self.reason}"


@dataclass(frozen=True)
class Question:
    """The statement that a check tests, before it is answered."""

    name: str
    title: str
    kind: Kind

    def answer(self, passed: bool, reason: str, figures: Mapping[str, Any] | None = None) -> Check:
        """Return the check, passed or failed."""
        return Check(self.name, self.title, self.kind, "pass" if passed else "fail", reason, figures or {})

    def not_run(self, reason: str) -> Check:
        """Return a check that was not run, with the reason."""
        return Check(self.name, self.title, self.kind, "not run", reason)
