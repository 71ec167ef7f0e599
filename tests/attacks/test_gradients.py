"""Means over draws: against a loop over the draws, one image at a time."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sslkuramoto.attacks import Work
from sslkuramoto.attacks import gradients as room
from sslkuramoto.attacks.apgd import Apgd
from sslkuramoto.attacks.gradients import CUT, Best, Evaluated, connected, objective_of
from sslkuramoto.attacks.losses import per_image
from sslkuramoto.attacks.pgd import Pgd
from sslkuramoto.attacks.transfer import Transfer
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.threat import Threat

K = 5
HERE = Work(0, 0)


@pytest.fixture
def batch(digits):
    return digits["test"].images[:6] / 255, digits["test"].labels[:6].clone()


def held(classifier, batch, loss="log_margin", k=K, work=HERE, **kept):
    return objective_of(classifier, *batch, loss=loss, noise="held", k=k, work=work, key="test", **kept)


@pytest.mark.parametrize("mean", ["loss", "log_probability"])
@pytest.mark.parametrize("mode", ["random", "averaged"])
def test_held_noise_is_the_mean_over_the_fields_image_by_image(noisy, batch, mean, mode, monkeypatch):
    monkeypatch.setattr(room, "with_rows", lambda _, __, work: work(12))  # two draws a pass, the last pass one
    classifier = Classifier(*noisy, mode, draws=3)
    images, labels = batch
    with frozen(classifier):
        objective = held(classifier, batch, "ce", mean=mean)
        found = objective(images)
        assert objective.fields.shape[:2] == (K, 3 if mode == "averaged" else 1)
        for i in range(len(images)):
            image = images[i : i + 1].clone().requires_grad_()
            each = [[classifier(image, initial=start[None]) for start in field] for field in objective.fields]
            logits = torch.cat([torch.stack(starts).mean(0) for starts in each])
            each = logits if mean == "loss" else logits.log_softmax(1).mean(0, keepdim=True)
            value = per_image("ce", each, labels[i].expand(len(each))).mean()
            (gradient,) = torch.autograd.grad(value, image)
            torch.testing.assert_close(found.loss[i], value.detach())
            torch.testing.assert_close(found.gradient[i : i + 1], gradient, rtol=1e-4, atol=1e-6)
            assert found.right[i] == pytest.approx((logits.argmax(1) == labels[i]).float().mean().item())
            margin = per_image("log_margin", logits, labels[i].expand(K)).mean()
            torch.testing.assert_close(found.wrong_by[i], margin.detach())


@pytest.mark.parametrize("mean", ["loss", "log_probability"])
def test_held_noise_repeats_itself_and_fresh_noise_does_not(noisy, batch, mean):
    classifier = Classifier(*noisy)
    images, labels = batch
    for noise in ("held", "fresh"):
        objective = objective_of(
            classifier, images, labels, loss="margin", noise=noise, k=K, work=Work(0, 0), key="test", mean=mean
        )
        first, second = objective(images), objective(images)
        assert torch.equal(first.loss, second.loss) == (noise == "held")
        assert torch.equal(first.gradient, second.gradient) == (noise == "held")
        again = objective_of(
            classifier, images, labels, loss="margin", noise=noise, k=K, work=Work(0, 0), key="test", mean=mean
        )
        assert torch.equal(again(images).gradient, first.gradient), "named noise can be repeated"


def test_fresh_noise_means_what_the_network_means(noisy, batch):
    """Mean of 4000 fresh draws against the mean of 4000 of the classifier's own."""
    classifier, (images, labels) = Classifier(*noisy), batch
    objective = objective_of(classifier, images, labels, loss="ce", noise="fresh", k=4000, work=Work(0, 0), key="test")
    with torch.no_grad():
        own = classifier(images.repeat(4000, 1, 1, 1), draw=torch.Generator().manual_seed(1))
    wanted = per_image("ce", own, labels.repeat(4000)).view(4000, -1)
    found = objective(images, gradient=False).loss
    assert ((found - wanted.mean(0)).abs() < 5 * wanted.std(0) * (2 / 4000) ** 0.5).all()


def test_another_restart_or_chunk_holds_other_fields_and_more_fields_begin_with_the_same(noisy, batch):
    classifier = Classifier(*noisy)
    fields = held(classifier, batch).fields
    for work in (Work(0, 0, 1), Work(0, 1), Work(1, 0)):
        assert not torch.equal(held(classifier, batch, work=work).fields, fields)
    assert torch.equal(held(classifier, batch, k=2 * K).fields[:K], fields)


@pytest.mark.parametrize("mode", ["fixed", "fixed_per_image"])
def test_a_deterministic_reading_has_one_draw_and_rows_keep_their_states(noisy, batch, mode):
    images, labels = batch
    classifier = Classifier(*noisy, mode).at(torch.tensor([5, 9, 2, 40, 7, 1]))
    objective = held(classifier, batch)
    assert objective.k == 1
    whole, rows = objective(images), torch.tensor([4, 1])
    part = objective.of(rows)(images[rows])
    torch.testing.assert_close(part.loss, whole.loss[rows])
    torch.testing.assert_close(part.gradient, whole.gradient[rows])
    torch.testing.assert_close(whole.loss, per_image("log_margin", classifier(images), labels).detach())


def test_the_best_candidate_fools_first_and_errs_by_more_second():
    images = torch.zeros(3, 3, 1, 1)
    best = Best(images)

    def offer(value, right, wrong_by):
        taken = best.offer(images + value, Evaluated(torch.zeros(3), torch.tensor(right), torch.tensor(wrong_by)), rows)
        return taken.tolist()

    rows = torch.arange(3)
    assert offer(0.1, [1.0, 0.6, 0.2], [-3.0, -0.1, 0.2]) == [0, 1, 2]
    assert offer(0.2, [0.9, 0.5, 0.6], [-2.0, -0.5, 0.9]) == [0, 1]  # nearer; fools; does not fool any more
    assert offer(0.3, [0.9, 0.5, 0.0], [-2.5, -0.6, 0.3]) == [2]
    torch.testing.assert_close(best.candidates[:, 0, 0, 0], torch.tensor([0.2, 0.2, 0.3]))
    assert best.open_rows(stochastic=False).tolist() == [0]
    assert best.open_rows(stochastic=True).tolist() == [0, 1, 2]


class Detached(nn.Module):
    """A head whose logits carry no graph; as numbers (a median filter, a JPEG) or as votes."""

    def __init__(self, head, kind):
        super().__init__()
        self.head, self.kind = head, kind

    def forward(self, features):
        logits = self.head(features)
        if self.kind == "votes":
            return F.one_hot(logits.argmax(1), logits.shape[1]).float()
        if self.kind == "inference":
            with torch.inference_mode():
                return self.head(features.detach())
        return logits.detach()


@pytest.mark.parametrize("kind", ["detached", "votes", "inference"])
@pytest.mark.parametrize("mean", ["loss", "log_probability"])
def test_logits_without_a_graph_have_a_zero_gradient_and_it_is_noticed_once(noisy, batch, kind, mean):
    encoder, head = noisy
    classifier, noticed = Classifier(encoder, Detached(head, kind)), Counter()
    images, labels = batch
    with frozen(classifier):
        objective = objective_of(
            classifier, images, labels, loss="margin", noise="held", k=K, work=HERE, key="test", mean=mean,
            noticed=noticed,
        )  # fmt: skip
        found = objective(images)
        assert torch.equal(found.gradient, torch.zeros_like(images))
        assert torch.equal(objective.through(lambda x: 2 * x, images), torch.zeros_like(images))
        assert torch.equal(objective(images, gradient=False).loss, found.loss)
    assert noticed == {CUT: 1}


@pytest.mark.parametrize("name", ["pgd", "transfer", "apgd"])
def test_an_attack_says_that_no_gradient_reaches_the_pixels(cnn, batch, name):
    encoder, head = cnn
    network = (encoder, Detached(head, "detached"))
    images, labels = batch
    if name == "transfer":
        attack = Transfer(iterations=2)
        attack.source = Classifier(*network)
    else:
        attack = Pgd(iterations=2) if name == "pgd" else Apgd(iterations=2)
    classifier, threat = Classifier(*network), Threat("linf", 0.1)
    with frozen(classifier):
        found = attack(classifier, images, labels, threat=threat, work=HERE)
    threat.check(found, images, name)
    if name != "apgd":  # of the attacks of one's own only this one does not tell yet
        (line,) = attack.findings(attack.noticed)
        assert line.startswith(f"{attack.label}: no gradient reaches the pixels")
        assert attack.findings({}) == []


def test_a_foreign_attack_meets_a_zero_gradient_and_the_network_is_left_as_it_was(cnn, batch):
    encoder, head = cnn
    classifier, (images, _) = Classifier(encoder, Detached(head, "detached")), batch
    leaf = images.clone().requires_grad_()
    with connected(classifier):
        logits = classifier(leaf)
        (gradient,) = torch.autograd.grad(logits.sum(), leaf)
        assert torch.equal(gradient, torch.zeros_like(images))
        assert torch.equal(logits, classifier(images))
        assert not classifier(images).requires_grad
    assert not classifier(leaf).requires_grad
    plain = Classifier(encoder, head)
    with connected(plain):
        inside = torch.autograd.grad(plain(leaf).sum(), leaf)[0]
    assert torch.equal(inside, torch.autograd.grad(plain(leaf).sum(), leaf)[0])
