"""What the answers of an audit amount to.

The headline is the tightest bound found: the union over everything the audit ran, image by image. The verdict says how
the figure of the plain attack, which a paper would report, stands beside it, and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.audit.check import Check, Kind, Question
from sslkuramoto.evaluation.audit.compare import compare, percent, smallest_visible
from sslkuramoto.evaluation.intervals import Metric

NOTHING_LEFT = 0.05
"""Accuracy up to which a network counts as not robust at all: half of what guessing gives with ten classes."""

REPORTED = Question("reported", "The plain attack finds what all attacks together find", "masking")


@dataclass(frozen=True)
class Verdict:
    """What an audit found.

    Attributes:
        word: the verdict in short: "void", "masked", "no robustness left", "suspect", "rests on noise",
            "not settled", "incomplete" (no control, no word of confidence) or "no sign of masking".
        sentence: the verdict as it is printed.
        reasons: sentences, the weightiest first.
    """

    word: str
    sentence: str
    reasons: list[str]


def reported(plain: Float[Tensor, " n"], tightest: Float[Tensor, " n"]) -> Check:
    """Ask whether the plain attack's figure holds against the union of all attacks, over fresh draws.

    Args:
        plain: for each image the share of fresh draws that the plain attack leaves right.
        tightest: the same for the worst candidate over all attacks, over the same draws.
    """
    comparison = compare(plain, tightest)
    reason = (
        f"APGD on the cross entropy, one draw a forward, leaves {percent(comparison.first)}; all attacks together "
        f"leave {percent(comparison.second)}"
    )
    return REPORTED.answer(not comparison.stronger, reason, comparison.figures())


def verdict_of(checks: Sequence[Check], plain: float, tightest: Metric) -> Verdict:
    """Return the verdict.

    Args:
        checks: all, with that of :func:`reported`.
        plain: accuracy that the plain attack leaves, over fresh draws.
        tightest: accuracy that all attacks together leave.
    """
    failed: dict[Kind, list[Check]] = {
        kind: [check for check in checks if check.kind == kind and check.status == "fail"] for kind in KINDS
    }
    masking = failed["masking"]
    gap = any(check.name == REPORTED.name for check in masking)
    value = percent(tightest.value)
    assert tightest.low is not None
    assert tightest.high is not None
    bound = f"{value} (95 % interval {percent(tightest.low)} to {percent(tightest.high)})"
    if failed["control"]:
        word, sentence = "void", "void: the measurement itself is broken, no figure of it means anything"
    elif gap:
        left = "no robustness is left" if tightest.value <= NOTHING_LEFT else "and an upper bound only"
        word = "masked"
        sentence = (
            f"masked: the {percent(plain)} of the plain attack are not to be trusted; {bound} is the tightest bound "
            f"found, {left}"
        )
    elif tightest.value <= NOTHING_LEFT:
        word, sentence = (
            "no robustness left",
            f"no robustness left: {bound}; the plain attack alone leaves {percent(plain)}",
        )
    elif masking:
        word, signs = "suspect", f"{len(masking)} sign{'s' * (len(masking) > 1)}"
        sentence = (
            f"suspect: {signs} of masked gradients, though all attacks together did no better than the plain one, "
            f"chance aside; {bound} is an upper bound and no more"
        )
    elif failed["noise"]:
        word = "rests on noise"
        sentence = (
            f"rests on noise: {bound} is the tightest bound found and no other sign of masking, but the random draws "
            "carry it; attacks that average over more draws may find less"
        )
    elif failed["strength"]:
        word = "not settled"
        sentence = f"not settled: no sign of masking, but the attacks had not converged; {bound} is an upper bound"
    else:
        word = "no sign of masking"
        sentence = (
            f"no sign of masking at this budget: {bound} is the tightest bound found, {percent(plain)} that of the "
            "plain attack alone"
        )
    missing = sum(check.status == "not run" for check in checks)
    loose = [check.name for check in checks if check.status == "pass" and check.figures.get("proven") is False]
    controlled = any(check.kind == "control" and check.status == "pass" for check in checks)
    if word in ("no sign of masking", "not settled") and not controlled:
        word, sentence = "incomplete", f"incomplete: the control at eps 0 was not run; {bound} is an upper bound"
    elif word in ("no sign of masking", "not settled") and smallest_visible(tightest.n) > 1:
        word = "incomplete"
        sentence = f"incomplete: {_too_few(tightest.n)}; {bound} is an upper bound"
    elif word == "no sign of masking" and loose:
        sentence += f"; that the attacks had converged is not proven ({', '.join(loose)})"
    if failed["rule"]:
        sentence += f"; fails RobustBench's rules: {', '.join(check.name for check in failed['rule'])}"
    if missing:
        sentence += f"; {missing} of {len(checks)} checks were not run"
    return Verdict(word, sentence, _reasons(checks, failed, tightest.n))


KINDS: tuple[Kind, ...] = ("control", "masking", "noise", "strength", "rule", "hint")


def _reasons(checks: Sequence[Check], failed: dict[Kind, list[Check]], n: int) -> list[str]:
    reasons = [f"{check.title}: no; {check.reason}" for kind in KINDS for check in failed[kind]]
    missing = [check.name for check in checks if check.status == "not run"]
    if missing:
        reasons.append(f"not run: {', '.join(missing)}")
    least = smallest_visible(n)
    seen = f"with {n} images, differences below about {percent(least)} cannot be told from chance"
    reasons.append(seen if least <= 1 else _too_few(n))
    return reasons


def _too_few(n: int) -> str:
    fewest = next(more for more in range(n, n + 64) if smallest_visible(more) <= 1)
    return f"with {n} images no difference between two attacks can be told from chance, at least {fewest} are needed"
