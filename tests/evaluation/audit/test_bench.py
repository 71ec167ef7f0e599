"""The bench: attacks run once, are scored on the audited network, and what lies in the ball joins the union."""

import pytest
import torch
from torch import Tensor

from sslkuramoto.attacks import Attack
from sslkuramoto.attacks.worst_candidate import AGAIN, ONCE_MORE
from sslkuramoto.classifier import Classifier
from sslkuramoto.data import batches, in_order
from sslkuramoto.evaluation.audit.runner import Bench, Run, union
from sslkuramoto.threat import Threat

N = 40


class Shift(Attack):
    """Moves every pixel of every image up or down by as much as it may."""

    restarts = 1

    def __init__(self, sign: int) -> None:
        self.sign, self.calls = sign, 0
        self.label = f"shift {sign:+d}"
        self.options = {"sign": sign}

    def __call__(self, classifier, images, labels, *, threat, work):
        self.calls += 1
        return threat.project(images + self.sign * threat.eps, images)


@pytest.fixture
def bench_of(digits):
    batch = next(iter(batches(digits["test"], in_order(N, N), device="cpu")))

    def build(classifier: Classifier, eps: float = 0.3) -> Bench:
        return Bench(classifier, batch.inputs, batch.targets, threat=Threat("linf", eps), seed=0, chunk=16, draws=20)

    return build


def test_an_attack_is_run_once_and_found_again(cnn, bench_of) -> None:
    bench, attack = bench_of(Classifier(*cnn)), Shift(1)
    first = bench.run(attack)
    calls = attack.calls
    assert bench.run(attack) is first
    assert attack.calls == calls
    assert bench.run(attack, threat=Threat("linf", 0.1)) is not first


def test_the_union_takes_the_worst_candidate_of_each_image(cnn, bench_of) -> None:
    bench = bench_of(Classifier(*cnn))
    runs = [bench.run(Shift(1)), bench.run(Shift(-1))]
    tightest = bench.tightest(20)
    right = bench.share_right(tightest.images)
    assert torch.equal(right, union(runs).minimum(bench.clean))
    assert 0 < int((right == 0).sum()) < N
    for row, by in enumerate(tightest.broken_by):
        assert (by is None) == bool(right[row] == 1)
    assert {by for by in tightest.broken_by if by} <= {"clean", "shift +1", "shift -1"}


def test_the_share_right_over_all_draws_of_the_last_two_decides(noisy, bench_of) -> None:
    """Of 60 further draws 20 go to all three candidates of an image and 40 to the lowest two."""
    bench = bench_of(Classifier(*noisy), eps=0.05)
    sets = [bench.images, *(bench.run(Shift(sign)).candidates for sign in (1, -1))]

    def right(*keys: tuple[str, int]) -> Tensor:
        draws = [torch.cat([bench.predictions(images, key, draws=k) for key, k in keys]) for images in sets]
        return torch.stack([(each == bench.labels).double().mean(dim=0) for each in draws])

    both, every = right(("select", 20), (AGAIN, 20)), right(("select", 20), (AGAIN, 20), (ONCE_MORE, 40))
    last = every.scatter(0, both.argsort(dim=0, stable=True)[2:], 2.0)
    scored = torch.stack([(bench.tightest(60).images == images).flatten(1).all(dim=1) for images in sets])
    assert torch.equal(scored.double().argmax(dim=0), last.argmin(dim=0))
    assert len({*last.argmin(dim=0).tolist()}) == 3, "each candidate is the worst of some image"
    assert not torch.equal(last.argmin(dim=0), both.argmin(dim=0)), "the last draws change some choices"


def test_a_bench_for_some_images_scores_and_attacks_them_alone(noisy, bench_of) -> None:
    bench = bench_of(Classifier(*noisy))
    bench.run(Shift(1))
    part = bench.only(torch.tensor([3, 30]))
    assert part.n == 2
    assert not part.runs
    assert torch.equal(part.images, bench.images[[3, 30]])
    assert len(part.run(Shift(-1)).candidates) == len(part.clean) == 2
    assert len(bench.runs) == 1
    assert len(bench.clean) == N


def test_what_lies_outside_the_ball_does_not_count(cnn, bench_of) -> None:
    bench = bench_of(Classifier(*cnn), eps=0.01)
    far = bench.run(Shift(-1), threat=Threat("linf", 1.0))
    assert far.accuracy < bench.clean.mean()
    assert torch.equal(bench.tightest(20).images, bench.images)


def test_what_is_found_elsewhere_is_scored_on_the_audited_network(noisy, bench_of) -> None:
    bench = bench_of(Classifier(*noisy))
    twin = Classifier(*noisy, "fixed")
    run = bench.run(Shift(1), against=twin, name="a fixed version")
    assert run.label == "shift +1 on a fixed version"
    assert set(run.there.tolist()) <= {0.0, 1.0}
    assert torch.equal(run.right, bench.share_right(run.candidates))
    assert not torch.equal(run.right, run.there)


def test_of_an_attack_on_another_network_every_candidate_is_scored(noisy, bench_of) -> None:
    """What does not fool the fixed version may fool the network that draws; once the image was scored in its place."""
    bench = bench_of(Classifier(*noisy), eps=0.05)
    run = bench.run(Shift(1), against=Classifier(*noisy, "fixed"), name="a fixed version")
    moved = bench.threat.project(bench.images + bench.threat.eps, bench.images)
    assert torch.equal(run.candidates, moved)
    clean = bench.run(Shift(1), threat=Threat("linf", 0.0), against=Classifier(*noisy, "fixed"), name="a fixed version")
    assert (run.there > 0.5).sum() > N / 2, "most of them do not fool it"
    assert bool((run.there <= clean.there).all()), "nor do they mend an answer that was wrong"
    assert not torch.equal(bench.run(Shift(1)).candidates, moved), "of the network itself those that lower the share"


def test_the_smallest_of_many_scores_is_not_the_score_of_a_comparison(noisy, bench_of, monkeypatch) -> None:
    """Six attacks of equal strength: the minimum of their scores is far below it, new draws are not."""
    bench = bench_of(Classifier(*noisy))
    scores = (torch.rand(6, 20, N) < 0.5).float().mean(dim=1)
    runs = [Run(str(i), score, score, bench.images + i) for i, score in enumerate(scores)]
    asked = []

    def share_right(images: Tensor, key: str = "select") -> Tensor:
        asked.append((images, key))
        return (torch.rand(20, N) < 0.5).float().mean(dim=0)

    monkeypatch.setattr(bench, "share_right", share_right)
    assert bench.looked(runs).mean().item() == pytest.approx(0.5, abs=0.08)
    assert union(runs).mean() < 0.4
    ((images, key),) = asked
    assert key == "look"
    which = (images - bench.images).flatten(1).mean(dim=1).round().long()
    assert torch.equal(which, scores.argmin(dim=0))


def test_a_comparison_of_a_deterministic_network_needs_no_other_draws(cnn, bench_of) -> None:
    bench = bench_of(Classifier(*cnn))
    runs = [bench.run(Shift(1)), bench.run(Shift(-1))]
    assert torch.equal(bench.looked(runs), union(runs))


def test_equal_images_score_equally_and_a_lucky_score_is_not_final(noisy, bench_of) -> None:
    bench = bench_of(Classifier(*noisy))
    assert torch.equal(bench.share_right(bench.images), bench.clean)
    again = bench.predictions(bench.images, "select again", draws=40)
    assert again.shape == (40, N)
    assert not torch.equal(again[:20], bench.predictions(bench.images, "select"))


def test_an_image_that_most_draws_get_wrong_is_still_attacked_but_broken_by_none(noisy, bench_of) -> None:
    encoder, head = noisy
    encoder.noise = 4.0
    bench = bench_of(Classifier(encoder, head))
    loose = (bench.clean > 0.2) & (bench.clean < 0.4)
    assert loose.any()
    run = bench.run(Shift(1))
    moved = (run.candidates != bench.images).flatten(1).any(dim=1)
    assert (moved & loose).any(), "draws that are right still count in the mean"
    assert (run.right[loose].mean() < bench.clean[loose].mean()).item()
    tightest = bench.tightest(20)
    taken = (tightest.images != bench.images).flatten(1).any(dim=1)
    assert (taken & loose).any()
    for row in loose.nonzero().squeeze(1).tolist():
        assert tightest.broken_by[row] in ("clean", None)


def test_two_calls_are_compared_on_every_image(cnn, bench_of) -> None:
    encoder, head = cnn
    bench = bench_of(Classifier(encoder, head))
    assert torch.equal(bench.differences_of_two_calls(), torch.zeros(N))
    encoder.calls = 0
    encoder.register_forward_hook(
        lambda _, __, out: out._replace(pooled=out.pooled + 0.1) if encoder.calls == 6 else None  # of the last chunk
    )
    differences = bench.differences_of_two_calls()
    assert (differences > 0).nonzero().squeeze(1).tolist() == list(range(32, N))
