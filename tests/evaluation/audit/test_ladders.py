"""An audit climbs its ladders of steps and draws only while they gain, and the rule errs seldom."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hand_made_cases import Build, N, NoisyPixels, broken
from torch import Tensor

from sslkuramoto.evaluation import Result
from sslkuramoto.evaluation.audit.compare import compare, convergence
from sslkuramoto.evaluation.audit.gradients import GradientFacts
from sslkuramoto.evaluation.audit.ladders import Rung, agree, climbed, shortened
from sslkuramoto.randomness import generator
from sslkuramoto.statistics import wilson


def rung(margin: Tensor) -> Rung:
    """The rung of a deterministic network."""
    return Rung((margin > 0).float(), margin)


def falling(*, start: float, by: float, images: int = N, n: int = N) -> list[Rung]:
    """Three rungs: the margins of some images fall by ``by`` in two increases, and nothing happens to the others."""
    margin = torch.full((n,), start)
    last = torch.cat([margin[:images] - by, margin[images:]])
    return [rung(margin), rung((margin + last) / 2), rung(last)]


def test_two_rungs_never_agree_and_three_equal_ones_do() -> None:
    assert not agree(falling(start=1.0, by=0.0)[:2])
    assert agree(falling(start=1.0, by=0.0))
    assert agree(falling(start=-1.0, by=0.0))


def test_a_gain_above_one_in_a_hundred_is_no_agreement() -> None:
    assert not agree(falling(start=1.0, by=1.5, images=1))
    assert agree(falling(start=1.0, by=1.5, images=2, n=200))
    assert not agree(falling(start=1.0, by=1.5, images=3, n=200))
    assert not agree(falling(start=1.0, by=1.5, images=5, n=1000))  # a half in a hundred, but no chance: p = 1/32


def test_margins_that_would_reach_zero_at_the_same_rate_are_no_agreement() -> None:
    assert agree(falling(start=1.0, by=0.49))
    assert not agree(falling(start=1.0, by=0.51))
    assert agree(falling(start=1.0, by=0.51, images=2, n=200))
    assert agree(falling(start=1.0, by=-5.0))


def ladder_at_random(draw: torch.Generator, rungs: int, noise: float) -> list[Rung]:
    """Margins that settle at once, slowly, or fall late from a plateau, with noise of the attack."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=draw).item()

    i = torch.arange(rungs)[:, None]
    floor = between(-2, 2) + between(0.1, 2) * torch.randn(N, generator=draw)
    height = between(0.1, 6) * torch.rand(N, generator=draw)
    if between(0, 1) < 0.5:
        shape = torch.exp(-(10 ** between(-1.5, 0.5)) * i)
    else:
        shape = torch.sigmoid((between(0, rungs + 2) - i) / between(0.3, 2))
    margins = floor + height * shape + noise * torch.randn(rungs, N, generator=draw)
    return [rung(margin) for margin in margins]


def test_of_random_ladders_that_end_early_few_would_have_gained() -> None:
    """A ladder of four rungs that ends at the third: what the last increase would have said, and found."""
    draw, ended, still_gaining, looser = generator("cpu", "ladders"), 0, 0, 0
    ladders = 1500
    for ladder in range(ladders):
        *first, last = ladder_at_random(draw, 4, noise=(0.0, 0.05, 0.2)[ladder % 3])
        if agree(first):
            ended += 1
            still_gaining += convergence(first[-1].right, last.right).gains
            looser += compare(first[-1].right, last.right).stronger
    assert ended > ladders / 12
    assert wilson(still_gaining / ended, ended)[0] < 0.02
    assert still_gaining / ended < 0.03
    assert looser / ended < 0.02


LADDERS: dict[str, Any] = {"steps": [3, 5, 10, 40], "k": [1, 2, 4, 16], "queries": 100, "samples": 5, "images": 32}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images that were passed backwards by attacks, counted."""
    counted = [0]
    ascend = torch.autograd.grad

    def counting(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        of = inputs if isinstance(inputs, Tensor) else inputs[0]
        counted[0] += len(of)
        return ascend(outputs, inputs, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counting)
    return counted


def test_where_the_ladders_agree_the_verdict_is_the_same_from_half_the_passes(
    audited: Callable[..., Result], passes: list[int], tmp_path: Path
) -> None:
    options = {"eps": 0.1, "steps": [3, 5, 10, 40], "queries": 100, "samples": 5, "images": 32}
    early = audited("adversarial", **options, stop="agreed", ledger=str(tmp_path / "early"))
    few, passes[0] = passes[0], 0
    whole = audited("adversarial", **options, ledger=str(tmp_path / "whole"))
    assert few <= passes[0] / 2
    for result in (early, whole):
        assert result.details["audit"]["word"] == "no sign of masking"
    assert 0 <= early.metrics["robust_accuracy"].value - whole.metrics["robust_accuracy"].value <= 0.02
    assert "steps end at 10 of 40: the last two increases gained nothing (option stop)" in early.notes
    assert not any("option stop" in note for note in whole.notes)


@pytest.mark.parametrize(
    ("cosine", "found", "k"),
    [
        (0.9, {}, (1, 4, 16)),
        (0.3, {}, (1, 4, 16)),  # the mean of 16 draws has cosine 0.93 with the expected gradient
        (0.1, {}, (1, 4, 16, 64)),  # 0.80: that more draws do not help yet says nothing of many more
        (-0.1, {}, (1, 4, 16, 64)),
        (0.9, {f"held-k16-{steps}": broken(2) for steps in (5, 10, 20)}, (1, 4, 16, 64)),
    ],
)
def test_draws_end_where_they_agree_and_their_mean_gradient_is_steady(
    cosine: float, found: dict[str, Tensor], k: tuple[int, ...], build: Build
) -> None:
    case = build(found, encoder=NoisyPixels(), facts=GradientFacts(cosine=torch.full((N,), cosine)))
    budget = climbed(case).budget
    assert (budget.steps, budget.k) == ((5, 10, 20), k)
    (said,) = shortened(case.budget, budget)
    assert said.startswith("steps end at 20 of 40")
    assert ("draws per gradient end at 16 of 64" in said) == (len(k) == 3)


@pytest.mark.parametrize("label", ["plain apgd-ce-20", "apgd-margin-20"])
def test_steps_go_on_while_the_plain_or_the_reference_attack_gains(label: str, build: Build) -> None:
    case = build({label: broken(2)})
    assert climbed(case).budget == case.budget
    assert shortened(case.budget, climbed(case).budget) == []
