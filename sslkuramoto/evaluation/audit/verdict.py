"""What the answers of an audit amount to.

The headline is the tightest bound found: the union over everything the audit ran, image by image. The verdict says how
the figures that a paper would report stand beside it, and why: that of the plain attack and, for a randomised network,
that of EoT (AutoAttack "rand").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.audit.check import Check, Kind, Question
from sslkuramoto.evaluation.audit.compare import FEWEST_RIGHT, compare, percent, smallest_visible
from sslkuramoto.results import Metric

NOTHING_LEFT = 0.05
"""Accuracy up to which a network counts as not robust at all: half of what guessing gives with ten classes."""

REPORTED = Question("reported", "The usual attack finds what all attacks together find", "masking")

NO_FUNCTION = "no_optimisation"
"""The rule whose failure is more than a rule: what answers by its memory, its batch or a search of its own is not the
network that its gradients describe, and no attack on it means much."""

ESSENTIAL = (
    "eps",
    "black_box",
    "logit_scale",
    "zero_gradients",
    "finite_differences",
    "one_step",
    "steps",
    NO_FUNCTION,
)
"""Questions without whose answers nothing good is said of a network: each planted defence fails some of them."""

NOISE_CARRIES = "fixed_random"
"""The question about noise that tells what robustness rests on; unsteady gradients alone tell of the attacks only."""

ESSENTIAL_WITH_NOISE = ("k", "held_fresh", NOISE_CARRIES)

NO_EVIDENCE = (REPORTED.name, "logit_scale")
"""Masking checks that a weak loss fails too: where the cross entropy is a poor guide, a better loss finds more and
nothing was hidden (networks trained by TRADES)."""

CLEAN_WORDS = ("no sign of masking", "not settled", "rests on noise")
ATTACKS = {"plain": "the plain attack", "eot": "EoT"}


@dataclass(frozen=True)
class Verdict:
    """What an audit found.

    Attributes:
        word: the verdict in short: "void", "nothing to audit", "masked", "plain figure too high", "no robustness left",
            "suspect", "rests on noise", "not settled", "incomplete" (too little was asked for a word of confidence) or
            "no sign of masking".
        sentence: the verdict as it is printed.
        reasons: sentences, the weightiest first.
    """

    word: str
    sentence: str
    reasons: list[str]


@dataclass(frozen=True)
class Headline:
    """The figures that a verdict is about, over fresh draws.

    Attributes:
        plain: accuracy that the plain attack leaves.
        tightest: accuracy that all attacks together leave.
        clean: accuracy without an attack.
        guess: share of the largest class, which a constant answer gets right.
        right: images that most draws get right when clean; only these can be attacked.
        eot: accuracy that EoT leaves; None for a deterministic network, which needs none.
    """

    plain: float
    tightest: Metric
    clean: Metric
    guess: float
    right: int
    eot: float | None = None

    @property
    def usual(self) -> dict[str, float]:
        """The figures that a paper would report, the strongest last."""
        return {"plain": self.plain} | ({} if self.eot is None else {"eot": self.eot})

    @property
    def at_chance(self) -> bool:
        """Whether the clean accuracy, its interval respected, is no better than a constant answer."""
        assert self.clean.low is not None
        return self.clean.low <= self.guess

    @property
    def bound(self) -> str:
        """The tightest bound in words."""
        low, high = self.tightest.low, self.tightest.high
        assert low is not None
        assert high is not None
        return f"{percent(self.tightest.value)} (95 % interval {percent(low)} to {percent(high)})"


def reported(
    usual: Mapping[str, Float[Tensor, " n"]], tightest: Float[Tensor, " n"], single: Float[Tensor, " n"]
) -> Check:
    """Ask whether the figures that are usually reported hold against the union of all attacks, over fresh draws.

    The strongest of them decides; ``refuted`` in the figures names every one that does not hold.

    Args:
        usual: name -> for each image the share of fresh draws that it leaves right; the strongest last.
        tightest: the same for the worst candidate over all attacks, over the same draws.
        single: the same for the strongest single attack, to which the tolerance is fitted.
    """
    figures, refuted, said = {}, [], []
    for name, shares in usual.items():
        together, alone = compare(shares, tightest), compare(shares, single)
        figures[name] = together.figures() | {"single": round(alone.second, 6), "gain_of_single": round(alone.gain, 6)}
        refuted += [name] if together.stronger else []
        said.append(f"{ATTACKS[name]} leaves {percent(together.first)}")
        last = f"the strongest single attack leaves {percent(alone.second)}, all together {percent(together.second)}"
    strongest = list(usual)[-1]
    reason = f"{', '.join(said)}; {last}"
    return REPORTED.answer(strongest not in refuted, reason, {**figures[strongest], **figures, "refuted": refuted})


def verdict_of(checks: Sequence[Check], headline: Headline | None) -> Verdict:
    """Return the verdict.

    Args:
        checks: all, with that of :func:`reported`.
        headline: None where the control failed, and nothing was measured.
    """
    failed: dict[Kind, list[Check]] = {
        kind: [check for check in checks if check.kind == kind and check.status == "fail"] for kind in KINDS
    }
    if headline is None or failed["control"]:
        word, sentence = "void", "void: the measurement itself is broken, no figure of it means anything"
    else:
        word, sentence = _judged(failed, headline, _refuted(checks), _unanswered(checks, headline))
        loose = [check.name for check in checks if check.status == "pass" and check.figures.get("proven") is False]
        if word == "no sign of masking" and loose:
            sentence += f"; that the attacks had converged is not proven ({', '.join(loose)})"
    missing = sum(check.status == "not run" for check in checks)
    if failed["rule"]:
        sentence += f"; fails RobustBench's rules: {', '.join(check.name for check in failed['rule'])}"
    if missing:
        sentence += f"; {missing} of {len(checks)} checks were not run"
    return Verdict(word, sentence, _reasons(checks, failed, headline))


KINDS: tuple[Kind, ...] = ("control", "masking", "noise", "strength", "rule", "hint")


def _judged(
    failed: dict[Kind, list[Check]], headline: Headline, refuted: list[str], unanswered: list[str]
) -> tuple[str, str]:
    """Return word and sentence."""
    bound, tightest = headline.bound, headline.tightest.value
    signs = [check for check in failed["masking"] if check.name != REPORTED.name]
    evidence_of_masking = [check for check in signs if check.name not in NO_EVIDENCE]
    evidence = [*evidence_of_masking, *failed["noise"]]
    left = "no robustness is left" if tightest <= NOTHING_LEFT else "and an upper bound only"
    if headline.at_chance:
        assert headline.clean.low is not None
        return "nothing to audit", (
            f"nothing to audit: {percent(headline.clean.value)} are right without an attack (at least "
            f"{percent(headline.clean.low)}), and a constant answer gets {percent(headline.guess)}; "
            f"all attacks together leave {bound}"
        )
    if refuted and evidence:
        held = [name for name in headline.usual if name not in refuted]
        but = f", though {_figures(headline, held)} hold" if held else ""
        return "masked", (
            f"masked: {_figures(headline, refuted)} are not to be trusted{but}; {bound} is the tightest bound found, "
            f"{left}"
        )
    if list(headline.usual)[-1] in refuted:
        why = "no sign that anything is hidden: the attack is weak"
        if unanswered:
            why = f"whether anything is hidden cannot be said without {', '.join(unanswered)}"
        return "plain figure too high", (
            f"plain figure too high: {_figures(headline, refuted)} are not to be reported, but {bound}, the tightest "
            f"bound found, {left}; {why}"
        )
    beside = _figures(headline, headline.usual)
    if tightest <= NOTHING_LEFT:
        return "no robustness left", f"no robustness left: {bound}, beside {beside}"
    if any(check.name == NO_FUNCTION for check in failed["rule"]):
        return "suspect", (
            "suspect: a forward pass does more than to compute an answer from its image, so attacks may all have met "
            f"another network than the one that is used; {bound} is an upper bound and no more"
        )
    if evidence_of_masking or (signs and not refuted):  # a weak loss alone, where only the plain figure fell, is none
        return "suspect", (
            f"suspect: {len(signs)} sign{'s' * (len(signs) > 1)} of masked gradients, though all attacks together did "
            f"no better than the usual one, chance aside; {bound} is an upper bound and no more"
        )
    if unanswered:
        return "incomplete", f"incomplete: not without {', '.join(unanswered)}; {bound} is an upper bound"
    if headline.right < FEWEST_RIGHT:
        return "incomplete", f"incomplete: {_too_few(headline)}; {bound} is an upper bound"
    high = f"; {_figures(headline, refuted)} are too high" if refuted else ""
    if any(check.name == NOISE_CARRIES for check in failed["noise"]):
        return "rests on noise", (
            f"rests on noise: {bound} is the tightest bound found and no other sign of masking, but the random draws "
            "carry it; attacks that average over more draws may find less"
        )
    if failed["strength"] or failed["noise"]:
        why = "the attacks had not converged" if failed["strength"] else "the gradient differs from draw to draw"
        return "not settled", f"not settled: no sign of masking, but {why}; {bound} is an upper bound{high}"
    return "no sign of masking", (
        f"no sign of masking at this budget: {bound} is the tightest bound found, beside {beside}{high}"
    )


def _figures(headline: Headline, names: Sequence[str] | Mapping[str, float]) -> str:
    return " and ".join(f"the {percent(headline.usual[name])} of {ATTACKS[name]}" for name in names)


def _refuted(checks: Sequence[Check]) -> list[str]:
    return [name for check in checks if check.name == REPORTED.name for name in check.figures["refuted"]]


def _unanswered(checks: Sequence[Check], headline: Headline) -> list[str]:
    """Return what had to be answered before anything good is said; the control must have passed."""
    answered = {check.name for check in checks if check.status != "not run"}
    essential = [*ESSENTIAL, *(ESSENTIAL_WITH_NOISE if headline.eot is not None else ())]
    controlled = any(check.kind == "control" and check.status == "pass" for check in checks)
    return [*([] if controlled else ["the control at eps 0"]), *(name for name in essential if name not in answered)]


def _reasons(checks: Sequence[Check], failed: dict[Kind, list[Check]], headline: Headline | None) -> list[str]:
    reasons = [f"{check.title}: no; {check.reason}" for kind in KINDS for check in failed[kind]]
    missing = [check.name for check in checks if check.status == "not run"]
    if missing:
        reasons.append(f"not run: {', '.join(missing)}")
    if headline is None:
        return reasons
    n = headline.tightest.n
    assert n is not None
    seen = (
        f"with {n} images, {headline.right} of them right when clean, differences below about "
        f"{percent(smallest_visible(n))} cannot be told from chance"
    )
    return [*reasons, seen if headline.right >= FEWEST_RIGHT else _too_few(headline)]


def _too_few(headline: Headline) -> str:
    return (
        f"{headline.right} of {headline.tightest.n} images are right when clean, and with fewer than {FEWEST_RIGHT} "
        "attacks cannot be told apart"
    )
