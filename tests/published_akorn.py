"""Write one of our AKOrN networks under the names and arguments of the published code: the inverse of interop.akorn."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sslkuramoto.dynamics.rounding import as_published
from sslkuramoto.encoders import ENCODERS, AKOrN, Encoder
from sslkuramoto.heads import PerCell
from sslkuramoto.randomness import borrowed_global, generator

NORMS = {"group": "gn", "scale_bias": "sandb", "none": "none"}


def network(classes: int = 10, **options: Any) -> tuple[AKOrN, nn.Linear]:
    """Return a small network with weights that leave nothing at its initial value, and a classifier."""
    draw = generator("cpu", "published", str(sorted(options.items(), key=str)))
    with borrowed_global(draw):
        encoder = AKOrN(**{"channels": 8, **options})
        head = nn.Linear(encoder.num_features, classes)
    with torch.no_grad():
        for tensor in (*encoder.parameters(), *encoder.buffers()):
            if tensor.is_floating_point() and tensor is not encoder.step_size:
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=draw))
    return encoder.eval(), head.eval()


def state(encoder: AKOrN, head: nn.Linear) -> dict[str, Tensor]:
    """Return the state dict by its published names."""
    found = {"gamma": encoder.step_size.detach().reshape(1)}
    rows = [
        ("stem.", "conv0."),
        *(
            (ours.format(i), published.format(i))
            for i in range(len(encoder.layers))
            for ours, published in (
                ("layers.{}.frequencies.vector", "layers.{}.2.omg.omg_param"),
                ("layers.{}.coupling.to_qkv.", "layers.{}.2.connectivity.W_qkv."),
                ("layers.{}.coupling.to_out.", "layers.{}.2.connectivity.W_o."),
                ("layers.{}.coupling.", "layers.{}.2.connectivity."),
                ("layers.{}.norm.", "layers.{}.2.c_norm."),
                ("readouts.{}.0.offset", "layers.{}.3.0.bias"),
                ("readouts.{}.0.project.", "layers.{}.3.0.invconv."),
                ("readouts.{}.1.inner.0.", "layers.{}.3.1.fn.fn.0.fn."),
                ("readouts.{}.1.inner.1.", "layers.{}.3.1.fn.fn.1.fn."),
                ("readouts.{}.1.last.", "layers.{}.3.2.fn."),
            )
        ),
        *((f"transitions.{i}.", f"layers.{i + 1}.0.0.") for i in range(len(encoder.transitions))),
    ]
    for name, value in encoder.state_dict().items():
        if name == "step_size":
            continue
        ours, published = next(row for row in rows if name.startswith(row[0]))
        name = published + name.removeprefix(ours)
        if type(encoder.layers[0].norm).__name__ == "ScaleBias":
            name = name.replace("c_norm.weight", "c_norm.scale")
        found[name] = value
        if ".0.0." in name:
            found[name.replace(".0.0.", ".0.1.")] = value
    return {**found, "out.weight": head.weight.detach(), "out.bias": head.bias.detach()}


def recorded(encoder: AKOrN, head: nn.Linear, size: int = 16) -> dict[str, np.ndarray]:
    """Return input, noise, weights and what came out, by the names of a recorded file (without its config)."""
    draw = generator("cpu", "recorded")
    images = torch.rand(2, 3, size, size, generator=draw)
    noise = encoder.sample_initial(images, draw)
    with torch.no_grad(), as_published():
        features = encoder(images, initial=noise, trace=True)
        arrays = {"input/image": images, "noise": noise, "output": head(features.pooled)}
    for index, layer in enumerate(features.trace):
        arrays |= {f"x/{index}": layer.states, f"energy/{index}": layer.energy_code}
    arrays |= {f"state/{name}": value for name, value in state(encoder, head).items()}
    return {name: value.numpy() for name, value in arrays.items()}


OF_BLOCKS = {  # networks for objects and Sudoku: ours, published
    "layers.0.frequencies.vector": "layers.0.0.omg.omg_param",
    "layers.0.coupling.to_qkv.": "layers.0.0.connectivity.W_qkv.",
    "layers.0.coupling.to_out.": "layers.0.0.connectivity.W_o.",
    "layers.0.coupling.rotations.query.matrices": "layers.0.0.connectivity.mat_q",
    "layers.0.coupling.rotations.key.matrices": "layers.0.0.connectivity.mat_k",
    "layers.0.coupling.rotations.value.matrices": "layers.0.0.connectivity.mat_v",
    "layers.0.coupling.rotations.output.matrices": "layers.0.0.connectivity.mat_o",
    "layers.0.norm.": "layers.0.0.c_norm.",
    "readouts.0.0.project.": "layers.0.1.0.invconv.",
    "readouts.0.0.offset": "layers.0.1.0.bias",
    "readouts.0.1.inner.0.": "layers.0.1.1.fn.fn.0.fn.",
    "readouts.0.1.inner.1.": "layers.0.1.1.fn.fn.1.fn.",
    "readouts.0.1.last.": "layers.0.1.2.fn.",
    "stem.": "patchfy.1.",
    "embedding.": "embedding.",
    "step_size": "gamma",
}


def objects(**options: Any) -> tuple[Encoder, dict[str, Tensor]]:
    """Return a small network for object discovery without its head, and its state dict by its published names."""
    given = {"image_size": 8, "patch": 4, "channels": 8, "attention_heads": 2, "num_steps": 2, **options}
    with borrowed_global(generator("cpu", "published objects")):
        encoder = ENCODERS.build("patch_akorn", given).eval()
    found = {_of_blocks(name): value for name, value in encoder.state_dict().items()}
    return encoder, {name.replace("layers.0.1.0.", "layers.0.1."): value for name, value in found.items()}


def sudoku(**options: Any) -> tuple[Encoder, dict[str, Tensor]]:
    """Return a small Sudoku network, and its state dict with that of a head by their published names."""
    with borrowed_global(generator("cpu", "published sudoku")):
        encoder = ENCODERS.build("board_akorn", {"side": 4, "symbols": 4, "channels": 8, **options}).eval()
        head = PerCell(8, 4)
    found = {}
    for name, value in encoder.state_dict().items():
        found[_of_blocks(name.replace("layer.", "layers.0.", 1).replace("readout.", "readouts.0.", 1))] = value
    return encoder, found | {f"out.1.{part}": value for part, value in head.to_logits.state_dict().items()}


def _of_blocks(name: str) -> str:
    start = next(start for start in OF_BLOCKS if name.startswith(start))
    return OF_BLOCKS[start] + name.removeprefix(start)
