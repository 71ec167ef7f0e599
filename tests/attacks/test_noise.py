"""Random signs and Gaussian noise: what they look like, and that the best of several is kept."""

import pytest
import torch
from small_attacks import said

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.losses import wrong_by
from sslkuramoto.attacks.noise import Gaussian, RandomSign
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.errors import UserError
from sslkuramoto.threat import Threat, lengths

LINF, L2 = Threat("linf", 0.1), Threat("l2", 0.8)
NOISES = {"random_sign": RandomSign, "gaussian": Gaussian}


def attacked(attack, network, threat, images, labels, mode="random"):
    classifier = Classifier(*network, mode)
    with frozen(classifier):
        return attack(classifier, images, labels, threat=threat, work=Work(0, 0))


def grey(n):
    return torch.full((n, 3, 8, 8), 0.5), torch.zeros(n, dtype=torch.long)


def test_random_signs_move_every_pixel_by_the_radius_up_or_down(noisy):
    images, labels = grey(20)
    moved = attacked(RandomSign(), noisy, LINF, images, labels) - images
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 0.1))
    assert 0.4 < (moved > 0).float().mean() < 0.6
    moved = attacked(RandomSign(), noisy, L2, images, labels) - images
    torch.testing.assert_close(lengths(moved), torch.full((20,), 0.8))
    assert moved.abs().std() < 1e-6


def test_gaussian_noise_has_the_wanted_width_and_is_cut_to_the_ball(noisy):
    images, labels = grey(40)
    free = attacked(Gaussian(sigma=0.05), noisy, Threat("linf", 0.5), images, labels) - images
    assert float(free.std()) == pytest.approx(0.05, rel=0.03)
    assert abs(float(free.mean())) < 0.003
    cut = attacked(Gaussian(), noisy, LINF, images, labels) - images
    assert float((cut.abs() > 0.0999).float().mean()) == pytest.approx(0.317, abs=0.03)  # beyond one deviation
    long = attacked(Gaussian(), noisy, L2, images, labels) - images
    assert 0.7 < float(lengths(long).mean()) <= 0.8 + 1e-5


@pytest.mark.parametrize("name", NOISES)
def test_the_best_of_several_samples_is_kept(cnn, digits, name):
    images, labels = digits["test"].images[:40] / 255, digits["test"].labels[:40].clone()
    classifier = Classifier(*cnn)
    margins = [
        wrong_by(classifier(attacked(NOISES[name](samples=n), cnn, LINF, images, labels)), labels).detach()
        for n in (1, 8)
    ]
    assert ((margins[1] >= margins[0] - 1e-5) | (margins[1] > 0)).all()
    assert (margins[1] > margins[0] + 0.01).float().mean() > 0.5


@pytest.mark.parametrize("name", NOISES)
def test_no_gradient_is_asked_for_and_the_passes_are_counted(noisy, digits, name):
    images = digits["test"].images[:5] / 255
    attack = NOISES[name](samples=3, draws=4)
    assert attack.queries_only
    for mode, draws in (("random", 4), ("fixed", 1)):
        classifier = Classifier(*noisy, mode)
        labels = classifier(images).argmax(1)
        with counted(classifier.encoder) as count, frozen(classifier):
            attack(classifier, images, labels, threat=Threat("linf", 1e-6), work=Work(0, 0))
        passes = said(attack, classifier)
        assert passes == (3 * draws, 0)
        assert count.backward == 0
        assert count.forward <= 5 * passes.forward


def test_bad_options_are_one_line():
    with pytest.raises(UserError, match=r"sigma=-1\.0: must be > 0"):
        Gaussian(sigma=-1.0)
    with pytest.raises(UserError, match="samples=0"):
        RandomSign(samples=0)
