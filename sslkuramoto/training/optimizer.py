"""Optimizers by name, and which weights decay."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.registry import Registry
from sslkuramoto.values import NotNegative, Positive, ShareBelowOne, checked, small

Groups = list[dict[str, Any]]


def parameter_groups(module: nn.Module, held: Iterable[str], decay_all: bool) -> Groups:
    """Split the trainable parameters by weight decay and by learning-rate schedule.

    Args:
        module: the learner.
        held: names of submodules (any level) whose learning rate the schedule leaves alone.
        decay_all: False exempts biases and the weights of norms (tensors of fewer than two dimensions).

    Raises:
        UserError: a name in ``held`` that no submodule bears.
    """
    held = tuple(held)
    known = {part for name, _ in module.named_modules() for part in name.split(".")}
    for name in held:
        if name not in known:
            raise UserError(f"schedule.hold={list(held)}: no submodule is called {name!r}")
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = (any(part in held for part in name.split(".")), decay_all or parameter.ndim >= 2)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "held": is_held} | ({} if decays else {"weight_decay": 0.0})
        for (is_held, decays), parameters in sorted(groups.items())
    ]


Betas = tuple[ShareBelowOne, ShareBelowOne]


@small(lr=1e-3)
@checked
def adam(
    groups: Groups,
    *,
    lr: Positive,
    weight_decay: NotNegative = 0.0,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980); weight decay is an L2 term of the gradient.

    Args:
        groups: of parameters.
        lr: learning rate.
        weight_decay: factor of the L2 term.
        betas: share of the old value kept by the running means of the gradient and of its square.
        eps: is added to the denominator.
    """
    return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps)


@small(lr=1e-3)
@checked
def adamw(
    groups: Groups,
    *,
    lr: Positive,
    weight_decay: NotNegative = 1e-2,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101); weight decay acts on the weights directly.

    Args:
        groups: of parameters.
        lr: learning rate.
        weight_decay: share of a weight taken off in a step, times the learning rate.
        betas: share of the old value kept by the running means of the gradient and of its square.
        eps: is added to the denominator.
    """
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps)


@small(lr=1e-3)
@checked
def sgd(
    groups: Groups,
    *,
    lr: Positive,
    weight_decay: NotNegative = 0.0,
    momentum: ShareBelowOne = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum.

    Args:
        groups: of parameters.
        lr: learning rate.
        weight_decay: factor of an L2 term.
        momentum: share of the old step kept.
        nesterov: take the gradient where the momentum leads.
    """
    if nesterov and momentum == 0:
        raise UserError("nesterov=True: needs momentum > 0")
    return torch.optim.SGD(groups, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)


@small(lr=1e-3)
@checked
def lars(
    groups: Groups,
    *,
    lr: Positive,
    weight_decay: NotNegative = 1e-6,
    momentum: ShareBelowOne = 0.9,
    trust_coefficient: Positive = 1e-3,
) -> torch.optim.Optimizer:
    """LARS (You et al. 2017, arXiv 1708.03888): SGD whose step is scaled to each tensor's norm; lightly's.

    Tensors that do not decay are not scaled, as in SimCLR and BYOL (``schedule.decay_norm_and_bias: false``).

    Args:
        groups: of parameters.
        lr: learning rate.
        weight_decay: factor of an L2 term, > 0.
        momentum: share of the old step kept.
        trust_coefficient: length of a step as a share of the tensor's norm, before ``lr``.
    """
    if weight_decay == 0:
        raise UserError("weight_decay=0: LARS scales only tensors that decay; take > 0 (SimCLR: 1e-6), or sgd")
    from lightly.utils.lars import LARS

    return LARS(groups, lr=lr, weight_decay=weight_decay, momentum=momentum, trust_coefficient=trust_coefficient)


OPTIMIZERS: Registry[torch.optim.Optimizer] = Registry("optimizer", "sslkuramoto.optimizers")
OPTIMIZERS.add("adam", adam)
OPTIMIZERS.add("adamw", adamw)
OPTIMIZERS.add("lars", lars)
OPTIMIZERS.add("sgd", sgd)
