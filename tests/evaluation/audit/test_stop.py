"""An audit that stops once its verdict is decided gives the verdict of one that does not."""

import random

import pytest
import torch
from torch import Tensor

from sslkuramoto.classifier import Classifier
from sslkuramoto.evaluation.audit.attacks import Arsenal
from sslkuramoto.evaluation.audit.budget import BUDGETS
from sslkuramoto.evaluation.audit.check import Check, Status
from sslkuramoto.evaluation.audit.compare import BROKEN
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.gradients import GradientFacts
from sslkuramoto.evaluation.audit.protocol import CHECKS
from sslkuramoto.evaluation.audit.runner import Bench, Run, union
from sslkuramoto.evaluation.audit.summary import may_be_decided
from sslkuramoto.evaluation.audit.verdict import Headline, decided, reported, verdict_of
from sslkuramoto.noise_draws import share_over_draws
from sslkuramoto.randomness import generator
from sslkuramoto.results import Metric
from sslkuramoto.threat import Threat

N = 64


def metric(shares: Tensor) -> Metric:
    exact = share_over_draws((torch.arange(4000) < 1000 * shares.mean()).bool()[None])
    return Metric(shares.mean().item(), exact.low, exact.high, N)


def judged(answers: dict[str, Status], usual: dict[str, Tensor], union: Tensor, clean: Tensor, guess: float):
    """Return the checks with ``reported``, and the headline: what an audit knows at some point."""
    checks = [Check("control", "", "control", "pass", "")]
    for question in list(CHECKS)[1:]:
        status = answers.get(question.name, "not run")
        checks.append(Check(question.name, question.title, question.kind, status, ""))
    checks.insert(1, reported(usual, union, union))
    figures = {name: shares.mean().item() for name, shares in usual.items()}
    right = int((clean > BROKEN).sum())
    headline = Headline(figures["plain"], metric(union), metric(clean), guess, right, figures.get("eot"))
    return checks, headline


def test_whatever_comes_after_a_decided_verdict_leaves_its_word() -> None:
    """2000 audits at random, each at the point where it is decided, and with random answers to all that was left."""
    chance, draw, words = random.Random(0), generator("cpu", "decided"), dict[str, int]()
    names = [question.name for question in CHECKS][1:]

    def part_of(shares: Tensor, kept: float) -> Tensor:
        return shares * (torch.rand(N, generator=draw) < kept).float()

    for _ in range(2000):
        clean = part_of(torch.ones(N), chance.choice([0.15, 0.6, 0.95]))
        plain = part_of(clean, chance.choice([0.0, 0.03, 0.5, 0.9]))
        usual = {"plain": plain} | ({"eot": part_of(clean, chance.choice([0.0, 0.3]))} if chance.random() < 0.5 else {})
        union = torch.stack([*usual.values()]).amin(dim=0)
        union = part_of(union, chance.choice([0.4, 0.8, 1.0]))
        failing = chance.choice([0.0, 0.1, 0.4])
        everything: dict[str, Status] = {name: "fail" if chance.random() < failing else "pass" for name in names}
        first = chance.sample(names, chance.randint(0, len(names)))
        so_far = judged({name: everything[name] for name in first}, usual, union, clean, 0.2)
        if not decided(*so_far):
            continue
        last = judged(everything, usual, part_of(union, chance.choice([0.5, 1.0])), clean, 0.2)
        assert verdict_of(*so_far).word == verdict_of(*last).word
        word = verdict_of(*last).word
        words[word] = words.get(word, 0) + 1
    assert set(words) == {"masked", "no robustness left", "nothing to audit"}
    assert min(words.values()) > 50


class Coins(Bench):
    """A candidate's first pixel is the probability that a draw is right on it."""

    coins: torch.Generator
    strength: dict[str, float]

    def share_right(self, candidates, key="select", *, draws=None) -> Tensor:
        p = candidates[:, 0, 0, 0]
        return (torch.rand(20, len(p), generator=self.coins) < p).float().mean(dim=0)

    def _made(self, attack, threat, against, name, rescaled) -> Run:
        candidates = self.images * self.strength.get(attack.label, 1.0)
        return Run(attack.label, self.share_right(candidates), self.share_right(candidates), candidates)


@pytest.mark.parametrize(("strength", "worth"), [(1.0, False), (0.4, True)])
def test_a_verdict_is_worth_asking_for_where_an_attack_is_stronger_and_not_where_many_were_made(
    strength, worth, subject_of, noisy, monkeypatch
) -> None:
    """Of fifteen candidates that are right in half of the draws, the lowest by 20 draws looks like 0.31."""
    subject, n = subject_of(noisy), 200
    monkeypatch.setattr(Coins, "coins", generator("cpu", "coins"), raising=False)
    monkeypatch.setattr(Coins, "strength", {"held-k7-40": strength}, raising=False)
    classifier, images = Classifier(subject.encoder, subject.head), torch.full((n, 3, 8, 8), 0.5)
    bench = Coins(classifier, images, torch.arange(n) % 10, threat=Threat("linf", 0.5), seed=0, chunk=n, draws=20)
    bench.clean = torch.ones(n)
    arsenal = Arsenal(subject, BUDGETS["quick"], True, 10)
    case = Case(bench, arsenal, BUDGETS["quick"], (), (), GradientFacts())
    evidence = [Check("surrogate", "", "masking", "fail", "")]
    assert not may_be_decided(case, evidence)
    for k in range(1, 16):
        bench.run(arsenal.reference(k=k))
    assert union(bench.inside()).mean() < 0.32
    assert may_be_decided(case, evidence) == worth
    assert not may_be_decided(case, []), "no check has failed"
