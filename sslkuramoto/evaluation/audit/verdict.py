"""The verdict of an audit, derived from its checks.

The headline is the tightest upper bound of the robust accuracy: the union over all attacks of the audit, image by
image. The verdict compares it with the figures that a paper would usually report: the accuracy under the plain attack
and, for a randomised network, under EoT (AutoAttack "rand"). It then says what explains the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.audit.check import Check, Kind, Question
from sslkuramoto.evaluation.audit.compare import FEWEST_RIGHT, compare, percent, smallest_visible
from sslkuramoto.results import Metric

NOTHING_LEFT = 0.05
"""Accuracy up to which a network counts as not robust: half of what guessing gives with ten classes."""

REPORTED = Question("reported", "The usual attack is as strong as all attacks together", "masking")

NO_FUNCTION = "no_optimisation"
"""The one rule whose failure changes the verdict. If an answer depends on memory, on other images of the batch or on an
optimisation at test time, the gradients do not describe the network, and attacks say little about it."""

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
"""Checks that a favourable verdict requires: each built-in fake defence fails some of them."""

NOISE_CARRIES = "fixed_random"
"""The noise check that tells whether the robustness is due to the random draws. Gradients that differ from draw to draw
say something about the attacks only."""

ESSENTIAL_WITH_NOISE = ("k", "held_fresh", NOISE_CARRIES)

NO_EVIDENCE = (REPORTED.name, "logit_scale")
"""Masking checks that also fail when nothing is masked and the loss is weak: on networks trained by TRADES, for
example, other losses find more than the cross entropy does."""

CLEAN_WORDS = ("no sign of masking", "not settled", "rests on noise")
ATTACKS = {"plain": "the plain attack", "eot": "EoT"}


@dataclass(frozen=True)
class Verdict:
    """What an audit found.

    Attributes:
        word: the verdict in short: "void", "nothing to audit", "masked", "plain figure too high", "no robustness left",
            "suspect", "rests on noise", "not settled", "incomplete" (too few checks or images for a favourable verdict)
            or "no sign of masking".
        sentence: the verdict as it is printed.
        reasons: sentences, the most important first.
    """

    word: str
    sentence: str
    reasons: list[str]


@dataclass(frozen=True)
class Headline:
    """The figures that a verdict is about, over fresh draws.

    Attributes:
        plain: accuracy under the plain attack.
        tightest: accuracy under the union of all attacks.
        clean: accuracy without an attack.
        guess: share of the largest class, the accuracy of a constant prediction.
        right: images that most draws classify correctly without an attack; only these can be broken.
        eot: accuracy under EoT; None for a deterministic network.
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
        """Whether the lower end of the clean accuracy's interval is no better than a constant prediction."""
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
    """Check whether the usually reported figures agree with the union of all attacks, over fresh draws.

    The strongest usual attack decides; ``refuted`` in the figures names every figure that is too high.

    Args:
        usual: name -> for each image the share of fresh draws that are correct under it; the strongest attack last.
        tightest: the same for the worst candidate over all attacks, over the same draws.
        single: the same for the strongest single attack, for which the tolerance was chosen.
    """
    figures, refuted, said = {}, [], []
    for name, shares in usual.items():
        together, alone = compare(shares, tightest), compare(shares, single)
        figures[name] = together.figures() | {"single": round(alone.second, 6), "gain_of_single": round(alone.gain, 6)}
        refuted += [name] if together.stronger else []
        said.append(f"{percent(together.first)} under {ATTACKS[name]}")
        last = f"{percent(alone.second)} under the strongest single attack, {percent(together.second)} under all"
    strongest = list(usual)[-1]
    reason = f"accuracy {', '.join(said)}, {last}"
    return REPORTED.answer(strongest not in refuted, reason, {**figures[strongest], **figures, "refuted": refuted})


def verdict_of(checks: Sequence[Check], headline: Headline | None) -> Verdict:
    """Return the verdict.

    Args:
        checks: all, with that of :func:`reported`.
        headline: None if the control failed and nothing was measured.
    """
    failed: dict[Kind, list[Check]] = {
        kind: [check for check in checks if check.kind == kind and check.status == "fail"] for kind in KINDS
    }
    if headline is None or failed["control"]:
        word, sentence = "void", "void: the measurement itself failed its control, so none of its figures is valid"
    else:
        word, sentence = _judged(failed, headline, _refuted(checks), _unanswered(checks, headline))
        loose = [check.name for check in checks if check.status == "pass" and check.figures.get("proven") is False]
        if word == "no sign of masking" and loose:
            sentence += f"; these images cannot prove that the attacks had converged ({', '.join(loose)})"
    missing = sum(check.status == "not run" for check in checks)
    if failed["rule"]:
        sentence += f"; fails RobustBench's rules: {', '.join(check.name for check in failed['rule'])}"
    if missing:
        sentence += f"; {missing} of {len(checks)} checks were not run"
    return Verdict(word, sentence, _reasons(checks, failed, headline))


def decided(checks: Sequence[Check], headline: Headline) -> bool:
    """Return whether the word of the verdict stays, whatever further checks answer and further attacks break.

    Further attacks only lower the tightest bound, and a check that failed stays failed. Three words are then final:

    - "nothing to audit" depends on the clean accuracy only.
    - "no robustness left": usual figures of at most ``NOTHING_LEFT`` cannot be refuted, which takes a larger gain.
    - "masked": the bound refutes a usual figure, and a check has failed that is evidence of masking or of noise.

    For a randomised network the bound may rise by chance, since the draws that choose candidates do not score them.

    Args:
        checks: those answered so far, with that of :func:`reported`; the control has passed.
        headline: with the attacks run so far.
    """
    if headline.at_chance:
        return True
    if max(*headline.usual.values(), headline.tightest.value) <= NOTHING_LEFT:
        return True
    return bool(_refuted(checks)) and any(map(is_evidence, checks))


def is_evidence(check: Check) -> bool:
    """Return whether a check failed that makes a refuted figure one of masking or of noise."""
    masking = check.kind == "masking" and check.name not in NO_EVIDENCE
    return check.status == "fail" and (masking or check.kind == "noise")


KINDS: tuple[Kind, ...] = ("control", "masking", "noise", "strength", "rule", "hint")


def _judged(
    failed: dict[Kind, list[Check]], headline: Headline, refuted: list[str], unanswered: list[str]
) -> tuple[str, str]:
    """Return the verdict in short and as a sentence."""
    bound, tightest = headline.bound, headline.tightest.value
    signs = [check for check in failed["masking"] if check.name != REPORTED.name]
    evidence_of_masking = [check for check in signs if check.name not in NO_EVIDENCE]
    evidence = [*evidence_of_masking, *failed["noise"]]
    left = "no robustness is left" if tightest <= NOTHING_LEFT else "which is itself an upper bound only"
    if headline.at_chance:
        assert headline.clean.low is not None
        return "nothing to audit", (
            f"nothing to audit: the accuracy without an attack is {percent(headline.clean.value)} (at least "
            f"{percent(headline.clean.low)}), and a constant prediction has {percent(headline.guess)}; "
            f"under all attacks it is {bound}"
        )
    if refuted and evidence:
        held = [name for name in headline.usual if name not in refuted]
        but = f", while {_figures(headline, held)} agree with all attacks" if held else ""
        return "masked", (
            f"masked: {_figures(headline, refuted)} overstate the robustness{but}; the tightest bound found is "
            f"{bound}, {left}"
        )
    if list(headline.usual)[-1] in refuted:
        why = "no sign of masked gradients: the attack is weak"
        if unanswered:
            why = f"masked gradients cannot be ruled out without {', '.join(unanswered)}"
        return "plain figure too high", (
            f"plain figure too high: in place of {_figures(headline, refuted)} report the tightest bound found, "
            f"{bound}, {left}; {why}"
        )
    beside = _figures(headline, headline.usual)
    if tightest <= NOTHING_LEFT:
        return "no robustness left", f"no robustness left: {bound} under all attacks, beside {beside}"
    if any(check.name == NO_FUNCTION for check in failed["rule"]):
        return "suspect", (
            "suspect: a forward pass does more than compute an answer from its image, so the attacks may not have seen "
            f"the network as it is used; {bound} is an upper bound only"
        )
    # a weak loss that lowers the plain figure only is no sign of masking
    if evidence_of_masking or (signs and not refuted):
        return "suspect", (
            f"suspect: {len(signs)} sign{'s' * (len(signs) > 1)} of masked gradients, although all attacks together "
            f"are not significantly stronger than the usual one; {bound} is an upper bound only"
        )
    if unanswered:
        return "incomplete", f"incomplete: a verdict also needs {', '.join(unanswered)}; {bound} is an upper bound"
    if headline.right < FEWEST_RIGHT:
        return "incomplete", f"incomplete: {_too_few(headline)}; {bound} is an upper bound"
    high = f"; {_figures(headline, refuted)} are too high" if refuted else ""
    if any(check.name == NOISE_CARRIES for check in failed["noise"]):
        return "rests on noise", (
            f"rests on noise: the tightest bound found is {bound} and there is no other sign of masking, but the same "
            "weights with fixed oscillators are less robust; attacks that average over more draws may lower it"
        )
    if failed["strength"] or failed["noise"]:
        why = "the attacks had not converged" if failed["strength"] else "the gradient differs from draw to draw"
        return "not settled", f"not settled: no sign of masking, but {why}; {bound} is an upper bound{high}"
    return "no sign of masking", (
        f"no sign of masking at this budget: the tightest bound found is {bound}, beside {beside}{high}"
    )


def _figures(headline: Headline, names: Sequence[str] | Mapping[str, float]) -> str:
    return " and ".join(f"the {percent(headline.usual[name])} under {ATTACKS[name]}" for name in names)


def _refuted(checks: Sequence[Check]) -> list[str]:
    return [name for check in checks if check.name == REPORTED.name for name in check.figures["refuted"]]


def _unanswered(checks: Sequence[Check], headline: Headline) -> list[str]:
    """Return the checks that a favourable verdict still needs; the control must have passed."""
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
        f"with {n} images, {headline.right} of them correct without an attack, differences below about "
        f"{percent(smallest_visible(n))} are not significant"
    )
    return [*reasons, seen if headline.right >= FEWEST_RIGHT else _too_few(headline)]


def _too_few(headline: Headline) -> str:
    assert headline.tightest.n is not None
    return too_few(headline.right, headline.tightest.n)


def too_few(right: int, n: int) -> str:
    """Return why ``right`` of ``n`` images are too few for a favourable verdict."""
    return (
        f"{right} of {n} images are classified correctly without an attack; with fewer than {FEWEST_RIGHT} the "
        "differences between attacks are not significant"
    )
