"""Square attack on means of draws: on a deterministic network it is pyautoattack's, on a noisy one less fooled."""

import pytest
import torch
from pyautoattack.square import SquareAttack
from small_attacks import said
from torch import nn

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.square import SquareEot
from sslkuramoto.classifier import Classifier, frozen, predictions_over_draws
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global
from sslkuramoto.threat import Threat

LINF, L2 = Threat("linf", 0.1), Threat("l2", 0.8)


def first(digits, n):
    return digits["test"].images[:n] / 255, digits["test"].labels[:n].clone()


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_on_a_deterministic_network_it_is_the_search_of_pyautoattack(cnn, digits, threat):
    images, labels = first(digits, 12)
    classifier, work = Classifier(*cnn), Work(0, 0)
    right = classifier(images).argmax(1) == labels  # theirs asks for those only
    images, labels = images[right], labels[right]
    theirs = SquareAttack(
        classifier, norm={"linf": "Linf", "l2": "L2"}[threat.norm], n_queries=40, eps=threat.eps, resc_schedule=False
    )
    with frozen(classifier):
        theirs.init_hyperparam(images)
        with torch.no_grad(), borrowed_global(work.generator("cpu", "square", "search")):
            _, expected = theirs.attack_single_run(images.clone(), labels)
        found = SquareEot(queries=40)(classifier, images, labels, threat=threat, work=work)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    threat.check(found, images, "square")
    fooled = classifier(found).argmax(1) != labels
    assert 0 < fooled.sum() < len(labels), "the example must hold both outcomes"


def test_the_mean_of_more_draws_is_worth_its_price(noisy, digits):
    noisy[0].noise = 3.0
    images, labels = first(digits, 48)
    classifier = Classifier(*noisy)
    shares = {}
    with frozen(classifier):
        for draws in (1, 16):
            found = SquareEot(queries=40, draws=draws)(classifier, images, labels, threat=LINF, work=Work(0, 0))
            right = predictions_over_draws(classifier, [found], 100, "score") == labels
            shares[draws] = float(right.float().mean())
    assert shares[16] < shares[1] - 0.01


@pytest.mark.parametrize("mode", ["random", "fixed_per_image"])
def test_queries_are_counted_and_ask_each_image_with_its_own_state(noisy, digits, mode):
    images, _ = first(digits, 6)
    index = torch.tensor([3, 14, 15, 92, 65, 35])
    classifier = Classifier(*noisy, mode).at(index)
    labels = classifier(images).argmax(1)
    attack = SquareEot(queries=60, draws=2)
    assert attack.queries_only
    with counted(classifier.encoder) as count, frozen(classifier):
        found = attack(classifier, images, labels, threat=LINF, work=Work(0, 0))
    passes = said(attack, classifier)
    assert count.backward == passes.backward == 0
    assert 6 < count.forward <= 6 * passes.forward
    if mode == "random":
        return
    fooled = classifier(found).argmax(1) != labels
    assert 0 < fooled.sum() < 6, "the example must hold both outcomes"
    assert count.forward < 6 * passes.forward, "an image whose own state is fooled is asked no more"


def test_a_tie_that_the_label_wins_is_no_success(cnn, digits):
    class Rounded(nn.Module):
        """Logits that often tie; the label 0 wins every tie."""

        def forward(self, pooled):
            return torch.zeros(len(pooled), 3)

    images, _ = first(digits, 4)
    classifier = Classifier(cnn[0], Rounded())
    attack = SquareEot(queries=5)
    with counted(classifier.encoder) as count:
        attack(classifier, images, torch.zeros(4, dtype=torch.long), threat=LINF, work=Work(0, 0))
    assert count.forward == 4 * (5 + 1), "the search continues to the end"
    with counted(classifier.encoder) as count:
        attack(classifier, images, torch.ones(4, dtype=torch.long), threat=LINF, work=Work(0, 0))
    assert count.forward == 4, "another label is wrong at once"


def test_bad_options_are_one_line(noisy, digits):
    with pytest.raises(UserError, match=r"p_init=0.0: must be in \(0, 1\]"):
        SquareEot(p_init=0.0)
    with pytest.raises(UserError, match="queries=0: must be >= 1"):
        SquareEot(queries=0)
    images, labels = first(digits, 2)
    with pytest.raises(UserError, match="at least 5 pixels per side"):
        SquareEot()(Classifier(*noisy), images[..., :4, :4], labels, threat=L2, work=Work(0, 0))
