"""The contract of every objective, with a stochastic encoder that has dynamics and with one of timm."""

import copy

import pytest
import torch
from torch import nn

from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.examples import Images
from sslkuramoto.objectives import OBJECTIVES, Objective
from sslkuramoto.randomness import borrowed_global, generator

NETWORKS = {name: ENCODERS.small(name) for name in ENCODERS if Images in ENCODERS[name].reads}
CLASSES = 3

every_objective = pytest.mark.parametrize("name", [name for name in OBJECTIVES if Images in OBJECTIVES[name].reads])
every_network = pytest.mark.parametrize("network", list(NETWORKS))


def pair(name: str, network: str) -> tuple[Encoder, Objective]:
    with borrowed_global(generator("cpu", 0)):
        encoder = ENCODERS.build(network, NETWORKS[network])
        return encoder, OBJECTIVES.build(name, OBJECTIVES.small(name), encoder, CLASSES)


def one_step(encoder: Encoder, objective: Objective, step: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(step)
    views = {view: torch.rand(6, 3, 16, 16, generator=draw) for view in objective.views}
    labels = torch.arange(6) % CLASSES if objective.needs_labels else None
    outcome = objective(encoder, views, draw=draw, labels=labels)
    outcome.loss.backward()
    assert outcome.features.shape == (6, encoder.num_features)
    return outcome.loss.detach()


@every_network
@every_objective
def test_two_steps_of_an_optimizer_change_the_encoder_and_move_the_target_after_the_step(
    name: str, network: str
) -> None:
    encoder, objective = pair(name, network)
    trained = [*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)]
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    weights = copy.deepcopy(dict(encoder.named_parameters()))
    target = getattr(objective, "target", None)
    for step in range(2):
        kept = copy.deepcopy(target.state_dict()) if isinstance(target, nn.Module) else {}
        assert one_step(encoder, objective, step).isfinite()
        optimizer.step()
        optimizer.zero_grad()
        for key, value in dict(target.named_parameters()).items() if isinstance(target, nn.Module) else ():
            assert torch.equal(value, kept[key]), f"{key} moved before after_step"
        objective.after_step(encoder, progress=(step + 1) / 4)
    moved = [not torch.equal(value, weights[key]) for key, value in encoder.named_parameters() if value.requires_grad]
    assert sum(moved) > len(moved) / 2
    if isinstance(target, nn.Module):
        assert any(not torch.equal(value, kept[key]) for key, value in target.named_parameters())


@every_network
@every_objective
def test_the_encoder_it_leaves_behind_loads_strictly_without_the_objective(name: str, network: str) -> None:
    encoder, objective = pair(name, network)
    one_step(encoder, objective)
    objective.after_step(encoder, progress=1.0)
    exported = objective.exported(encoder)
    fresh = ENCODERS.build(network, NETWORKS[network])
    fresh.load_state_dict(exported.state_dict(), strict=True)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        first, second = (e.eval()(images, draw=torch.Generator().manual_seed(6)).pooled for e in (exported, fresh))
    assert torch.equal(first, second)


@every_objective
def test_it_declares_whether_its_forward_pass_takes_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[None] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: taken.append(None) or grad(*a, **k))
    encoder, objective = pair(name, "akorn")
    one_step(encoder, objective)
    assert bool(taken) == objective.takes_gradients


@every_objective
def test_it_keeps_no_reference_to_the_online_encoder(name: str) -> None:
    encoder, objective = pair(name, "akorn")
    own = {id(parameter) for parameter in objective.parameters()}
    assert own.isdisjoint(id(parameter) for parameter in encoder.parameters())


@every_objective
def test_the_constructor_takes_the_encoder_and_the_classes_first_and_only_options_after_them(name: str) -> None:
    import inspect

    parameters = list(inspect.signature(OBJECTIVES[name]).parameters.values())
    given = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert given == ["encoder", "num_classes"]
    assert all(p.default is not inspect.Parameter.empty for p in parameters[2:])
