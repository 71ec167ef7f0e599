"""Write one of our Winfree networks under the names of the published code: the inverse of interop.winfree."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sslkuramoto.dynamics.rounding import as_published
from sslkuramoto.dynamics.winfree import angles
from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.examples import Images
from sslkuramoto.heads import HEADS, taken
from sslkuramoto.randomness import borrowed_global, generator

OUTSIDE = {"stem.": "f_init.", "frequencies.weight": "f_init.omega_template"}
OF_LAYER = {
    "sensitivity.": "2.S.",
    "influence.": "2.I.",
    "coupling.to_qkv.": "2.coupling.0.W_qkv.",
    "coupling.to_out.": "2.coupling.0.W_o.",
    "coupling.": "2.coupling.0.",
    "norm.": "2.coupling.1.",
}


def network(kind: str, **options: Any) -> tuple[Encoder, nn.Module]:
    """Return a small network with weights that leave nothing at its initial value, and its head."""
    draw = generator("cpu", "published", str(sorted(options.items(), key=str)))
    name = "winfree" if kind == "winfree_image" else "board_winfree"
    channels = options.get("channels", 16)
    widest = channels if isinstance(channels, int) else max(channels)
    positions = "rope" if widest >= 4 * options.get("attention_heads", 8) else "none"
    with borrowed_global(draw):
        encoder = ENCODERS.build(name, {"channels": 16, "positions": positions, **options})
        head = HEADS.build(*(("linear", {}) if name == "winfree" else ("per_cell", {"relu": False})), *sizes(encoder))
    with torch.no_grad():
        for tensor in (*encoder.parameters(), *encoder.buffers()):
            if tensor.is_floating_point() and tensor is not encoder.step_size:
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=draw))
    return encoder.eval(), head.eval()


def sizes(encoder: Encoder) -> tuple[int, int]:
    return encoder.num_features, 10 if Images in encoder.reads else encoder.inputs.symbols


def state(kind: str, encoder: Encoder, head: nn.Module) -> dict[str, Tensor]:
    """Return the state dict by its published names."""
    found = {"gamma": encoder.step_size.detach().reshape(1)}
    decoder = "output" if kind == "winfree_sudoku" else "decoder"
    for name, value in encoder.state_dict().items():
        first, *rest = name.split(".")
        if first == "layers":
            layer, part = rest[0], ".".join(rest[1:])
            start = next(start for start in OF_LAYER if part.startswith(start))
            heads = encoder.layers[int(layer)].coupling.heads if ".coupling.to_" in name else 1
            found[f"layers.{layer}.{OF_LAYER[start]}{part.removeprefix(start)}"] = published_order(name, value, heads)
        elif first == "phase_transitions":
            found[f"layers.{int(rest[0]) + 1}.0.conv.{rest[1]}"] = value
        elif first == "frequency_transitions":
            embedding = "1.theta_embedding.proj" if kind == "winfree_sudoku" else "1.theta_emb.proj"
            part = ".".join([embedding, *rest[2:]]) if rest[1] == "embedding" else ".".join(["1", *rest[1:]])
            found[f"layers.{int(rest[0]) + 1}.{part}"] = value
        elif first == "decoder":
            found[f"{decoder}.0.proj.{rest[1]}" if rest[0] == "0" else f"{decoder}.{'.'.join(rest)}"] = value
        else:
            start = next(start for start in OUTSIDE if name.startswith(start))
            value = value[..., None, None] if first == "frequencies" else value
            for copy in (OUTSIDE[start], OUTSIDE[start].replace("f_init", "conv0")):
                found[copy + name.removeprefix(start)] = value
    found |= {f"out.{name.rpartition('.')[2]}": value for name, value in head.state_dict().items()}
    return found


def published_order(name: str, value: Tensor, heads: int) -> Tensor:
    """Return a weight of an attention with the channels of each head together; other weights as they are."""
    if ".coupling.to_" not in name:
        return value
    if name.endswith("to_qkv.weight"):
        return value[:, :, 0, 0].unflatten(0, (3, -1, heads)).transpose(1, 2).flatten(0, 2)
    if name.endswith("to_qkv.bias"):
        return value.unflatten(0, (3, -1, heads)).transpose(1, 2).flatten()
    return value[:, :, 0, 0].unflatten(1, (-1, heads)).transpose(1, 2).flatten(1) if value.ndim == 4 else value


def recorded(kind: str, encoder: Encoder, head: nn.Module, size: int = 8) -> dict[str, np.ndarray]:
    """Return input, noise, weights and what came out, by the names of a recorded file (without its config)."""
    draw = generator("cpu", "recorded")
    if kind == "winfree_image":
        inputs = given = torch.rand(2, 3, size, size, generator=draw)
        name = "input/image"
    else:
        shown = encoder.inputs.input_symbols
        least, most = (1, shown) if shown else (0, encoder.inputs.symbols)
        inputs = torch.randint(least, most + 1, (2, size, size), generator=draw)
        name, given = ("input/tokens", inputs) if kind == "winfree_sudoku" else ("input/maze", inputs - 1)
    noise = encoder.sample_initial(inputs, draw)
    with torch.no_grad(), as_published():
        features = encoder(inputs, initial=noise, trace=True)
        output = head(taken(head, features.pooled, features.map))
    arrays = {name: given, "noise": noise}
    arrays["output"] = output if output.ndim == 2 else output.permute(0, 2, 3, 1)
    for index, layer in enumerate(features.trace):
        arrays |= {f"theta/{index}": angles(layer.states), f"energy/{index}": layer.energy_code}
    arrays |= {f"state/{name}": value for name, value in state(kind, encoder, head).items()}
    return {name: value.numpy() for name, value in arrays.items()}
