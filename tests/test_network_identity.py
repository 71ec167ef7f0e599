"""A network is known again by what decides its answers, and not by what it counts or keeps while it answers."""

import importlib.util
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from sslkuramoto.any_network import as_encoder, identity_of_encoder
from sslkuramoto.encoders.features import Encoder, Features

IMAGES = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@dataclass
class Options:
    scale: float = 1.0


class Net(nn.Module):
    """A linear layer, with whatever a test adds."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer, self.drop = nn.Linear(48, 5), nn.Dropout(0.1)
            self.hidden = [nn.Linear(5, 5)]  # in a list, where torch does not see it
        self.register_buffer("shift", torch.zeros(5), persistent=False)
        self.options, self.after = Options(), nn.Identity()

    def forward(self, images):
        return self.after(self.drop(self.layer(images.flatten(1)) + self.shift))


class Counting(Net):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, images):
        self.calls += 1
        self.seen += len(images)
        return super().forward(images)


class Caching(Net):
    table = None

    def forward(self, images):
        if self.table is None:
            self.table = torch.ones(images.shape[-1])
        self.last = images
        return super().forward(images * self.table)


def known(network: nn.Module) -> str:
    """Return the identity of a network, in eval mode."""
    return identity_of_encoder(as_encoder(network.eval(), IMAGES), 4)


@pytest.mark.parametrize("kind", [Net, Counting, Caching])
def test_a_network_that_was_asked_is_the_one_that_was_not(kind):
    fresh, asked = kind().eval(), kind().eval()
    for images in (IMAGES, IMAGES[:2].flip(0)):
        asked(images)
    assert known(fresh) == known(asked) == known(fresh)


def test_an_encoder_of_ours_with_a_counter_is_the_same_after_it_was_asked():
    class Counter(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.num_features, self.calls, self.scale = 3, 0, 1.0

        def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
            self.calls += 1
            return Features(self.scale * images.mean((2, 3)), images)

    encoder = Counter().eval()
    first = identity_of_encoder(encoder, 4)
    encoder(IMAGES)
    assert identity_of_encoder(encoder, 4) == first
    encoder.scale = 2.0
    assert identity_of_encoder(encoder, 4) != first


def _change(place: str, value: object):
    def change(network: nn.Module) -> None:
        *parts, name = place.split(".")
        owner = network
        for part in parts:
            owner = getattr(owner, part)
        setattr(owner, name, value)

    return change


CHANGES = {
    "dropout": _change("drop.p", 0.2),
    "weight": lambda network: nn.init.ones_(network.layer.bias),
    "buffer of no state dict": _change("shift", torch.ones(5)),
    "module in a list": lambda network: nn.init.ones_(network.hidden[0].bias),
    "field of a dataclass": _change("options.scale", 2.0),
    "attribute set from outside": _change("temperature", 2.0),
    "mode of a part": lambda network: network.drop.train(),
    "hook": lambda network: network.layer.register_forward_hook(lambda part, given, found: 2 * found),
    "class of a part": _change("after", nn.ReLU()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_decides_the_answers_makes_another_network(name):
    network = Net().eval()
    before = known(Net())
    CHANGES[name](network)
    assert identity_of_encoder(as_encoder(network, IMAGES), 4) != before


@dataclass(slots=True)
class SlottedOptions:
    scale: float = 1.0


def _with_empty_cell(by: float):
    def function(images):
        return by * images.flatten(1) + later if images.isnan().any() else by * images.flatten(1)

    if by < 0:
        later = 0.0
    return function


def _nested(last: float, depth: int) -> list:
    found = [last]
    for _ in range(depth):
        found = [found, found]
    return found


class Unreadable(dict):
    def items(self):
        raise RuntimeError("not now")


HARD = {
    "function with a cell that is not filled": (_with_empty_cell(1.0), _with_empty_cell(1.0), _with_empty_cell(2.0)),
    "dataclass with slots": (SlottedOptions(), SlottedOptions(), SlottedOptions(2.0)),
    "lists that share their items": (_nested(1.0, 40), _nested(1.0, 40), _nested(2.0, 40)),
    "array of objects": (
        *(np.array([[1.5, 2], None], dtype=object) for _ in range(2)),
        np.array([[1.5, 3], None], dtype=object),
    ),
    "sparse tensor": (torch.eye(3).to_sparse(), torch.eye(3).to_sparse(), 2 * torch.eye(3).to_sparse()),
    "compressed tensor": (*(torch.eye(3).to_sparse_csr() for _ in range(2)), (2 * torch.eye(3)).to_sparse_csr()),
}


@pytest.mark.parametrize("name", HARD)
def test_values_that_are_hard_to_read_are_known_by_what_they_hold(name):
    def holding(value: object) -> str:
        network = Net()
        if isinstance(value, torch.Tensor):
            network.register_buffer("value", value)
        _change("more", value)(network)
        return known(network)

    first, equal, other = map(holding, HARD[name])
    assert first == equal != other


def test_a_value_that_cannot_be_read_ends_by_the_name_of_its_type():
    def holding(value: object) -> str:
        network = Net()
        _change("more", value)(network)
        return known(network)

    assert holding(Unreadable(a=1)) == holding(Unreadable(a=2)) != holding({"a": 1})
    deep = [0.0]
    for _ in range(400):
        deep = [deep]
    assert holding(deep) == holding(deep) != holding([0.0])


def test_a_value_that_refers_to_what_holds_it_reads_the_same_wherever_it_is_met_first():
    def holding(scale: float, turned: bool) -> str:
        network = Net()
        child: dict = {"scale": scale}
        parent = {"child": child}
        child["parent"] = parent
        both = [("child", child), ("parent", parent)]
        _change("more", dict(reversed(both) if turned else both))(network)
        return known(network)

    assert holding(1.0, turned=False) == holding(1.0, turned=True) != holding(2.0, turned=False)


def test_functions_are_told_apart_by_their_code_and_by_what_they_close_over():
    def scaled(network, by):
        return lambda images: by * network(images)

    def identity(function) -> str:
        return identity_of_encoder(as_encoder(function, IMAGES), 4)

    network, other = Net().eval(), Net().eval()
    nn.init.ones_(other.layer.bias)
    assert identity(scaled(network, 2)) == identity(scaled(Net().eval(), 2))
    found = [scaled(network, 2), scaled(network, 3), scaled(other, 2), lambda images: -network(images)]
    assert len({identity(function) for function in found}) == 4


def test_other_code_of_the_file_of_a_class_makes_another_network(tmp_path):
    source = "from torch import nn\n\n\nclass Layer(nn.Module):\n    def forward(self, x):\n        return x * 2\n"

    def of(text: str) -> str:
        file = tmp_path / f"layer_{abs(hash(text))}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location("layer_of_somebody", file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["layer_of_somebody"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        network = Net()
        network.after = module.Layer()
        return known(network)

    try:
        assert of(source) == of(source) == of(source + "# a comment\n")
        assert of(source) != of(source.replace("x * 2", "x * 3"))
    finally:
        sys.modules.pop("layer_of_somebody", None)
