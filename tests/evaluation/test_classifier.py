import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sslkuramoto.classifier as module
from sslkuramoto.classifier import (
    REORDERED,
    Classifier,
    check_deterministic,
    check_finite,
    differences_of_two_calls,
    frozen,
    not_deterministic,
    predictions_over_draws,
)
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.clean import Clean
from sslkuramoto.randomness import borrowed_global, generator

IMAGES = torch.rand(6, 3, 8, 8, generator=generator("cpu", "images"))
INDEX = torch.tensor([3, 14, 15, 92, 65, 35])
ROWS = 8  # in place of SHARED_ROWS: as many ways to divide draws among passes, of smaller batches
MODES = ("random", "fixed", "fixed_per_image", "averaged")


@pytest.fixture(params=["cnn", "winfree"])
def drawing(request):
    """A classifier that draws: noise in a CNN, or the initial phases of a Winfree network."""
    if request.param == "cnn":
        return request.getfixturevalue("noisy")
    with borrowed_global(generator("cpu", "winfree")):
        encoder = ENCODERS.build("winfree", {**ENCODERS.small("winfree"), "initial_scale": 1.0}).eval()
        return encoder, nn.Linear(encoder.num_features, 10)


def dropping(network, share=0.2):
    """Let an encoder drop features by the global generator, which its ``stochastic`` does not tell."""
    encoder, head = network
    encoder.register_forward_hook(lambda _, __, out: out._replace(pooled=F.dropout(out.pooled, share)))
    return encoder, head


def counting(network, by=1e-6):
    """Let an encoder add up how often it was called."""
    encoder, head = network
    encoder.register_forward_hook(lambda _, __, out: out._replace(pooled=out.pooled * (1 + by * encoder.calls)))
    return encoder, head


def test_random_mode_draws_anew_at_each_forward_and_repeats_after_restart(drawing):
    classifier = Classifier(*drawing, "random", seed=1)
    first, second = classifier(IMAGES), classifier(IMAGES)
    assert classifier.stochastic
    assert not torch.allclose(first, second)
    classifier.restart()
    assert torch.equal(classifier(IMAGES), first)


def test_fixed_mode_gives_an_image_the_same_logits_wherever_it_stands(drawing):
    classifier = Classifier(*drawing, "fixed", seed=1)
    whole = classifier(IMAGES)
    assert not classifier.stochastic
    assert torch.equal(whole, classifier(IMAGES))
    torch.testing.assert_close(classifier(IMAGES[4:5]), whole[4:5])
    assert not torch.allclose(whole, Classifier(*drawing, "fixed", seed=2)(IMAGES))


def test_one_state_an_image_is_the_same_in_every_batch(drawing):
    classifier = Classifier(*drawing, "fixed_per_image", seed=1)
    whole = classifier.at(INDEX)(IMAGES)
    assert not classifier.stochastic
    assert torch.equal(whole, classifier.at(INDEX)(IMAGES))
    for rows in ([4], [5, 0], [3, 1, 2], list(range(6))):
        torch.testing.assert_close(classifier.at(INDEX[rows])(IMAGES[rows]), whole[rows])
    # two images that never meet in one batch, and the same image under two numbers
    pairs = zip(INDEX.split(2), IMAGES.split(2), strict=True)
    torch.testing.assert_close(torch.cat([classifier.at(index)(images) for index, images in pairs]), whole)
    twins = classifier.at(torch.tensor([3, 4]))(IMAGES[:1].repeat(2, 1, 1, 1))
    assert not torch.allclose(twins[0], twins[1])
    assert not torch.allclose(whole, Classifier(*drawing, "fixed_per_image", seed=2).at(INDEX)(IMAGES))


@pytest.mark.parametrize("warm", [True, False], ids=["after a forward", "before any"])
def test_a_view_of_some_rows_keeps_their_states(noisy, warm):
    classifier = Classifier(*noisy, "fixed_per_image", seed=1)
    expected = classifier.at(INDEX)(IMAGES)
    bound = classifier.at(INDEX)
    if warm:
        bound(IMAGES)
    mask = torch.tensor([True, False, True, True, False, True])
    for rows in (mask, torch.tensor([5, 0, 2]), torch.tensor([1])):
        torch.testing.assert_close(bound.of(rows)(IMAGES[rows]), expected[rows])
    twice = bound.of(mask).of(torch.tensor([3, 0]))
    torch.testing.assert_close(twice(IMAGES[[5, 0]]), expected[[5, 0]])
    torch.testing.assert_close(bound(IMAGES), expected)


def test_a_view_shares_the_network_and_its_stream(noisy):
    classifier = Classifier(*noisy, "fixed_per_image")
    bound = classifier.at(INDEX)
    assert bound.bound
    assert not classifier.bound
    assert bound.encoder is classifier.encoder
    for mode in ("random", "fixed", "averaged"):
        other = Classifier(*noisy, mode)
        assert other.at(INDEX) is other
        assert other.of(torch.tensor([1])) is other
        assert not other.bound
    with frozen(bound):
        assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_a_classifier_with_one_state_per_image_must_know_its_images(noisy):
    classifier = Classifier(*noisy, "fixed_per_image")
    with pytest.raises(AssertionError, match="the images that these states belong to were not given"):
        classifier(IMAGES)
    with pytest.raises(AssertionError, match="4 images for 6 states"):
        classifier.at(INDEX)(IMAGES[:4])


def test_scores_of_one_state_an_image_follow_the_index(noisy):
    classifier = Classifier(*noisy, "fixed_per_image", seed=1)
    expected = classifier.at(INDEX)(IMAGES).argmax(dim=1)
    for size in (6, 4, 1):
        chunks = zip(IMAGES.split(size), INDEX.split(size), strict=True)
        assert torch.equal(predictions_over_draws(classifier, chunks, 20, "score"), expected[None])


def test_an_explicit_start_for_each_image_overrides_the_mode(drawing):
    classifier = Classifier(*drawing, "random")
    start = drawing[0].sample_initial(IMAGES, generator("cpu", "start"))
    expected = drawing[1](drawing[0](IMAGES, initial=start).pooled)
    assert torch.equal(classifier(IMAGES, initial=start), expected)
    torch.testing.assert_close(classifier(IMAGES[2:3], initial=start[2:3]), expected[2:3])


def test_averaged_mode_is_the_mean_of_its_draws(drawing):
    encoder, head = drawing
    fresh = Classifier(encoder, head, "averaged", draws=3)
    draw = generator("cpu", "own")
    expected = torch.stack([head(encoder(IMAGES, draw=draw).pooled) for _ in range(3)]).mean(0)
    torch.testing.assert_close(fresh(IMAGES, draw=generator("cpu", "own")), expected)
    assert fresh.stochastic
    held = Classifier(encoder, head, "averaged", draws=3, held=True)
    starts = [held.field(IMAGES, k) for k in range(3)]
    expected = torch.stack([head(encoder(IMAGES, initial=start).pooled) for start in starts]).mean(0)
    assert not held.stochastic
    torch.testing.assert_close(held(IMAGES), expected)
    torch.testing.assert_close(held(IMAGES), held(IMAGES))


def test_all_modes_of_a_deterministic_encoder_are_equal(cnn):
    logits = [Classifier(*cnn, mode)(IMAGES) for mode in MODES]
    assert all(torch.equal(logits[0], other) for other in logits[1:])
    assert not any(Classifier(*cnn, mode).stochastic for mode in MODES)


def test_the_global_generator_is_not_read(noisy):
    before = torch.get_rng_state()
    for mode in MODES:
        Classifier(*noisy, mode).at(torch.arange(6))(IMAGES)
    assert torch.equal(before, torch.get_rng_state())


def test_equal_images_score_equally_under_the_same_key(noisy):
    classifier = Classifier(*noisy, "random")
    first = predictions_over_draws(classifier, IMAGES.split(4), 20, "score")
    assert first.shape == (20, 6)
    classifier(IMAGES)
    assert torch.equal(first, predictions_over_draws(classifier, IMAGES.split(4), 20, "score"))
    assert not torch.equal(first, predictions_over_draws(classifier, IMAGES.split(4), 20, "other"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("images", "shared", "count"),
    [
        *((1, True, 6), (1, False, 2)),  # fewer draws than a pass holds
        *((3, True, 2 * (ROWS // 3) + 1), (3, False, 2)),  # two whole passes and a part of one
        *((ROWS // 2 + 1, True, 3), (ROWS // 2 + 1, False, 2)),  # no two draws share a pass
        (ROWS + 1, True, 2),
    ],
)
def test_draws_that_share_a_pass_are_those_of_a_call_each(drawing, mode, images, shared, count, monkeypatch):
    monkeypatch.setattr(module, "SHARED_ROWS", ROWS)
    encoder, head = drawing
    encoder.draws_share_passes = shared
    classifier = Classifier(encoder, head, mode, draws=3).at(torch.arange(images))
    batch, calls = torch.rand(images, 3, 8, 8), []
    with torch.no_grad():
        alone = torch.stack([classifier(batch, draw=generator("cpu", "draw", k)) for k in range(count)])
        with encoder.register_forward_pre_hook(lambda _, given: calls.append(len(given[0]))):
            together = classifier.over_draws(batch, [generator("cpu", "draw", k) for k in range(count)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    if classifier.stochastic:
        assert not torch.allclose(alone[0], alone[1])
    wanted = count * (3 if mode == "averaged" else 1)
    assert sum(calls) == wanted * images, "no draw is left out or made twice"
    if shared and classifier.stochastic and 2 * images <= ROWS:
        assert len(calls) == -(-wanted // (ROWS // images))
    else:
        assert len(calls) == wanted
        assert torch.equal(together, alone)


def test_a_network_that_does_more_with_a_generator_than_draw_its_start_is_called_once_a_draw(noisy):
    """Dropout drawn from ``draw`` would be lost if the start alone were given."""

    class Dropping(type(noisy[0])):
        def forward(self, images, *, initial=None, draw=None, trace=False):
            found = super().forward(images, initial=initial, draw=draw, trace=trace)
            return found if draw is None else found._replace(pooled=found.pooled * torch.rand((), generator=draw))

    noisy[0].__class__ = Dropping
    classifier = Classifier(*noisy)
    alone = torch.stack([classifier(IMAGES, draw=generator("cpu", k)) for k in range(3)])
    assert torch.equal(classifier.over_draws(IMAGES, [generator("cpu", k) for k in range(3)]), alone)


def test_a_stochastic_classifier_is_never_scored_by_few_draws(noisy, cnn):
    with pytest.raises(UserError, match="at least 20"):
        predictions_over_draws(Classifier(*noisy, "random"), [IMAGES], 1, "score")
    with pytest.raises(UserError, match="at least 20"):
        predictions_over_draws(Classifier(*noisy, "averaged"), [IMAGES], 19, "score")
    assert predictions_over_draws(Classifier(*noisy, "fixed"), [IMAGES], 20, "score").shape == (1, 6)
    assert predictions_over_draws(Classifier(*cnn), [IMAGES], 20, "score").shape == (1, 6)


def test_frozen_gives_the_flags_back(cnn):
    encoder, head = cnn
    encoder.first.bias.requires_grad_(False)
    classifier = Classifier(encoder, head)
    with frozen(classifier):
        assert not any(parameter.requires_grad for parameter in classifier.parameters())
    assert [p.requires_grad for p in encoder.parameters()] == [True, False, True, True]


def test_a_run_without_a_classifier_says_what_to_do(cnn, subject_of):
    with pytest.raises(UserError, match=r"clean needs a classifier: .*run holds an encoder only; finetune it first"):
        Clean()(subject_of((cnn[0], None)))


@pytest.mark.parametrize("broken", [dropping, counting])
def test_a_network_that_wrongly_says_it_is_deterministic_is_refused(cnn, broken):
    with pytest.raises(
        UserError,
        match=r"^the encoder counts as deterministic \(stochastic = False\), but two calls on the same images differ: "
        r"on [1-6] of 6 images, by up to .* of the largest logit$",
    ):
        check_deterministic(Classifier(*broken(cnn)), IMAGES)


def test_a_fixed_start_that_does_not_fix_the_network_is_refused(noisy):
    check_deterministic(Classifier(*noisy, "fixed"), IMAGES)
    classifier = Classifier(*dropping(noisy), "fixed")
    with pytest.raises(UserError, match="starts from fixed oscillators, but two calls on the same images differ"):
        check_deterministic(classifier, IMAGES)


def test_two_calls_of_every_mode_that_holds_its_draws_agree_and_leave_the_global_generator_alone(noisy, cnn):
    before = torch.get_rng_state()
    for mode in ("fixed", "fixed_per_image"):
        check_deterministic(Classifier(*noisy, mode).at(INDEX), IMAGES)
    check_deterministic(Classifier(*noisy, "averaged", draws=2, held=True), IMAGES)
    check_deterministic(Classifier(*cnn), IMAGES)
    assert differences_of_two_calls(Classifier(*cnn), IMAGES).tolist() == [0.0] * 6
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(UserError):
        check_deterministic(Classifier(*dropping(cnn)), IMAGES)
    assert torch.equal(before, torch.get_rng_state())


def test_a_stochastic_network_is_not_called(noisy):
    check_deterministic(Classifier(*noisy, "random"), IMAGES)
    assert noisy[0].calls == 0


def test_rounding_in_another_order_is_no_draw_but_dropped_features_are(cnn):
    classifier = Classifier(*cnn)
    rounding = torch.tensor([0.0, 1e-7, 1e-6, 1e-6, 10 * REORDERED])  # oscillators magnify it on one image
    assert not_deterministic(classifier, rounding, reordered=True) is None
    assert "on 4 of 5 images" in str(not_deterministic(classifier, rounding, reordered=False))
    dropped = differences_of_two_calls(Classifier(*dropping(cnn)), IMAGES)
    assert not_deterministic(classifier, dropped, reordered=True) is not None


def test_calls_that_differ_by_nan_differ_and_equal_nan_do_not(cnn):
    encoder, head = cnn
    classifier = Classifier(encoder, head)
    encoder.calls, nan = 0, []  # calls that answer with NaN
    encoder.register_forward_hook(
        lambda _, __, out: out._replace(pooled=out.pooled * float("nan")) if encoder.calls in nan else None
    )
    nan[:] = [2]
    assert differences_of_two_calls(classifier, IMAGES).tolist() == [float("inf")] * 6
    nan[:] = [3, 4]
    assert differences_of_two_calls(classifier, IMAGES).tolist() == [0.0] * 6


def test_logits_that_are_no_numbers_are_of_no_class(cnn):
    encoder, head = cnn
    classifier = Classifier(encoder, head)
    expected = predictions_over_draws(classifier, [IMAGES], 20, "score")
    spoilt = torch.tensor([1.0, float("nan"), 1.0, 1.0, 1.0, float("inf")])[:, None]
    encoder.register_forward_hook(lambda _, __, out: out._replace(pooled=out.pooled * spoilt))
    found = predictions_over_draws(classifier, [IMAGES], 20, "score")
    assert found[0, [1, 5]].tolist() == [10, 10], "the largest of ten NaN would be class 0"
    kept = [0, 2, 3, 4]
    assert torch.equal(found[0, kept], expected[0, kept])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_no_finite_numbers_are_refused(value):
    logits = torch.randn(8, 10, generator=generator("cpu", "logits"))
    logits[2], logits[5, 3] = value, value
    with pytest.raises(UserError, match="logits that are NaN or infinite, on 2 of 8 images"):
        check_finite(logits)
