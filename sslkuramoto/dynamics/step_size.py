"""The step size gamma of a network with oscillators: trained, or a constant that no checkpoint holds."""

import torch
from torch import nn


def add_step_size(network: nn.Module, gamma: float, learned: bool) -> None:
    """Give a network its ``step_size``, shape (): a parameter, or a buffer that is not saved.

    Args:
        network: without a step size.
        gamma: its value before training, > 0.
        learned: whether it is trained.
    """
    value = torch.tensor(float(gamma))
    if learned:
        network.register_parameter("step_size", nn.Parameter(value))
    else:
        network.register_buffer("step_size", value, persistent=False)
