"""Checkpoints: the only bridge from training to evaluation.

A checkpoint is one safetensors file: tensors by number, and a JSON header that says where in the nested state each belongs.
Reading one runs no code of its author. Files are written whole or not at all.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically
from sslkuramoto.recipe import Part

_HEADER = "sslkuramoto"
_PLAIN = (bool, int, float, str, type(None))


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested mappings, lists, tuples, numbers, text and tensors to ``path``.

    Raises:
        UserError: the disk is full or the place cannot be written; what was there is kept.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_pack(state, tensors))
    write_atomically(path, save_tensors(tensors, {_HEADER: header}))


def load(path: Path) -> dict[str, Any]:
    """Read what :func:`save` wrote; tensors are on the CPU.

    Raises:
        UserError: no such file, a truncated file, or one that is no checkpoint of this package.
    """
    header, tensors = _read(path)
    try:
        state = _unpack(json.loads(header), tensors)
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(f"{path}: damaged checkpoint (its header does not fit its tensors)") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: damaged checkpoint (its header holds no mapping)")
    return state


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        tensors = load_tensors(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = "a pickle of torch.save; only safetensors are read" if data[:2] in (b"PK", b"\x80\x02") else error
        raise UserError(f"{path}: truncated, or no checkpoint: {' '.join(str(reason).split())}") from None
    if _HEADER not in metadata:
        raise UserError(f"{path}: a safetensors file of another program, no checkpoint of sslkuramoto")
    return metadata[_HEADER], tensors


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = str(len(tensors))
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {"tensor": key}
    if isinstance(value, Mapping):
        return {"map": [[_pack(key, tensors), _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(item, tensors) for item in value]}
    assert isinstance(value, _PLAIN), f"cannot be saved: {type(value)}"
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, _PLAIN):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "map":
        return {_unpack(key, tensors): _unpack(item, tensors) for key, item in content}
    items = [_unpack(item, tensors) for item in content]
    if kind not in ("list", "tuple"):
        raise ValueError(kind)
    return items if kind == "list" else tuple(items)


def export_encoder(path: Path, encoder: nn.Module, part: Part) -> None:
    """Write an encoder with the recipe section that rebuilds it."""
    save(path, {"kind": "encoder", "encoder": part.to_dict(), "weights": dict(encoder.state_dict())})


def export_classifier(path: Path, head: nn.Linear) -> None:
    """Write a linear classifier on pooled features."""
    save(path, {"kind": "classifier", "weights": dict(head.state_dict())})


def load_encoder(path: Path, overrides: Mapping[str, Any] | None = None) -> Encoder:
    """Rebuild an encoder from what :func:`export_encoder` wrote, in eval mode, without gradients.

    Args:
        path: the file.
        overrides: options to change that leave the weights as they are, for example ``{"num_steps": 8}``.

    Raises:
        UserError: an unreadable or foreign file, or weights that do not fit the encoder: all of them load, or none.
    """
    state = load(path)
    if state.get("kind") != "encoder":
        raise UserError(f"{path}: holds a {state.get('kind', 'training state')}, no encoder")
    options = {key: value for key, value in state["encoder"].items() if key != "name"} | dict(overrides or {})
    encoder = ENCODERS.build(state["encoder"]["name"], options)
    load_strictly(encoder, state["weights"], str(path))
    return encoder.eval().requires_grad_(False)


def load_classifier(path: Path) -> nn.Linear:
    """Rebuild a classifier from what :func:`export_classifier` wrote, in eval mode, without gradients."""
    state = load(path)
    if state.get("kind") != "classifier":
        raise UserError(f"{path}: holds a {state.get('kind', 'training state')}, no classifier")
    weight = state["weights"]["weight"]
    head = nn.Linear(weight.shape[1], weight.shape[0])
    load_strictly(head, state["weights"], str(path))
    return head.eval().requires_grad_(False)


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict all or nothing.

    Raises:
        UserError: names the first weight that is missing, left over, or of another shape.
    """
    wanted = module.state_dict()
    for name in sorted({*wanted, *weights}):
        if name not in weights:
            raise UserError(f"{source}: lacks the weight {name!r}")
        if name not in wanted:
            raise UserError(f"{source}: weight {name!r} has no place here")
        if wanted[name].shape != weights[name].shape:
            raise UserError(
                f"{source}: weight {name!r} has shape {tuple(weights[name].shape)}, here {tuple(wanted[name].shape)}"
            )
    module.load_state_dict(dict(weights))


def weights_hash(module: nn.Module) -> str:
    """Return a hash of all weights and buffers, the same on every machine."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
