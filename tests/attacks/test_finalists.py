"""The worst of several candidates: found on common draws, settled on others, never led by one lucky score."""

from collections import Counter

import pytest
import torch

from sslkuramoto.attacks.battery import _keep_lower
from sslkuramoto.attacks.worst_candidate import AGAIN, FINALISTS, ONCE_MORE, SELECT, most_passes, worst_of
from sslkuramoto.evaluation.audit.runner import Run, union, worse_of
from sslkuramoto.randomness import generator

DRAWS = 20  # too few for a third score


def sets_of(count, images=4):
    """Return sets of images whose pixels say which set they are from."""
    return [torch.full((images, 3, 2, 2), number / 100) for number in range(count)]


def scores(table):
    """Return how often draws are right, by name of the noise, for sets that say which they are; and what was asked."""
    asked = []

    def share_right(candidates, purpose, draws):
        which = (candidates[:, 0, 0, 0] * 100).round().long()
        asked.append((purpose, which.tolist()))
        return table[purpose][which, torch.arange(len(which))]

    return share_right, asked


def test_a_lucky_candidate_loses_when_it_is_scored_again():
    shares = torch.tensor([[0.5], [0.2], [0.4]]).expand(3, 4)
    again = torch.tensor([[0.5], [0.9], [0.4]]).expand(3, 4)
    share_right, _ = scores({SELECT: shares, AGAIN: again})
    worst = worst_of(sets_of(3), share_right, stochastic=True, draws=DRAWS)
    assert worst.which.tolist() == [2, 2, 2, 2]
    torch.testing.assert_close(worst.images, sets_of(3)[2], rtol=0, atol=0)
    torch.testing.assert_close(worst.share, torch.full((4,), 0.4))
    assert worst_of(sets_of(3), share_right, stochastic=False, draws=DRAWS).which.tolist() == [1, 1, 1, 1]


def test_the_lowest_two_of_both_scores_are_scored_once_more():
    """Of three sets, 0.44, 0.40 and 0.42 over 100 and 30 draws, two go on; the last 70 draws turn their order."""
    first = torch.tensor([[0.44], [0.4], [0.42]])
    share_right, asked = scores({SELECT: first, AGAIN: first, ONCE_MORE: torch.tensor([[0.0], [0.5], [0.4]])})
    worst = worst_of(sets_of(3, 1), share_right, stochastic=True, draws=100)
    assert [(purpose, which) for purpose, which in asked if purpose != SELECT] == [
        *((AGAIN, [k]) for k in (0, 1, 2)),
        *((ONCE_MORE, [k]) for k in (1, 2)),
    ]
    assert worst.which.tolist() == [2]
    torch.testing.assert_close(worst.share, torch.tensor([(130 * 0.42 + 70 * 0.4) / 200]))


def test_both_scores_decide_together():
    share_right, _ = scores({SELECT: torch.tensor([[0.1], [0.6]]), AGAIN: torch.tensor([[0.5], [0.4]])})
    worst = worst_of(sets_of(2, 1), share_right, stochastic=True, draws=DRAWS)
    assert worst.which.tolist() == [0], "0.3 on all draws, though 0.5 of the last"
    torch.testing.assert_close(worst.share, torch.tensor([0.3]))


def test_of_equals_the_first_is_kept_with_noise_and_without():
    even = torch.full((3, 4), 0.5)
    lower_first_though_last_in_order = torch.tensor([[0.6], [0.5], [0.4]]).expand(3, 4)
    higher = torch.tensor([[0.4], [0.5], [0.6]]).expand(3, 4)
    for first, again in ((even, even), (lower_first_though_last_in_order, higher)):
        share_right, _ = scores({SELECT: first, AGAIN: again})
        assert worst_of(sets_of(3), share_right, stochastic=True, draws=DRAWS).which.tolist() == [0, 0, 0, 0]
    share_right, _ = scores({SELECT: even})
    assert worst_of(sets_of(3), share_right, stochastic=False, draws=DRAWS).which.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_a_battery_an_audit_and_the_union_choose_the_same_candidate_on_the_same_evidence(seed):
    """Of random tables with many ties, as shares of five draws have them."""
    draw, count, images = generator("cpu", "tables", seed), 2 + seed % 6, 50
    table = torch.randint(0, 6, (count, images), generator=draw) / 5
    sets, rows = sets_of(count, images), torch.arange(images)
    worst = worst_of(sets, lambda *_: pytest.fail("the evidence is given"), stochastic=False, draws=5, first=(table, 5))
    kept, lowest = sets[0].clone(), table[0].clone()
    for candidates, share in zip(sets[1:], table[1:], strict=True):
        _keep_lower(kept, lowest, rows, candidates, share)
    runs = [Run(f"{k}", share, share, found) for k, (share, found) in enumerate(zip(table, sets, strict=True))]
    audited, score = worse_of(runs)
    for images_of, share_of in ((kept, lowest), (audited, score), (audited, union(runs))):
        torch.testing.assert_close(images_of, worst.images, rtol=0, atol=0)
        torch.testing.assert_close(share_of, worst.share, rtol=0, atol=0)
    first_lowest = [min(range(count), key=lambda k, i=i: (table[k, i].item(), k)) for i in range(images)]
    assert worst.which.tolist() == first_lowest


@pytest.mark.parametrize(("count", "stochastic"), [(1, True), (3, True), (9, True), (9, False)])
def test_only_the_lowest_few_are_scored_again(count, stochastic):
    table = {name: torch.rand(count, 4, generator=generator("cpu", name)) for name in (SELECT, AGAIN)}
    share_right, asked = scores(table)
    worst_of(sets_of(count), share_right, stochastic=stochastic, draws=DRAWS)
    again = [which for purpose, which in asked if purpose == AGAIN]
    lowest = table[SELECT].argsort(dim=0)[: len(again)].sort(dim=0).values.tolist()
    assert again == lowest, "the lowest few of every image, not of all images together"
    assert len(again) == (min(FINALISTS, count) if stochastic and count > 1 else 0)


@pytest.mark.parametrize("draws", [5, 40, 100])
@pytest.mark.parametrize(("count", "stochastic"), [(1, True), (3, True), (9, True), (9, False)])
def test_the_passes_that_are_announced_are_those_of_sets_that_all_differ(count, stochastic, draws):
    made = []

    def share_right(candidates, purpose, more):
        made.append(more)
        return torch.rand(len(candidates), generator=generator("cpu", purpose, len(made)))

    worst_of(sets_of(count), share_right, stochastic=stochastic, draws=draws)
    assert sum(made) == most_passes(count, draws, stochastic=stochastic)


def test_equal_sets_are_scored_once():
    share_right, asked = scores({SELECT: torch.rand(2, 4), AGAIN: torch.rand(2, 4)})
    first, second = sets_of(2)
    assert worst_of([first, second, first.clone()], share_right, stochastic=False, draws=DRAWS).which.max() < 2
    assert [which for _, which in asked] == [[0] * 4, [1] * 4]


def test_the_choice_among_equals_in_truth_costs_little_of_what_luck_would_take():
    """Twenty candidates, all right in half of the draws: the lowest of 100 draws looks like 0.41."""
    draw = generator("cpu", "luck")

    def share_right(candidates, purpose, draws):
        return (torch.rand(draws, len(candidates), generator=draw) < 0.5).float().mean(dim=0)

    sets = [torch.rand(200, 3, 1, 1, generator=draw) for _ in range(20)]
    lowest = torch.stack([share_right(images, SELECT, 100) for images in sets]).amin(dim=0).mean()
    assert lowest < 0.42
    assert worst_of(sets, share_right, stochastic=True, draws=100).share.mean() > lowest + 0.01


@pytest.mark.parametrize(
    ("draws", "spent"),
    [(20, [(5, 20)]), (39, [(5, 39)]), (40, [(5, 20), (2, 20)]), (70, [(5, 21), (2, 49)]), (100, [(5, 30), (2, 70)])],
)
def test_the_further_draws_are_shared_out(draws, spent):
    asked = Counter()

    def share_right(candidates, purpose, number):
        asked[purpose, number] += 1
        return torch.full((len(candidates),), 0.5)

    worst_of(sets_of(9), share_right, stochastic=True, draws=draws)
    assert asked == {(SELECT, draws): 9} | {
        (purpose, number): count for purpose, (count, number) in zip((AGAIN, ONCE_MORE), spent, strict=False)
    }


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_halving_finds_candidates_about_as_low_as_scoring_all_finalists_on_all_draws(level):
    """Fifteen candidates with true shares around a level, standard deviation 0.05, scored on 20 draws first."""
    draw, n, count = generator("cpu", "halving", level), 4000, 15
    true = (level + 0.05 * torch.randn(count, n, generator=draw)).clamp(0, 1)

    def seen(p, draws):
        return torch.binomial(torch.full_like(p, draws), p, generator=draw) / draws

    sets, first = [p[:, None, None, None].expand(n, 3, 1, 1) for p in true], seen(true, 20)
    halved = worst_of(
        sets, lambda images, _, k: seen(images[:, 0, 0, 0], k), stochastic=True, draws=100, first=(first, 20)
    )
    finalists = first.argsort(dim=0, stable=True)[:FINALISTS]
    both = (20 * first.gather(0, finalists) + 100 * seen(true.gather(0, finalists), 100)) / 120
    whole = true.gather(0, finalists.gather(0, both.argmin(dim=0)[None]))
    assert -0.002 < (halved.images[:, 0, 0, 0].mean() - whole.mean()).item() < 0.006
