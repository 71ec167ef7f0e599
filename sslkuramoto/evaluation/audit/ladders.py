"""Ladders of an audit, the steps and the draws per gradient, climbed only as far as they make the attack stronger.

An audit repeats an attack with budgets that increase, and its other checks use the largest. Where the smaller ones
already agree, a shorter ladder gives the same verdict in fewer passes (option ``stop=agreed``).

Shapes: n images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.attacks import Attack
from sslkuramoto.evaluation.audit.budget import Budget
from sslkuramoto.evaluation.audit.compare import SETTLED, convergence
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.gradients import draws_for_direction

LOOKED_BACK = 2
"""Increases that must together gain nothing before a ladder ends."""


@dataclass(frozen=True)
class Rung:
    """What an attack reached with one budget.

    Attributes:
        right: for each image the share of draws that are correct on its candidate.
        margin: for each image the mean over draws of its true logit minus the largest other one, on its candidate.
    """

    right: Float[Tensor, " n"]
    margin: Float[Tensor, " n"]


def agree(rungs: Sequence[Rung]) -> bool:
    """Return whether the last two increases of a budget made an attack no stronger, and no image is within reach.

    A gain of more than 1 % of the images counts even if it may be chance, and a smaller one if it is significant.
    Besides, at most 1 % of the images may be within reach: their margin is above zero and would fall below if it fell
    once more by as much as in these two increases. An attack that breaks its images late shows so before it does.

    Args:
        rungs: those of the budgets so far, the smallest budget first.
    """
    if len(rungs) <= LOOKED_BACK:
        return False
    before, now = rungs[-1 - LOOKED_BACK], rungs[-1]
    fall = (before.margin - now.margin).clamp(min=0)
    within_reach = ((now.margin > 0) & (now.margin <= fall)).double().mean().item()
    return within_reach <= SETTLED and not convergence(before.right, now.right).may_gain


def climbed(case: Case) -> Case:
    """Return a case whose budget ends where its ladders agree.

    The steps end where the plain and the reference attack both agree. The draws per gradient may end only once their
    mean gradient has cosine 0.9 with the expected one, at the mean cosine of two draws: below that, more draws can fail
    to help although many more would.
    """

    def rung(attack: Attack) -> Rung:
        run = case.bench.run(attack)
        return Rung(run.right, case.bench.margin(run.candidates))

    def by_steps(count: int) -> list[Rung]:
        return [rung(case.arsenal.plain("ce", count)), rung(case.arsenal.reference(steps=count))]

    case = case.with_budget(replace(case.budget, steps=_as_far_as_needed(case.budget.steps, by_steps)))
    if case.gradients.cosine is None:
        return case
    needed = draws_for_direction(case.gradients.cosine.double().mean().item())
    k = _as_far_as_needed(case.budget.k, lambda k: [rung(case.arsenal.reference(k=k))], least=needed)
    return case.with_budget(replace(case.budget, k=k))


def shortened(whole: Budget, used: Budget) -> list[str]:
    """Return the note of a result that says where ladders ended before their time; none if they did not."""
    ends = [
        f"{name} end at {ladder[-1]} of {planned[-1]}"
        for name, planned, ladder in (("steps", whole.steps, used.steps), ("draws per gradient", whole.k, used.k))
        if len(ladder) < len(planned)
    ]
    return [f"{', '.join(ends)}: the last two increases gained nothing (option stop)"] if ends else []


def _as_far_as_needed(
    ladder: tuple[int, ...], attacked: Callable[[int], list[Rung]], least: float = 0
) -> tuple[int, ...]:
    """Return the ladder up to the first rung, at or above ``least``, at which all attacks agree."""
    rungs: list[list[Rung]] = []
    for place, count in enumerate(ladder, start=1):
        rungs.append(attacked(count))
        if count >= least and all(agree(each) for each in zip(*rungs, strict=True)):
            return ladder[:place]
    return ladder
