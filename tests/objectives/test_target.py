"""The EMA target: exact average of parameters, own buffers, no gradient."""

from math import cos, pi

import pytest
import torch
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.objectives.target import Target


def online(build, **options):
    encoder, objective = build("byol", batch_norm=True, dtype=torch.float64, **options)
    return encoder, objective.projector


def moved(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) if parameter.dim() else 1.0)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_an_update_is_momentum_times_own_plus_the_rest_online(momentum: float, build) -> None:
    torch.manual_seed(0)
    encoder, projector = online(build)
    target = Target(encoder, projector, momentum=momentum)
    before = [p.clone() for p in target.parameters()]
    moved(encoder)
    moved(projector)
    target.update(encoder, projector, 0.5)
    now = [*encoder.parameters(), *projector.parameters()]
    for own, old, new in zip(target.parameters(), before, now, strict=True):
        torch.testing.assert_close(own, momentum * old + (1 - momentum) * new, rtol=1e-14, atol=1e-15)


def test_a_momentum_of_one_never_moves_and_of_zero_copies_bit_for_bit(build) -> None:
    torch.manual_seed(0)
    encoder, projector = online(build)
    still, copy = (Target(encoder, projector, momentum=m) for m in (1.0, 0.0))
    before = [p.clone() for p in still.parameters()]
    moved(encoder)
    for target in (still, copy):
        target.update(encoder, projector, 0.5)
    assert all(torch.equal(p, q) for p, q in zip(still.parameters(), before, strict=True))
    assert all(torch.equal(p, q) for p, q in zip(copy.encoder.parameters(), encoder.parameters(), strict=True))


def test_the_cosine_schedule_runs_from_the_given_momentum_to_one(build) -> None:
    target = Target(*online(build), momentum=0.9, schedule="cosine")
    assert target.momentum_at(0.0) == pytest.approx(0.9)
    assert target.momentum_at(0.5) == pytest.approx(0.95)
    assert target.momentum_at(0.25) == pytest.approx(1 - 0.1 * (cos(pi / 4) + 1) / 2)
    assert target.momentum_at(1.0) == 1
    assert Target(*online(build), momentum=0.9).momentum_at(1.0) == 0.9


def test_buffers_are_the_targets_own(build) -> None:
    encoder, projector = online(build)
    target = Target(encoder, projector, momentum=0.0)
    encoder.norm.running_mean.fill_(5)
    target.update(encoder, projector, 1.0)
    assert target.encoder.norm.running_mean.eq(0).all()


def test_it_uses_batch_statistics_whatever_the_mode_of_the_online_encoder(build, views_of, draw) -> None:
    encoder, projector = online(build)
    target = Target(encoder.eval(), projector.eval(), momentum=0.9)
    target(views_of(dtype=torch.float64)["a"], draw())
    assert target.encoder.norm.running_mean.abs().sum() > 0
    assert encoder.norm.running_mean.abs().sum() == 0


def test_its_output_and_its_parameters_carry_no_gradient_and_it_shares_no_memory(build, views_of, draw) -> None:
    encoder, projector = online(build)
    target = Target(encoder, projector, momentum=0.9)
    assert not target(views_of(dtype=torch.float64)["a"], draw()).requires_grad
    assert not any(p.requires_grad for p in target.parameters())
    assert all(p.requires_grad for p in [*encoder.parameters(), *projector.parameters()])
    shared = {p.data_ptr() for p in target.parameters()} & {p.data_ptr() for p in encoder.parameters()}
    assert not shared


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_a_momentum_outside_zero_to_one_is_refused(momentum: float, build) -> None:
    with pytest.raises(UserError, match=r"momentum=.*must be in"):
        Target(*online(build), momentum=momentum)
