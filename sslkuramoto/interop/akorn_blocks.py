"""Weights of the published AKOrN networks for object discovery and Sudoku in our encoders.

Both published networks (Miyato et al. 2025; autonomousvision/akorn at commit eabbe27) are blocks of a Kuramoto layer
and a readout on one grid. What shows in the names and shapes of the weights is read off them; the rest is in the
arguments of the constructor, whose defaults are the published ones.
"""

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from sslkuramoto.encoders.board_akorn import BoardAKOrN
from sslkuramoto.encoders.patch_akorn import PatchAKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.heads import MLP, PerCell
from sslkuramoto.interop.published_weights import (
    LAYER,
    Built,
    filled,
    layers_of,
    norm_of_stimulus,
    per_layer,
    projects,
    step_size,
    truth,
    weight,
    weightless,
    whole,
)
from sslkuramoto.recipe import Part

READ = {"n", "T", "gamma", "use_omega", "psize", "imsize", "project", "apply_proj", "proj", "use_proj"}
READ |= {"kind", "ch", "L", "J", "ksize", "ksizes", "gta", "rope", "heads", "c_norm", "use_ro_x", "ro_N", "ro_ksize"}
READ |= {"init_omg", "global_omg", "learn_omg", "out_classes", "num_classes"}

_OF_LAYER = {  # {} is the index of the block
    "0.omg.omg_param": "layers.{}.frequencies.vector",
    "0.connectivity.W_qkv.": "layers.{}.coupling.to_qkv.",
    "0.connectivity.W_o.": "layers.{}.coupling.to_out.",
    "0.connectivity.mat_q": "layers.{}.coupling.rotations.query.matrices",
    "0.connectivity.mat_k": "layers.{}.coupling.rotations.key.matrices",
    "0.connectivity.mat_v": "layers.{}.coupling.rotations.value.matrices",
    "0.connectivity.mat_o": "layers.{}.coupling.rotations.output.matrices",
    "0.connectivity.": "layers.{}.coupling.",
    "0.c_norm.scale": "layers.{}.norm.weight",
    "0.c_norm.": "layers.{}.norm.",
    "1.0.bias": "readouts.{}.0.offset",
    "1.0.invconv.": "readouts.{}.0.project.",
    "1.1.fn.fn.0.fn.": "readouts.{}.1.inner.0.",
    "1.1.fn.fn.1.fn.": "readouts.{}.1.inner.1.",
    "1.2.fn.": "readouts.{}.1.last.",
    "1.bias": "readouts.{}.0.offset",
    "1.invconv.": "readouts.{}.0.project.",
    "2.": "oscillator_maps.{}.",
}
_ELSEWHERE = {
    "patchfy.1.": "stem.",
    "pemb_x": "place_x.table",
    "pemb_c": "place_c.table",
    "embedding.": "embedding.",
    "gamma": "step_size",
}


def objects_from_published(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Built:
    """Return encoder and projection head of a published network for object discovery, in eval mode.

    The head (1 x 1 C to 4 C, ReLU, 4 C to C) was used in training only; None if the weights have none.

    Raises:
        UserError: weights that are missing, left over or of another shape.
    """
    channels, _, _, patch = weight(state, "patchfy.1.weight", 4).shape
    options = _of_blocks(config, state, channels, steps=8)
    side = _grid_side(state)
    options |= {
        "patch": patch,
        "image_size": whole(config, "imsize", (side or 8) * patch),
        "learn_step_size": False,
        "map_oscillators": any(name.startswith("layers.0.2.") for name in state),
    }
    make = partial(PatchAKOrN, **options)
    wanted = weightless(make).state_dict().keys()
    ours = {name: value for published, value in state.items() if (name := _name(published, wanted)) is not None}
    encoder = filled(make, ours)
    head, head_part = None, None
    if "out.3.weight" in state:
        hidden, out = (weight(state, f"out.{i}.weight", 2).shape[0] for i in (3, 5))
        head = filled(
            partial(MLP, channels, out, hidden=hidden),
            {f"{i}.{part}": weight(state, f"out.{i + 3}.{part}") for i in (0, 2) for part in ("weight", "bias")},
        )
        head_part = Part("mlp", {"hidden": hidden})
    return Built(encoder, Part("patch_akorn", options), head, head_part)


def sudoku_from_published(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Built:
    """Return encoder and head of a published Sudoku network, in eval mode.

    Raises:
        UserError: weights that are missing, left over or of another shape.
    """
    embedding, answers = weight(state, "embedding.weight", 2), weight(state, "out.1.weight", 4)
    options = _of_blocks(config, state, embedding.shape[1], steps=16)
    if options.pop("layers") != 1:
        raise UserError("holds several blocks: the Sudoku network of ours has one")
    (options["num_steps"],), (options["coupling"],) = options["num_steps"], options["coupling"]
    side, symbols = _grid_side(state) or answers.shape[0], embedding.shape[0] - 1
    if answers.shape[0] != symbols:
        raise UserError(f"out.1.weight: answers with {answers.shape[0]} symbols, and the embedding is of {symbols}")
    options |= {"side": side, "symbols": symbols, "learn_step_size": True}
    del options["readout_kernel"]
    make = partial(BoardAKOrN, **options)
    wanted = weightless(make).state_dict().keys()
    ours = {}
    for published, value in state.items():
        name = _name(published, wanted)
        if name is not None and published != "x0":
            ours[re.sub(r"^(layer|readout)s\.0\.", r"\1.", name)] = value
    encoder = filled(make, ours)
    head = filled(
        partial(PerCell, encoder.num_features, answers.shape[0]),
        {f"to_logits.{part}": weight(state, f"out.1.{part}") for part in ("weight", "bias")},
    )
    return Built(encoder, Part("board_akorn", options), head, Part("per_cell", {}))


def left_out(state: Mapping[str, Tensor]) -> list[str]:
    """Return the published weights that take no part in the published forward pass, and so none in ours."""
    return [name for name in ("x0",) if name in state]


def _of_blocks(config: Mapping[str, Any], state: Mapping[str, Tensor], channels: int, steps: int) -> dict[str, Any]:
    """Return the options that both networks share; ``steps`` is the published default."""
    layers = layers_of(state)
    kernels, couplings, norms, omegas, dims, residual, readout_kernels = [], [], [], [], [], [], []
    tables = {name.rpartition("mat_")[2] for name in state if ".connectivity.mat_" in name}
    for layer in range(layers):
        prefix = f"layers.{layer}"
        name = f"{prefix}.0.connectivity.weight"
        conv = weight(state, name, 4) if name in state else None
        couplings.append("attention" if conv is None else "conv")
        kernels += [] if conv is None else [int(conv.shape[-1])]
        norms.append(norm_of_stimulus(config, state, f"{prefix}.0.c_norm."))
        omega = state.get(f"{prefix}.0.omg.omg_param")
        omegas.append("none" if omega is None else "shared" if omega.numel() == 2 else "per_pair")
        readout = f"{prefix}.1.0" if f"{prefix}.1.0.bias" in state else f"{prefix}.1"
        project = weight(state, f"{readout}.invconv.weight", 4)
        dims.append(int(project.shape[0]) // weight(state, f"{readout}.bias").numel())
        readout_kernels.append(int(project.shape[-1]))
        residual.append(f"{prefix}.1.2.fn.2.weight" in state)
    different = {
        "c_norm": norms,
        "natural frequencies": omegas,
        "readout dimensions": dims,
        "readout kernels": readout_kernels,
        "readout maps": residual,
        "kernel sizes": kernels,
    }
    for what, found in different.items():
        if len(set(found)) > 1:
            raise UserError(f"{what} differ between layers ({found}): no option describes that")
    use_omega = truth(config, "use_omega", True) and omegas[0] != "none"
    oscillators = per_layer(config, "n", 4, layers)
    if len(set(oscillators)) > 1:
        raise UserError(f"n={list(oscillators)}: no option describes oscillators of another dimension in each layer")
    positions = "gta" if tables >= {"v", "o"} else "rope" if tables else "ape" if "pemb_x" in state else "none"
    return {
        "channels": channels,
        "layers": layers,
        "oscillator_dim": oscillators[0],
        "num_steps": per_layer(config, "T", steps, layers),
        "coupling": tuple(couplings),
        "kernel_size": kernels[0] if kernels else 3,
        "attention_heads": whole(config, "heads", 8),
        "positions": positions,
        "natural_frequency": omegas[0] if use_omega else "identity",
        "project": projects(config),
        "step_size": step_size(config, state),
        "stimulus_norm": norms[0],
        "readout_dim": dims[0],
        "readout_kernel": readout_kernels[0],
        "readout_map": "residual" if residual[0] else "identity",
    }


def _grid_side(state: Mapping[str, Tensor]) -> int | None:
    """Return the side of the grid that tables of positions are made for; None if there are no tables."""
    for name, value in state.items():
        if name.endswith("mat_q") and value.ndim:
            return round(value.shape[0] ** 0.5)
        if name.startswith("pemb_") and value.ndim:
            return int(value.shape[-1])
    return None


def _name(published: str, wanted: Collection[str]) -> str | None:
    """Return our name of a published weight; None for what is no weight of an encoder of ``wanted`` names."""
    if published.startswith("out.") or published == "x0":
        return None
    if found := LAYER.match(published):
        for start, ours in _OF_LAYER.items():
            if found[2].startswith(start):
                name = ours.format(found[1]) + found[2].removeprefix(start)
                unused = name.endswith("frequencies.vector") and not any("frequencies" in each for each in wanted)
                return None if unused else name
    for start, ours in _ELSEWHERE.items():
        if published.startswith(start):
            name = ours + published.removeprefix(start)
            return None if name == "step_size" and name not in wanted else name
    raise UserError(f"weight {published!r}: no part of a published network of this kind")
