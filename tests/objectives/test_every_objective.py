"""What holds for every objective of the registry."""

from copy import deepcopy

import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.objectives import Objective, Step, check_views


def step(encoder, objective, views, draw, labels) -> Step:
    given = {name: views[name] for name in objective.views}
    return objective(encoder, given, draw=draw(), labels=labels if objective.needs_labels else None)


@pytest.mark.parametrize("stochastic", [False, True])
def test_one_step_gives_a_finite_scalar_and_gradients_for_every_trained_parameter(
    name, stochastic, build, views_of, labels_of, draw
) -> None:
    encoder, objective = build(name, stochastic=stochastic)
    outcome = step(encoder, objective, views_of(), draw, labels_of())
    assert outcome.loss.shape == ()
    assert outcome.loss.dtype == torch.float32
    assert outcome.loss.isfinite()
    outcome.loss.backward()
    for key, parameter in [*encoder.named_parameters(), *objective.named_parameters()]:
        if key.startswith("target."):
            assert parameter.grad is None, key
        else:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
    assert encoder.linear.weight.grad.abs().sum() > 0


def test_metrics_are_detached_scalars_and_features_those_of_the_first_view(
    name, build, views_of, labels_of, draw
) -> None:
    encoder, objective = build(name, stochastic=True)
    views = views_of()
    outcome = step(encoder, objective, views, draw, labels_of())
    assert outcome.metrics
    for key, value in outcome.metrics.items():
        assert value.shape == (), key
        assert not value.requires_grad, key
    assert not outcome.features.requires_grad
    assert torch.equal(outcome.features, encoder(views[objective.views[0]], draw=draw()).pooled)


def test_the_same_generator_state_gives_the_same_loss_and_another_does_not(
    name, build, views_of, labels_of, draw
) -> None:
    encoder, objective = build(name, stochastic=True)
    again = deepcopy(objective)
    first = step(encoder, objective, views_of(), draw, labels_of())
    second = step(encoder, again, views_of(), draw, labels_of())
    other = step(encoder, again, views_of(), lambda: torch.Generator().manual_seed(8), labels_of())
    assert torch.equal(first.loss, second.loss)
    assert not torch.equal(first.loss, other.loss)


def test_the_global_generator_is_left_alone(name, build, views_of, labels_of, draw) -> None:
    encoder, objective = build(name, stochastic=True)
    before = torch.get_rng_state()
    step(encoder, objective, views_of(), draw, labels_of()).loss.backward()
    objective.after_step(encoder, 0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_view_passes_the_encoder_alone_with_oscillators_of_its_own(
    name, build, views_of, labels_of, draw
) -> None:
    encoder, objective = build(name, stochastic=True)
    seen = []

    plain = encoder.sample_initial

    def sample(images, draw):
        seen.append(plain(images, draw))
        return seen[-1]

    encoder.sample_initial = sample
    if hasattr(objective, "target"):
        objective.target.encoder.sample_initial = sample
    step(encoder, objective, views_of(), draw, labels_of())
    one = dict.fromkeys(("adversarial", "classification", "mixed_classification"), 1)
    passes = {**one, "byol": 4, "phinet": 3, "xphinet": 3}.get(name, 2)
    assert len(seen) == passes
    assert all(len(initial) == 8 for initial in seen)
    assert len({tuple(initial.flatten().tolist()) for initial in seen}) == passes


def test_it_reads_exactly_the_views_it_declares(name, build, views_of, labels_of, draw) -> None:
    encoder, objective = build(name)
    views = views_of()
    read = []

    class Watched(dict):
        def __getitem__(self, key):
            read.append(key)
            return super().__getitem__(key)

    objective(encoder, Watched(views), draw=draw(), labels=labels_of() if objective.needs_labels else None)
    assert set(read) == set(objective.views)


def test_a_missing_view_is_named_before_the_first_batch(name, build) -> None:
    _, objective = build(name)
    check_views(name, objective, ["a", "b", "clean", "unused"])
    *given, last = objective.views
    with pytest.raises(UserError, match=f"objective {name} needs the views .*{last}; the policy gives") as caught:
        check_views(name, objective, given)
    assert str(caught.value).endswith(", ".join(given) or "none")


def test_bfloat16_autocast_leaves_the_loss_in_float32_and_close(name, build, views_of, labels_of, draw) -> None:
    encoder, objective = build(name)
    plain = step(encoder, deepcopy(objective), views_of(), draw, labels_of())
    with torch.autocast("cpu", torch.bfloat16):
        cast = step(encoder, objective, views_of(), draw, labels_of())
    assert cast.loss.dtype == torch.float32
    torch.testing.assert_close(cast.loss, plain.loss, rtol=0.05, atol=0.05)
    cast.loss.backward()
    assert encoder.linear.weight.grad.abs().sum() > 0


def test_its_state_round_trips_and_holds_no_online_encoder(name, build, views_of, labels_of, draw) -> None:
    encoder, objective = build(name, batch_norm=True)
    step(encoder, objective, views_of(), draw, labels_of())
    objective.after_step(encoder, 0.3)
    state = deepcopy(objective.state_dict())
    assert not any(key.startswith("encoder.") for key in state)
    _, fresh = build(name, batch_norm=True, seed=5)
    fresh.load_state_dict(state, strict=True)
    assert all(torch.equal(state[key], value) for key, value in fresh.state_dict().items())
    first, second = (step(encoder, o, views_of(), draw, labels_of()) for o in (objective, fresh))
    assert torch.equal(first.loss, second.loss)
    assert {k: v.item() for k, v in first.metrics.items()} == {k: v.item() for k, v in second.metrics.items()}


def test_it_exports_the_online_encoder_unless_it_says_otherwise(name, build) -> None:
    encoder, objective = build(name)
    says_otherwise = type(objective).exported is not Objective.exported
    assert (objective.exported(encoder) is encoder) == (not says_otherwise)
