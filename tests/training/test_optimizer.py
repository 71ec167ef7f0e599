import pytest
import torch
from small_runs import XPHINET, small
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.training import check
from sslkuramoto.training.optimizer import OPTIMIZERS, parameter_groups


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ModuleDict({"head": nn.Linear(4, 2)})["head"])


def one_step(name, groups, module, **options):
    """Return (before, gradient, after) of every parameter."""
    optimizer = OPTIMIZERS.build(name, {"lr": 0.1, **options}, groups)
    before = [p.detach().clone() for p in module.parameters()]
    module(torch.randn(5, 3, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    gradients = [p.grad.clone() for p in module.parameters()]
    optimizer.step()
    return list(zip(before, gradients, [p.detach() for p in module.parameters()], strict=True))


def test_sgd_with_decay_is_the_formula():
    module = network()
    for before, gradient, after in one_step("sgd", parameter_groups(module, (), True), module, weight_decay=0.5):
        torch.testing.assert_close(after, before - 0.1 * (gradient + 0.5 * before))


def test_adams_first_step_is_the_sign_of_the_gradient():
    module = network()
    for before, gradient, after in one_step("adam", parameter_groups(module, (), True), module, eps=1e-12):
        torch.testing.assert_close(after, before - 0.1 * gradient.sign(), rtol=1e-4, atol=1e-5)


def test_adamw_decays_the_weights_directly():
    module = network()
    for before, gradient, after in one_step(
        "adamw", parameter_groups(module, (), True), module, eps=1e-12, weight_decay=0.5
    ):
        torch.testing.assert_close(after, before * (1 - 0.05) - 0.1 * gradient.sign(), rtol=1e-4, atol=1e-5)


def test_lars_scales_each_decaying_tensor_and_leaves_the_others_to_sgd():
    module = network()
    steps = one_step("lars", parameter_groups(module, (), False), module, weight_decay=0.01, trust_coefficient=0.5)
    for before, gradient, after in steps:
        step = gradient
        if before.ndim > 1:
            trust = 0.5 * before.norm() / (gradient.norm() + 0.01 * before.norm() + 1e-8)
            step = trust * (gradient + 0.01 * before)
        torch.testing.assert_close(after, before - 0.1 * step)


def test_norms_and_biases_are_exempt_from_decay_when_asked():
    groups = parameter_groups(network(), (), False)
    assert [(len(group["params"]), group.get("weight_decay")) for group in groups] == [(4, 0.0), (2, None)]
    assert [group.get("weight_decay") for group in parameter_groups(network(), (), True)] == [None]


def test_every_trainable_parameter_is_in_one_group_and_no_other():
    module = network()
    module[0].bias.requires_grad_(False)
    for decay_all in (True, False):
        groups = parameter_groups(module, ("2",), decay_all)
        found = [id(p) for group in groups for p in group["params"]]
        assert sorted(found) == sorted(id(p) for p in module.parameters() if p.requires_grad)
        assert {id(p) for group in groups if group["held"] for p in group["params"]} == {
            id(p) for p in module[2].parameters()
        }


def test_a_held_name_that_no_submodule_bears_is_an_error_before_anything_is_loaded():
    recipe = small(views={"name": "phinet"}, objective=XPHINET, schedule={"name": "constant", "hold": ["predictors"]})
    with pytest.raises(UserError, match="no submodule is called 'predictors'"):
        check(recipe)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adam", {"lr": 0.0}, "optimizer.lr=0.0: must be > 0"),
        ("adam", {"lr": float("nan")}, "lr=nan: must be finite and > 0"),
        ("adam", {"lr": 1.0, "betas": (0.9, 1.0)}, r"betas=\[0.9, 1.0\]: entry 2 must be in"),
        ("adamw", {"lr": 1.0, "eps": 0.0}, "eps=0.0: must be > 0"),
        ("adamw", {"lr": 1.0, "weight_decay": -1.0}, "weight_decay=-1.0: must be >= 0"),
        ("sgd", {"lr": 1.0, "momentum": 1.0}, "momentum=1.0: must be in"),
        ("sgd", {"lr": 1.0, "momentum": 0.0, "nesterov": True}, "needs momentum > 0"),
        ("lars", {"lr": 1.0, "weight_decay": 0.0}, "LARS scales only tensors that decay"),
        ("lars", {"lr": 1.0, "trust_coefficient": 0.0}, "trust_coefficient=0.0: must be > 0"),
        ("adam", {}, "optimizer adam needs the key 'lr'"),
        ("adamm", {"lr": 1.0}, "unknown optimizer 'adamm': did you mean 'adam'"),
    ],
)
def test_a_bad_option_is_named(name, options, message):
    with pytest.raises(UserError, match=message):
        OPTIMIZERS.build(name, options, parameter_groups(network(), (), True))
