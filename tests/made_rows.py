"""A study's row by the network of a function: its files, and the row."""

import copy
from typing import Any

NETWORK = '''
"""A network with random weights."""
import torch
from torch import nn
import sslkuramoto as sk
from layers_of_rows import Turned

SEED = 0


def build():
    torch.manual_seed(SEED)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).eval()
    return sk.Classifier(sk.as_encoder(layers, torch.rand(4, 3, 8, 8)), Turned(144, 10))
'''
LAYERS = """
from torch import nn


class Turned(nn.Linear):
    def forward(self, features):
        return SIGN * super().forward(features)


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
