"""Checkpoints of every kind whose weights or arguments are not what they should be: one clear line, no memory taken."""

import math
import re
from typing import Any, NamedTuple

import published_akorn
import published_winfree
import pytest
import torch
from torch import Tensor

from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.interop.published import KINDS, published

State = dict[str, Tensor]


class Network(NamedTuple):
    """A published network.

    Attributes:
        config: the arguments that its weights do not show.
        state: its weights.
        idle: what the names of weights match that may be missing: copies, and what another network of the kind lacks.
    """

    config: dict[str, Any]
    state: State
    idle: str


def of_winfree(kind: str, config: dict[str, Any], idle: str, **options: Any) -> Network:
    state = published_winfree.state(kind, *published_winfree.network(kind, **options))
    return Network({"kind": kind, **config}, state, idle)


COPIES = r"gamma|conv0\..*"
NO_BIAS = COPIES + r"|layers\.1\.0\.conv\.bias"
BOARD = {"channels": 8, "layers": 2, "attention_heads": 2}
NETWORKS = {
    "classification": Network(
        {"n": 2, "T": 2},
        published_akorn.state(*published_akorn.network(kernel_sizes=(3, 3), num_steps=2)),
        r"gamma|layers\.1\.0\.1\..*",
    ),
    "object_discovery": Network(
        {"kind": "object_discovery", "imsize": 8, "heads": 2, "n": 4}, published_akorn.objects()[1], "gamma"
    ),
    "sudoku": Network(
        {"kind": "sudoku", "heads": 2}, published_akorn.sudoku(attention_heads=2)[1], r"layers\.0\.0\.omg\.omg_param"
    ),
    "winfree_image": of_winfree("winfree_image", {"heads": 4}, COPIES, layers=2, channels=(16, 32), attention_heads=4),
    "winfree_convolutions": of_winfree(
        "winfree_image", {}, COPIES, layers=2, coupling="conv", kernel_size=3, sensitivity="cos", influence="sin_mlp"
    ),
    "winfree_maze": of_winfree("winfree_maze", {"heads": 2}, NO_BIAS, side=None, symbols=5, input_symbols=4, **BOARD),
    "winfree_sudoku": of_winfree("winfree_sudoku", {"heads": 2}, NO_BIAS, side=4, symbols=4, influence="mlp", **BOARD),
}
SHAPES = {
    "a number": lambda value: torch.tensor(1.0),
    "nothing": lambda value: torch.ones(0),
    "three numbers": lambda value: torch.ones(3),
    "five dimensions": lambda value: torch.ones(2, 1, 3, 1, 2),
    "many rows of nothing": lambda value: torch.ones(2**20, 0, 3, 3),
    "two more": lambda value: torch.cat([value.flatten(), torch.ones(2)]),
    "one row more": lambda value: torch.cat([value, value[:1]]) if value.ndim else torch.ones(2),
    "one column more": lambda value: torch.cat([value, value[:, :1]], 1) if value.ndim > 1 else torch.ones(2, 2),
    "a wider kernel": lambda value: torch.ones(1, 1, 1, 2**20 + 1),
    "complex": lambda value: value.to(torch.complex64) if value.ndim else torch.ones(2),
    "eight bits": lambda value: value.to(torch.float8_e4m3fn) if value.ndim else value.mul(50).to(torch.int8),
    "quantised": lambda value: (value * 100).to(torch.int8) if value.ndim else torch.ones(2),
}
NEARLY = ("two more", "one row more", "one column more", "complex", "quantised", "eight bits")


def test_every_kind_is_tried() -> None:
    assert {published(network.config, network.state).kind for network in NETWORKS.values()} == KINDS.keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_missing_weight_is_an_error_and_a_copy_may_be_missing(name) -> None:
    config, state, idle = NETWORKS[name]
    for missing in state:
        rest = {key: value for key, value in state.items() if key != missing}
        if re.fullmatch(idle, missing):
            published(config, rest)
        else:
            with pytest.raises(UserError):
                published(config, rest)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_weight_of_another_shape_is_an_error_whichever_it_is(name, shape) -> None:
    """Every weight meets the shapes that nearly fit; each of the others meets every third weight."""
    config, state, _ = NETWORKS[name]
    weights = list(state.items())
    for key, value in weights if shape in NEARLY else weights[[*SHAPES].index(shape) % 3 :: 3]:
        changed = SHAPES[shape](value)
        if changed.numel() == value.numel() == 1 and (changed.dtype == value.dtype or not value.is_floating_point()):
            continue  # one number in another shape
        with pytest.raises(UserError):
            published(config, {**state, key: changed})


@pytest.mark.parametrize("name", NETWORKS)
def test_a_weight_too_many_is_an_error(name) -> None:
    config, state, _ = NETWORKS[name]
    some = next(key for key in state if key.startswith("layers.0."))
    names = ["pemb", "layers.0.9.weight", "layers.1.2.extra", "layers.5000.x", f"layers.{'9' * 5000}.x", "layers.-1.x"]
    for extra in [*names, some.replace("layers.0.", "layers.00."), f"{some}.more", "gamma.more", ""]:
        with pytest.raises(UserError):
            published(config, {**state, extra: torch.ones(1)})


@pytest.mark.parametrize("name", ["winfree_image", "winfree_sudoku"])
def test_two_weights_for_one_place_are_an_error(name) -> None:
    config, state, _ = NETWORKS[name]
    one = "theta_emb." if name == "winfree_image" else "theta_embedding."
    other = {"theta_emb.": "theta_embedding.", "theta_embedding.": "theta_emb."}[one]
    key = f"layers.1.1.{one}proj.bias"
    with pytest.raises(UserError, match=r"another weight of the file is frequency_transitions\.0\.embedding\.bias too"):
        published(config, {**state, key.replace(one, other): state[key]})


ODD = [math.nan, math.inf, -1, 0, 10**20, 1e300, True, "text", [], [math.nan], {"a": 1}]


def line_of(config: dict[str, Any], state: State) -> str:
    """Return what is wrong with a network; nothing where it can be read."""
    try:
        published(config, state)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", NETWORKS)
def test_an_odd_argument_gives_a_network_or_one_line(name) -> None:
    config, state, _ = NETWORKS[name]
    without = {key: value for key, value in state.items() if key != "gamma"}
    keys = sorted(KINDS[published(config, state).kind].read - {"kind"})
    shown = [key for key in keys if not line_of({**config, key: "text"}, state)]  # by the weights: tried all at once
    for value in ODD:
        assert not line_of({**config, **dict.fromkeys(shown, value)}, state)
        for key in keys:
            if key in shown:
                continue
            for weights in (state, without) if key == "gamma" else (state,):
                assert "\n" not in line_of({**config, key: value}, weights)


AKORN, WINFREE = ("akorn", "classification"), ("winfree", "winfree_image")
ATTENTION = "layers.0.2.coupling.0."
HUGE = [  # whose network, which weight, what stands in its place, and the line
    (AKORN, "conv0.weight", torch.zeros(1).expand(2**40, 3, 3, 3), "conv0.weight: is no plain tensor that stores"),
    (AKORN, "conv0.weight", torch.zeros(2**20, 1, 1, 1), "recorded shape|does not fit"),
    (AKORN, "conv0.weight", torch.zeros(2**20, 0, 3, 3), r"of shape \(1048576, 0, 3, 3\): holds no number"),
    (AKORN, "conv0.weight", torch.tensor(1.0), r"conv0.weight of shape \(\): must have 4 dimensions"),
    (AKORN, "layers.0.2.connectivity.weight", torch.ones(3), r"connectivity.weight of shape \(3,\): must have 4"),
    (AKORN, "layers.0.3.0.bias", torch.ones(0), r"layers.0.3.0.bias of shape \(0,\): holds no number"),
    (AKORN, "gamma", torch.ones(2), r"gamma of shape \(2,\): must be one number"),
    (AKORN, "gamma", torch.tensor([math.nan]), "weight .gamma.: holds values that are not finite"),
    (AKORN, f"layers.{'9' * 5000}.x", torch.ones(1), "no part of a published"),
    (WINFREE, "f_init.0.weight", torch.zeros(1).expand(2**40, 3, 3, 3), "f_init.0.weight: is no plain tensor that"),
    (WINFREE, "f_init.0.weight", torch.zeros(2**20, 1, 1, 1), "differs from|recorded shape"),
    (WINFREE, "f_init.0.weight", torch.tensor(1.0), r"f_init.0.weight of shape \(\): must have 4 dimensions"),
    (WINFREE, "layers.0.2.I.net.0.weight", torch.ones(3), r"I.net.0.weight of shape \(3,\): must have 4"),
    (WINFREE, f"{ATTENTION}W_qkv.weight", torch.ones(2, 16), "W_qkv.weight of shape .*: must be of 3 x 16"),
    (WINFREE, f"{ATTENTION}W_qkv.bias", torch.ones(50), "W_qkv.bias of shape .*: must be of 3 x 16"),
    (WINFREE, f"{ATTENTION}W_o.weight", torch.tensor(1.0), "W_o.weight of shape .*: must have 2 dimensions"),
    (WINFREE, "layers.1.2.coupling.1.bias", torch.ones(0), r"coupling.1.bias of shape \(0,\): holds no number"),
    (WINFREE, "gamma", torch.ones(2), r"gamma of shape \(2,\): must be one number"),
    (WINFREE, "gamma", torch.tensor([math.nan]), "weight .gamma.: holds values that are not finite"),
    (WINFREE, f"layers.{'9' * 5000}.x", torch.ones(1), "no part of a published"),
]


@pytest.mark.parametrize(("whose", "key", "value", "line"), HUGE, ids=[f"{row[1][:30]} {row[3][:30]}" for row in HUGE])
def test_a_file_of_odd_weights_is_one_line_and_leaves_nothing(whose, key, value, line, tmp_path, capsys) -> None:
    family, name = whose
    torch.save({**NETWORKS[name].state, key: value}, tmp_path / "odd.pth")
    words = ["--run", str(tmp_path / "run"), "--recipe", "digits-akorn-supervised"]
    assert main(["import", family, str(tmp_path / "odd.pth"), *words]) == 2
    said = capsys.readouterr().err
    assert re.search(line, said)
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@torch.no_grad()
def test_a_published_argument_that_nothing_describes_is_told() -> None:
    encoder, weights = published_akorn.objects(positions="none")
    found = published({"imsize": 8, "heads": 2, "T": 2, "fixed_ptb": True}, weights)
    assert found.not_read == ["fixed_ptb"]
    assert found.built.head is None
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = encoder.sample_initial(images, torch.Generator().manual_seed(1))
    assert torch.equal(found.built.encoder(images, initial=noise).map, encoder(images, initial=noise).map)
