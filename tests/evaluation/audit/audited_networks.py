"""Networks whose robustness is known: stored CNNs, and a linear classifier whose robustness is a formula."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.encoders import Encoder, Features
from sslkuramoto.recipe import Recipe, recipe_from

FEWER: dict[str, Any] = {
    "images": 32, "steps": [4, 8, 16], "k": [1, 4, 8], "grid": [0.1, 0.5], "queries": 100, "samples": 5,
    "directions": 8, "select_draws": 50,
}  # fmt: skip


class ThreeConvolutions(Encoder):
    """A CNN for 8 x 8 pixels; deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 32
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.third = nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        grid = F.relu(self.third(F.relu(self.second(F.relu(self.first(2 * images - 1))))))
        return Features(grid.amax(dim=(2, 3)), grid)


def digits_recipe(**changes: Any) -> Recipe:
    """Return the recipe that trains the CNN on digits, with sections replaced."""
    return recipe_from(
        {
            "data": {"name": "digits", "size": 8},
            "views": {"name": "plain"},
            "encoder": {"name": "three_convolutions"},
            "objective": {"name": "classification"},
            "optimizer": {"name": "adam", "lr": 5e-3},
            "epochs": 1,
            "batch_size": 64,
            "measure": {"monitor_every": 0, "checkpoint_every": 100},
            "engine": {"device": "cpu"},
            **changes,
        }
    )


def file_of(kind: str, seed: int) -> Path:
    """Return the weights of a CNN that make_audited_networks.py trained."""
    return Path(__file__).with_name("networks") / f"{kind}-{seed}.safetensors"


def stored(kind: str, seed: int = 0) -> tuple[ThreeConvolutions, nn.Linear]:
    """Return a stored CNN and its head."""
    network = nn.ModuleDict({"encoder": ThreeConvolutions(), "head": nn.Linear(32, 10)})
    network.load_state_dict({name: value.float() for name, value in load_file(file_of(kind, seed)).items()})
    encoder, head = network["encoder"], network["head"]
    assert isinstance(encoder, ThreeConvolutions)
    assert isinstance(head, nn.Linear)
    return encoder.eval(), head.eval()


class Pixels(Encoder):
    """The pixels of 8 x 8 images themselves, as features."""

    num_features = 3 * 8 * 8

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        return Features(images.flatten(1), images)


def nearest_mean(images: Tensor, labels: Tensor) -> tuple[Pixels, nn.Linear]:
    """Return the classifier by the nearest mean of a class, which is linear: no training, nothing drawn."""
    means = torch.stack([images[labels == k].double().flatten(1).mean(0) for k in range(10)])
    head = nn.Linear(Pixels.num_features, 10)
    head.load_state_dict({"weight": means.float(), "bias": (-0.5 * means.square().sum(1)).float()})
    return Pixels().eval(), head.eval()


def robust_of_linear(head: nn.Linear, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return which images no change of ``eps`` per pixel, inside [0,1], turns into another class.

    The margin over another class is linear: each pixel moves by itself, as far as ball and range allow, against the
    sign of its weight. This is the minimum, with nothing searched.
    """
    weight, bias = head.weight.detach().double(), head.bias.detach().double()
    x = images.double().flatten(1)
    margins = []
    for other in range(len(bias)):
        w = weight[labels] - weight[other]  # b d
        worst = torch.where(w > 0, (x - eps).clamp(0, 1), (x + eps).clamp(0, 1))
        margin = (w * worst).sum(1) + bias[labels] - bias[other]
        margins.append(torch.where(labels == other, torch.inf, margin))
    return torch.stack(margins).amin(0) > 0
