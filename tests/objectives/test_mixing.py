"""CutMix and Mixup against double loops over images and pixels, and the objective that classifies mixtures."""

import math

import pytest
import torch
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES, Objective, Step
from sslkuramoto.objectives.mixing import Mixture, mixture_for, outside_boxes
from sslkuramoto.randomness import borrowed_global, generator

COUNT, SIZE, CLASSES = 12, (10, 14), 5
OPTIONS = {"cutmix": 0.5, "cutmix_alpha": 1.0, "mixup": 0.5, "mixup_alpha": 0.8}


def images(count: int = COUNT) -> torch.Tensor:
    return torch.rand(count, 3, *SIZE, generator=generator("cpu", "images"))


def labels(count: int = COUNT) -> torch.Tensor:
    return torch.arange(count) % CLASSES


def drawn(seed: int = 0, count: int = COUNT, each: str = "image", **options: float) -> Mixture:
    with borrowed_global(generator("cpu", seed)):
        return mixture_for(count, SIZE, each=each, **{**OPTIONS, **options})


@pytest.mark.parametrize("each", ["batch", "image"])
@pytest.mark.parametrize("rule", ["cutmix", "mixup"])
def test_images_and_targets_are_those_of_a_loop_over_images_and_pixels(rule, each) -> None:
    mixture = drawn(each=each, **{"cutmix": float(rule == "cutmix"), "mixup": float(rule == "mixup")})
    assert len(mixture.weights) == (1 if each == "batch" else COUNT)
    x, y = images(), labels()
    mixed, target = mixture.images(x), mixture.targets(y, CLASSES)
    for i in range(COUNT):
        j = int(mixture.partner[i])
        weights = mixture.weights[0 if each == "batch" else i]
        wanted = torch.empty(3, *SIZE)
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                w = float(weights[row, column])
                wanted[:, row, column] = w * x[i, :, row, column] + (1 - w) * x[j, :, row, column]
        assert torch.allclose(mixed[i], wanted, atol=1e-6)
        share = sum(float(w) for w in weights.flatten()) / math.prod(SIZE)
        shares = [share * (k == y[i]) + (1 - share) * (k == y[j]) for k in range(CLASSES)]
        assert torch.allclose(target[i], torch.tensor([float(each) for each in shares]), atol=1e-6)


def test_targets_sum_to_one_and_partners_are_a_permutation() -> None:
    mixture = drawn()
    assert torch.allclose(mixture.targets(labels(), CLASSES).sum(1), torch.ones(COUNT))
    assert mixture.partner.sort().values.tolist() == list(range(COUNT))


def test_the_share_of_the_own_label_is_the_share_of_pixels_outside_of_the_box() -> None:
    mixture = drawn(cutmix=1.0, mixup=0.0)
    assert set(mixture.weights.unique().tolist()) == {0.0, 1.0}
    black, white = torch.zeros(COUNT, 3, *SIZE), torch.ones(COUNT, 3, *SIZE)
    weights = mixture.weights[:, None]
    outside = (weights * white + (1 - weights) * black).mean((1, 2, 3))
    assert torch.allclose(mixture.own_share, outside)


def test_a_box_is_that_of_a_loop_over_its_pixels_and_is_cut_off_at_the_edge() -> None:
    shares = torch.tensor([0.75, 0.0, 1.0, 0.35])
    centres = torch.tensor([[0.5, 0.5], [0.99, 0.0], [0.5, 0.5], [0.0, 0.95]])
    ours = outside_boxes(shares, centres, SIZE)
    for share, (down, right), weights in zip(shares.tolist(), centres.tolist(), ours, strict=True):
        half = [int(math.sqrt(1 - share) * length) // 2 for length in SIZE]
        middle = [int(place * length) for place, length in zip((down, right), SIZE, strict=True)]
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                inside = all(m - h <= place < m + h for place, m, h in zip((row, column), middle, half, strict=True))
                assert weights[row, column] == (not inside)
    assert ours[2].min() == 1, "a share of 1 leaves the image"
    assert ours[0].mean() == pytest.approx(1 - 4 * 6 / 140)


def test_rules_are_applied_as_often_as_stated_and_shares_are_drawn_from_their_beta() -> None:
    mixture = drawn(count=6000, cutmix=0.5, mixup=0.3, mixup_alpha=0.8)
    flat = mixture.weights.flatten(1)
    constant = flat.amin(1) == flat.amax(1)
    none = constant & (flat[:, 0] == 1)
    boxes = (~constant).float().mean()
    assert 0.4 < boxes < 0.5, "some boxes have no pixel"
    mixup = flat[constant & ~none, 0]
    assert abs(len(mixup) / 6000 - 0.3) < 0.02
    assert abs(mixup.mean() - 0.5) < 0.02
    assert abs(mixup.var() - 1 / (4 * (2 * 0.8 + 1))) < 0.01  # variance of Beta(a, a)


def test_the_same_generator_gives_the_same_mixture_and_another_does_not() -> None:
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(first.partner, again.partner)
    assert torch.equal(first.weights, again.weights)
    assert not torch.equal(first.weights, other.weights)


class Pixels(nn.Module):
    """An encoder whose features are the mean colours, and which keeps the images that it saw."""

    num_features = 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = images
        return images.mean((2, 3))


def built(encoder: nn.Module, **options: object) -> Objective:
    objective = OBJECTIVES.build("mixed_classification", options, encoder, CLASSES)
    with torch.no_grad():
        objective.head.weight.copy_(torch.arange(15.0).view(5, 3) / 10)
        objective.head.bias.zero_()
    return objective


def outcome(objective: Objective, encoder: nn.Module, seed: int = 0) -> Step:
    return objective(encoder, {"a": images()}, draw=generator("cpu", seed), labels=labels())


def test_the_loss_is_the_cross_entropy_of_the_mixed_images_against_the_smoothed_mixed_targets() -> None:
    encoder = Pixels()
    objective = built(encoder, cutmix=0.6, mixup=0.4, mix_each="image", label_smoothing=0.1)
    step = outcome(objective, encoder)
    with borrowed_global(generator("cpu", 0)):
        mixture = mixture_for(COUNT, SIZE, cutmix=0.6, cutmix_alpha=1.0, mixup=0.4, mixup_alpha=0.8, each="image")
    assert torch.equal(encoder.seen, mixture.images(images()))
    logits = objective.head(encoder.seen.mean((2, 3))).detach()
    target = mixture.targets(labels(), CLASSES)
    loss = right = 0.0
    for i in range(COUNT):
        right += float(target[i, logits[i].argmax()]) / COUNT
        for k in range(CLASSES):
            wanted = 0.9 * float(target[i, k]) + 0.1 / CLASSES
            loss -= wanted * float(logits[i].log_softmax(0)[k]) / COUNT
    assert step.loss.item() == pytest.approx(loss, rel=1e-5)
    assert step.metrics["accuracy"].item() == pytest.approx(right, rel=1e-5)


def test_without_mixing_it_is_classification_and_draws_nothing() -> None:
    encoder, draw = Pixels(), generator("cpu", 0)
    mixed = OBJECTIVES.build("mixed_classification", {"cutmix": 0.0, "label_smoothing": 0.2}, encoder, CLASSES)
    plain = OBJECTIVES.build("classification", {"label_smoothing": 0.2}, encoder, CLASSES)
    plain.load_state_dict(mixed.state_dict())
    before = draw.get_state()
    ours, theirs = (each(encoder, {"a": images()}, draw=draw, labels=labels()) for each in (mixed, plain))
    assert torch.allclose(ours.loss, theirs.loss)
    assert torch.equal(ours.metrics["accuracy"], theirs.metrics["accuracy"])
    assert torch.equal(draw.get_state(), before)


def test_another_generator_mixes_otherwise_and_the_global_one_is_left_alone() -> None:
    encoder = Pixels()
    objective = built(encoder, cutmix=1.0)
    before = torch.get_rng_state()
    losses = [outcome(objective, encoder, seed).loss.item() for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert losses[0] == losses[1] != losses[2]


def test_probabilities_above_one_together_and_a_missing_generator_are_one_line() -> None:
    encoder = Pixels()
    with pytest.raises(UserError, match=r"cutmix=0\.8, mixup=0\.3: together at most 1"):
        OBJECTIVES.build("mixed_classification", {"cutmix": 0.8, "mixup": 0.3}, encoder, CLASSES)
    objective = OBJECTIVES.build("mixed_classification", {}, encoder, CLASSES)
    with pytest.raises(UserError, match="draw=None: images are mixed at random"):
        objective(encoder, {"a": images()}, labels=labels())
