"""Weights of the published Winfree networks (images, mazes, Sudoku) in our encoders.

The published networks (WONN, arXiv 2605.20922; Jiawen-Dai/WONN at commit 62d7ac5) are described by the arguments of
their constructors and by their state dicts. What shows in the names and shapes of the weights is read off them.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sslkuramoto.encoders.board_winfree import BoardWinfree
from sslkuramoto.encoders.winfree import Winfree
from sslkuramoto.errors import UserError
from sslkuramoto.heads import Linear, PerCell
from sslkuramoto.interop.published_weights import (
    LAYER,
    Built,
    check_copy,
    filled,
    layers_of,
    per_layer,
    step_size,
    weight,
    whole,
)
from sslkuramoto.recipe import Part

_UNUSED = ".2.i_func."  # an influence that the Sudoku network registers and does not call
PAIRS = "rope_pairs"
"""An argument of ours, which the weights do not show: the channels of a head that one rotation pairs."""
READ = {
    PAIRS,
    "kind",
    "ch",
    "L",
    "T",
    "N",
    "gamma",
    "coupling",
    "si_func",
    "kernel_sizes",
    "heads",
    "data",
    "patch_size",
}
READ |= {"hidden_ratio", "group_size", "out_classes", "num_classes"}
"""Arguments that are read, or that show in the weights."""

_OF_LAYER = {  # {} is the index of the layer, [] that of the transition before it
    "0.conv.": "phase_transitions.[].",
    "1.theta_emb.proj.": "frequency_transitions.[].embedding.",
    "1.theta_embedding.proj.": "frequency_transitions.[].embedding.",
    "1.fusion.": "frequency_transitions.[].fusion.",
    "2.S.net.": "layers.{}.sensitivity.net.",
    "2.I.net.": "layers.{}.influence.net.",
    "2.coupling.0.W_qkv.": "layers.{}.coupling.to_qkv.",
    "2.coupling.0.W_o.": "layers.{}.coupling.to_out.",
    "2.coupling.0.": "layers.{}.coupling.",
    "2.coupling.1.": "layers.{}.norm.",
}
_ELSEWHERE = {
    "f_init.omega_template": "frequencies.weight",
    "f_init.": "stem.",
    "decoder.0.proj.": "decoder.0.",
    "output.0.proj.": "decoder.0.",
    "decoder.": "decoder.",
    "output.": "decoder.",
}


def image_from_published(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Built:
    """Return encoder and classifier of a published image network, in eval mode.

    Raises:
        UserError: weights that are missing, left over or of another shape; copies of one weight that differ.
    """
    stem, answers = weight(state, "f_init.0.weight", 4), weight(state, "out.weight", 2)
    layers = layers_of(state)
    kernel = int(stem.shape[-1])
    pixels = kernel == 3 and whole(config, "patch_size", 1) == 1 and "imagenet" not in str(config.get("data", ""))
    widths = [int(weight(state, f"layers.{layer}.2.coupling.1.weight").numel()) for layer in range(layers)]
    influence = weight(state, "layers.0.2.I.net.0.weight", 4)
    shown, size = int(influence.shape[1]), int(influence.shape[-1])
    convolutions = [_found(state, f"layers.{layer}.2.coupling.0.weight") for layer in range(layers)]
    options = {
        "channels": tuple(widths),
        "layers": layers,
        "num_steps": per_layer(config, "T", 3, layers),
        "group_size": size,
        "sensitivity": "mlp" if "layers.0.2.S.net.0.weight" in state else "cos",
        "influence": "mlp" if shown == 2 else "sin_mlp",
        "hidden_ratio": int(influence.shape[0]) // (widths[0] * shown * size**2),
        "coupling": tuple("attention" if conv is None else "conv" for conv in convolutions),
        "attention_heads": whole(config, "heads", 8),
        "positions": _positions(config, max(widths)),
        "kernel_size": tuple(1 if conv is None else int(conv.shape[-1]) for conv in convolutions),
        "step_size": step_size(config, state, 0.1),
        "patch": 1 if pixels else kernel,
        "transition_bias": "layers.1.0.conv.bias" in state,
    }
    encoder = filled(partial(Winfree, **options), _ours(config, state, options["attention_heads"]))
    head = filled(
        partial(Linear, encoder.num_features, len(answers)), {"weight": answers, "bias": weight(state, "out.bias")}
    )
    return Built(encoder, Part("winfree", options), head, Part("linear", {}))


def maze_from_published(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Built:
    """Return encoder and head of a published maze network, in eval mode; it reads mazes of any side.

    Its four inputs (wall, free, start, goal, from 0) are our symbols 1 to 4; its fifth answer is symbol 5, the path.

    Raises:
        UserError: weights that are missing, left over or of another shape.
    """
    tokens = int(weight(state, "f_init.omega_template", 4).shape[0])
    symbols = int(weight(state, "out.weight", 4).shape[0])
    return _board(config, state, steps=24, where={"side": None, "symbols": symbols, "input_symbols": tokens})


def sudoku_from_published(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Built:
    """Return encoder and head of a published Sudoku network, in eval mode.

    Raises:
        UserError: weights that are missing, left over or of another shape.
    """
    symbols = int(weight(state, "out.weight", 4).shape[0])
    return _board(config, state, steps=16, where={"side": symbols, "symbols": symbols})


def left_out(state: Mapping[str, Tensor]) -> list[str]:
    """Return the published weights that take no part in the published forward pass, and so none in ours."""
    return [name for name in state if _UNUSED in name]


def assumed(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> list[str]:
    """Return what is assumed of the rotations; nothing where it is stated, or the same for both pairings."""
    heads = whole(config, "heads", 8)
    wide = any(name.endswith("coupling.0.W_o.bias") and value.numel() >= 8 * heads for name, value in state.items())
    if PAIRS in config or not wide:
        return []
    return [
        f"assumed: rotations of queries and keys pair consecutive channels, which no weight shows; if the accuracy is "
        f"not the published one, try --config {PAIRS}=halves"
    ]


def _board(config: Mapping[str, Any], state: Mapping[str, Tensor], steps: int, where: Mapping[str, Any]) -> Built:
    """Return a network for boards; ``steps`` is the published default, ``where`` says which boards it reads."""
    layers = layers_of(state)
    conv, influence = _found(state, "layers.0.2.coupling.0.weight"), _found(state, "layers.0.2.I.net.0.weight")
    channels = int(weight(state, "f_init.omega_template", 4).shape[1])
    options = {
        **where,
        "channels": channels,
        "layers": layers,
        "num_steps": per_layer(config, "T", steps, layers),
        "sensitivity": "mlp" if "layers.0.2.S.net.0.weight" in state else "cos",
        "influence": "sin" if influence is None else "mlp" if influence.shape[1] == 2 else "sin_mlp",
        "coupling": "attention" if conv is None else "conv",
        "kernel_size": None if conv is None else int(conv.shape[-1]),
        "attention_heads": whole(config, "heads", 8),
        "positions": _positions(config, channels),
        "step_size": step_size(config, state, 0.1),
        "transition_bias": "layers.1.0.conv.bias" in state,
    }
    if influence is not None:
        if influence.shape[-1] != 1:
            raise UserError(f"groups of {influence.shape[-1]} cells: networks for boards have groups of one here")
        options["hidden_ratio"] = int(influence.shape[0]) // (channels * int(influence.shape[1]))
    encoder = filled(partial(BoardWinfree, **options), _ours(config, state, options["attention_heads"]))
    head = filled(
        partial(PerCell, encoder.num_features, len(weight(state, "out.weight", 4)), relu=False),
        {f"to_logits.{part}": weight(state, f"out.{part}") for part in ("weight", "bias")},
    )
    return Built(encoder, Part("board_winfree", options), head, Part("per_cell", {"relu": False}))


def _positions(config: Mapping[str, Any], channels: int) -> str:
    """Return the positions of a network of this width: published code rotates nothing in heads of fewer than four."""
    return "rope" if channels >= 4 * whole(config, "heads", 8) else "none"


def _found(state: Mapping[str, Tensor], name: str) -> Tensor | None:
    return weight(state, name, 4) if name in state else None


def _pairs(config: Mapping[str, Any]) -> str:
    """Return which channels of a head a rotation pairs: "consecutive" ones, or those of two "halves".

    Raises:
        UserError: another word.
    """
    pairs = config.get(PAIRS, "consecutive")
    if pairs not in ("consecutive", "halves"):
        raise UserError(f"{PAIRS}={pairs!r}: must be consecutive or halves")
    return str(pairs)


def _ours(config: Mapping[str, Any], state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """Return the weights of the encoder by our names, in our order of channels and shapes."""
    pairs = _pairs(config)
    ours: dict[str, Tensor] = {}
    for published, value in state.items():
        if published.startswith("conv0."):  # the map from inputs to frequencies is registered twice
            check_copy(state, published, published.replace("conv0.", "f_init.", 1), "they are one map here")
            continue
        if published == "gamma" or published.startswith("out.") or _UNUSED in published:
            continue
        name = _name(published)
        if name in ours:
            raise UserError(f"weight {published!r}: another weight of the file is {name} too")
        if name == "frequencies.weight":
            value = value.flatten(1)
        elif ".coupling.to_" in name:
            value = weight(state, published, 2 if name.endswith("weight") else 1)
            value = _in_our_order(published, value, heads, pairs)
        ours[name] = value
    return ours


def _name(published: str) -> str:
    """Return our name of a published weight."""
    found = LAYER.match(published)
    for start, ours in (_OF_LAYER if found else _ELSEWHERE).items():
        rest = found[2] if found else published
        if rest.startswith(start):
            name = ours + rest.removeprefix(start)
            if found:
                name = name.replace("{}", found[1]).replace("[]", str(int(found[1]) - 1))
            return name
    raise UserError(f"weight {published!r}: no part of a published network of this kind")


def _in_our_order(published: str, value: Tensor, heads: int, pairs: str) -> Tensor:
    """Return weights or biases of an attention in our order and shape.

    Channel h d + j of the published code is channel j of head h; ours is channel j e + h, with e heads. Queries and
    keys that rotate channels j and j + d / 4 together get these beside each other first.
    """
    parts = 3 if "W_qkv" in published else 1
    channels = value.shape[1] if value.ndim == 2 else len(value) // parts
    if len(value) != parts * channels:
        raise UserError(f"{published} of shape {tuple(value.shape)}: must be of {parts} x {channels} outputs")
    if heads < 1 or channels % heads:
        raise UserError(f"heads={heads}: must divide the {channels} channels of {published}")
    of_heads = torch.arange(channels).view(heads, -1)
    order = turned = of_heads.T.flatten()
    if pairs == "halves":
        if of_heads.shape[1] % 4:
            raise UserError(f"{PAIRS}=halves: heads of {of_heads.shape[1]} channels have no two halves of pairs")
        turned = of_heads.view(heads, 2, 2, -1).transpose(2, 3).flatten(1).T.flatten()
    if parts == 3:
        value = value[torch.cat([turned, turned + channels, order + 2 * channels])]
    elif value.ndim == 2:
        value = value[:, order]
    return value[..., None, None] if value.ndim == 2 else value
