"""Adversarial training against a hand-written ascent in numpy, and what its inner passes must leave alone."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from small_runs import Killed, after_step, assert_same_run, kill, small

from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.threat import Threat
from sslkuramoto.training import train

SECTION = {"eps": 0.1, "steps": 3, "random_start": True, "inner_mode": "eval"}


@pytest.fixture
def make(build):
    """Build a pair with options that a test may replace; those of the shared table do not count here."""
    return lambda **options: build("adversarial", **{**SECTION, **options})


def watched(encoder):
    """Return the images, initial states and modes of every call of an encoder, filled as it is called."""
    calls, plain = [], encoder.forward

    def forward(images, **arguments):
        calls.append((images.detach().clone(), arguments.get("initial"), encoder.training))
        return plain(images, **arguments)

    encoder.forward = forward
    return calls


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def ascend_by_hand(encoder, objective, image, label, *, norm, eps, steps, size, trades, start):
    """Return one image after projected gradient ascent, with the gradient of tanh and softmax written out."""
    weight, bias = (p.detach().numpy() for p in (encoder.linear.weight, encoder.linear.bias))
    head, offset = (p.detach().numpy() for p in (objective.head.weight, objective.head.bias))

    def predicted(x):
        features = np.tanh(weight @ x + bias)
        return softmax(head @ features + offset), features

    target = predicted(image)[0] if trades else np.eye(len(offset))[label]
    x = start.copy()
    for _ in range(steps):
        p, features = predicted(x)
        gradient = weight.T @ ((head.T @ (p - target)) * (1 - features**2))  # of cross entropy, and of KL(target || p)
        if norm == "linf":
            x = np.clip(x + size * np.sign(gradient), image - eps, image + eps)
        else:
            moved = x + size * gradient / np.sqrt(gradient @ gradient) - image
            x = image + moved * min(1.0, eps / np.sqrt(moved @ moved))
        x = np.clip(x, 0, 1)
    return x


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "trades"])
def test_the_inner_maximisation_is_the_one_written_out_by_hand(norm, loss, make, views_of, labels_of, draw) -> None:
    eps, size = (0.1, 0.04) if norm == "linf" else (0.5, 0.2)
    options = {"loss": loss, "norm": norm, "eps": eps, "step_size": size, "steps": 4, "label_smoothing": 0.0}
    encoder, objective = make(dtype=torch.float64, **options)
    views, labels = views_of(dtype=torch.float64), labels_of()
    calls = watched(encoder)
    outcome = objective(encoder, views, draw=draw(), labels=labels)
    found, images = calls[-1][0], views["a"]
    starts = Threat(norm, eps).random_start(images, draw())  # the encoder is deterministic: the first draw is the start
    by_hand = [
        ascend_by_hand(
            encoder,
            objective,
            images[i].numpy().ravel(),
            int(labels[i]),
            norm=norm,
            eps=eps,
            steps=4,
            size=size,
            trades=loss == "trades",
            start=starts[i].numpy().ravel(),
        )
        for i in range(len(images))
    ]
    np.testing.assert_allclose(found.flatten(1).numpy(), np.stack(by_hand), rtol=1e-9, atol=1e-12)
    expected = []
    for i in range(len(images)):
        logits = [objective.head(encoder(x[i : i + 1]).pooled)[0].detach().numpy() for x in (images, found)]
        clean, worst = (softmax(z) for z in logits)
        own = -np.log(worst[labels[i]])
        divergence = float(np.sum(clean * np.log(clean / worst)))
        expected.append(-np.log(clean[labels[i]]) + 6.0 * divergence if loss == "trades" else own)
    assert outcome.loss.item() == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("norm", "eps"), [("linf", "8/255"), ("linf", 0.3), ("l2", 0.5)])
@pytest.mark.parametrize("random_start", [True, False])
def test_every_image_of_the_inner_passes_lies_in_the_ball_and_in_the_pixel_range(
    norm, eps, random_start, make, views_of, labels_of, draw
) -> None:
    encoder, objective = make(norm=norm, eps=eps, random_start=random_start, steps=5, step_size=0.2)
    views, calls = views_of(), watched(encoder)
    objective(encoder, views, draw=draw(), labels=labels_of())
    assert len(calls) == 1 + 5 + 1  # clean, ascent, loss
    for images, _, _ in calls:
        objective.threat.check(images, views["a"], "adversarial")
    assert torch.equal(calls[0][0], views["a"])
    assert torch.equal(calls[1][0], views["a"]) != random_start
    assert objective.threat.distances(calls[-1][0], views["a"]).min() > 0


def test_the_default_step_is_two_and_a_half_radii_over_the_steps(make) -> None:
    assert make(eps="8/255", steps=10)[1].step_size == pytest.approx(2 / 255)
    assert make(eps="8/255", steps=10, step_size=0.01)[1].step_size == 0.01


def test_the_ascent_raises_the_loss(make, views_of, labels_of, draw) -> None:
    encoder, objective = make(steps=10)
    clean = OBJECTIVES.build("classification", {}, encoder, 3)
    clean.head = objective.head
    plain = clean(encoder, views_of(), draw=draw(), labels=labels_of()).loss
    assert objective(encoder, views_of(), draw=draw(), labels=labels_of()).loss > plain + 0.05


@pytest.mark.parametrize("inner_mode", ["eval", "train"])
def test_parameters_get_the_gradient_of_the_loss_at_its_end_and_none_from_the_ascent(
    inner_mode, make, views_of, labels_of, draw
) -> None:
    encoder, objective = make(stochastic=True, batch_norm=True, inner_mode=inner_mode)
    twin, calls = deepcopy(encoder), watched(encoder)
    outcome = objective(encoder, views_of(), draw=draw(), labels=labels_of())
    assert all(p.grad is None for p in [*encoder.parameters(), *objective.parameters()])
    outcome.loss.backward()
    images, initial, _ = calls[-1]
    loss = torch.nn.functional.cross_entropy(objective.head(twin(images, initial=initial).pooled), labels_of())
    expected = torch.autograd.grad(loss, list(twin.parameters()))
    for parameter, wanted in zip(encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted)


@pytest.mark.parametrize("inner_mode", ["eval", "train"])
def test_batchnorm_counts_the_pass_of_the_loss_and_nothing_of_the_inner_ones(
    inner_mode, make, views_of, labels_of, draw
) -> None:
    encoder, objective = make(batch_norm=True, inner_mode=inner_mode)
    twin, calls = deepcopy(encoder), watched(encoder)
    objective(encoder, views_of(), draw=draw(), labels=labels_of())
    assert [mode for _, _, mode in calls] == [inner_mode == "train"] * 4 + [True]
    twin(calls[-1][0])
    assert encoder.norm.num_batches_tracked == 1
    for key, value in twin.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], value), key


def test_flags_and_modes_are_given_back_as_they_were_even_after_an_error(make, views_of, labels_of, draw) -> None:
    encoder, objective = make(batch_norm=True)
    encoder.norm.eval()
    encoder.linear.bias.requires_grad_(False)
    objective(encoder, views_of(), draw=draw(), labels=labels_of())
    objective.head.forward = lambda features: features[:, 100]
    with pytest.raises(IndexError):
        objective(encoder, views_of(), draw=draw(), labels=labels_of())
    assert encoder.training
    assert not encoder.norm.training
    assert [p.requires_grad for p in encoder.parameters()] == [True, False, True, True]
    assert all(p.requires_grad for p in objective.parameters())


def test_a_pass_without_gradient_leaves_no_gradientless_copy_of_a_weight_to_autocast(
    make, views_of, labels_of, draw
) -> None:
    encoder, objective = make(noise="fresh", stochastic=True)
    with torch.autocast("cpu", torch.bfloat16):
        outcome = objective(encoder, views_of(), draw=draw(), labels=labels_of())
    outcome.loss.backward()
    for parameter in [*encoder.parameters(), *objective.parameters()]:
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", ["cross_entropy", "trades"])
def test_held_noise_is_one_draw_for_all_passes_and_fresh_noise_one_for_each(
    loss, make, views_of, labels_of, draw
) -> None:
    passes = 1 + 3 + (2 if loss == "trades" else 1)
    for noise in ("held", "fresh"):
        encoder, objective = make(loss=loss, noise=noise, stochastic=True)
        used, plain, calls = [], encoder.sample_initial, watched(encoder)

        def sample(images, source, used=used, plain=plain):
            used.append(plain(images, source))
            return used[-1]

        encoder.sample_initial = sample
        objective(encoder, views_of(), draw=draw(), labels=labels_of())
        assert len(calls) == passes
        if noise == "held":
            assert len(used) == 1
            assert all(initial is used[0] for _, initial, _ in calls)
        else:
            assert len({tuple(state.flatten().tolist()) for state in used}) == len(used) == passes


def test_metrics_tell_clean_and_adversarial_accuracy_apart(make, views_of, labels_of, draw) -> None:
    encoder, objective = make(steps=20, eps=0.5)
    views, labels, calls = views_of(), labels_of(), watched(encoder)
    metrics = objective(encoder, views, draw=draw(), labels=labels).metrics
    for name, images in (("accuracy_clean", views["a"]), ("accuracy_adversarial", calls[-1][0])):
        right = objective.head(encoder(images).pooled).argmax(dim=1) == labels
        assert metrics[name].item() == pytest.approx(right.float().mean().item())
    assert metrics["accuracy_adversarial"] < metrics["accuracy_clean"]


def test_trades_logs_its_two_terms_and_weighs_them_by_beta(make, views_of, labels_of, draw) -> None:
    encoder, objective = make(loss="trades", beta=2.5)
    outcome = objective(encoder, views_of(), draw=draw(), labels=labels_of())
    terms = {key: outcome.metrics[key].item() for key in ("cross_entropy", "divergence")}
    assert terms["divergence"] > 0
    assert outcome.loss.item() == pytest.approx(terms["cross_entropy"] + 2.5 * terms["divergence"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8.0}, "eps=8: pixels lie in [0,1]: did you mean 8/255?"),
        ({"eps": 0}, "eps=0: must be > 0"),
        ({"eps": "many"}, "eps='many': must be a number or a fraction such as 8/255"),
        ({"norm": "l1"}, "objective.norm='l1'"),
        ({"steps": 0}, "steps=0: must be >= 1"),
        ({"step_size": 0.0}, "step_size=0.0: must be > 0"),
        ({"beta": -1.0}, "beta=-1.0: must be >= 0"),
        ({"label_smoothing": 1.5}, "label_smoothing=1.5: must be in"),
        ({"loss": "trades", "random_start": False}, "random_start=False: the divergence of loss='trades'"),
    ],
)
def test_a_bad_option_is_refused_in_one_line_by_name(options, message, make) -> None:
    with pytest.raises(UserError) as caught:
        make(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_without_labels_are_refused(build) -> None:
    encoder, _ = build("simclr")
    with pytest.raises(UserError, match="objective adversarial: needs labels"):
        OBJECTIVES.build("adversarial", {}, encoder, None)


def test_a_killed_run_in_bfloat16_with_accumulation_continues_as_if_nothing_had_happened(tmp_path) -> None:
    recipe = small(
        views={"name": "plain"},
        objective={"name": "adversarial", "steps": 2, "noise": "fresh"},
        accumulate=2,
        engine={"device": "cpu", "precision": "bf16"},
    )
    whole = train(recipe, tmp_path / "whole").path
    assert (whole / "head.safetensors").is_file()
    with pytest.raises(Killed), after_step(4, kill):
        train(recipe, tmp_path / "parts")
    assert_same_run(whole, train(recipe, tmp_path / "parts").path)
