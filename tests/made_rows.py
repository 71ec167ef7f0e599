"""A study's row by the network of a function: its files, and the row."""

import copy
from typing import Any

NETWORK = '''
"""A network with random weights."""
import torch
from torch import nn
from layers_of_rows import Turned

SEED = 0


def build():
    torch.manual_seed(SEED)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10), Turned()
    return nn.Sequential(*layers).eval()
'''
LAYERS = """
from torch import nn


class Turned(nn.Module):
    def forward(self, logits):
        return SIGN * logits


SIGN = 1.0
"""
MODEL: dict[str, Any] = {
    "label": "a network of somebody",
    "model": "net.py:build",
    "data": {"name": "digits", "size": 8, "limit": 16, "limit_test": 20},
}


def with_model(content: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return a study with a row ``net`` more, compared with its first one; values of None are left out of the row."""
    content = copy.deepcopy(content)
    content["rows"]["net"] = {key: value for key, value in row.items() if value is not None}
    content["compare"] = [*content["compare"], ["simclr", "net"]]
    return content
