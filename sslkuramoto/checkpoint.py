"""Checkpoints: the only bridge from training to evaluation.

A checkpoint is one safetensors file. Exported weights (:func:`save_weights`) are in it under their parameters' names,
so that any reader of safetensors finds them; the metadata entry ``sslkuramoto`` is JSON from which the module is
rebuilt. The nested state of a training run (:func:`save`) has numbered tensors, and that entry lists the place of each.
Reading a checkpoint runs no code of its author. Files are written whole or not at all.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.files import content_of, write_atomically
from sslkuramoto.heads import HEADS
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Part

M = TypeVar("M", bound=nn.Module)

_HEADER = "sslkuramoto"
_PLAIN = (bool, int, float, str, type(None))


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested mappings, lists, tuples, numbers, text and tensors to ``path``.

    Raises:
        UserError: the disk is full or the place cannot be written; the previous file remains.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_pack(state, tensors))
    write_atomically(path, save_tensors(tensors, {_HEADER: header}))


def save_weights(path: Path, weights: Mapping[str, Tensor], *, kind: str, **sections: Mapping[str, Any]) -> None:
    """Write the weights of a module under their own names.

    Args:
        path: the file.
        weights: a state dict.
        kind: what the module is, asked for by :func:`load_kind`.
        sections: recipe sections that rebuild it, of plain values.

    Raises:
        UserError: as :func:`save`.
    """
    # one entry, for safetensors writes several in any order, and equal weights shall give equal files
    write_atomically(path, packed_weights(weights, {_HEADER: json.dumps({"kind": kind, **sections})}))


def packed_weights(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the safetensors file of a state dict; weights that share memory are written one by one."""
    return save_tensors({name: _own(value) for name, value in weights.items()}, dict(metadata))


def _own(value: Tensor) -> Tensor:
    return value.detach().cpu().contiguous().clone()


def load(path: Path) -> dict[str, Any]:
    """Read what :func:`save` wrote, or kind, sections and ``weights`` of :func:`save_weights`; tensors are on the CPU.

    Raises:
        UserError: no such file, a truncated file, or one that is no checkpoint of this package.
    """
    header, tensors = _read(path)
    try:
        content = json.loads(header)
        named = isinstance(content, dict) and "kind" in content
        state = {**content, "weights": tensors} if named else _unpack(content, tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: damaged checkpoint (its header does not fit its tensors)") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: damaged checkpoint (its header holds no mapping)")
    return state


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    if not path.exists():
        raise UserError(f"{path}: no such checkpoint")
    data = content_of(path)
    try:
        tensors = load_tensors(data)
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        pickled = data[:2] == b"PK" or data[:1] == b"\x80"  # torch.save's zip, or a bare pickle
        reason = (
            "a pickle, as torch.save writes; only safetensors are read" if pickled else " ".join(str(error).split())
        )
        raise UserError(f"{path}: truncated, or no checkpoint: {reason}") from None
    if _HEADER not in metadata:
        raise UserError(f"{path}: a safetensors file of another program, no checkpoint of sslkuramoto")
    return metadata[_HEADER], tensors


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = str(len(tensors))
        tensors[key] = _own(value)
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
    save_weights(path, encoder.state_dict(), kind="encoder", encoder=part.to_dict())


def export_head(path: Path, head: nn.Module, part: Part) -> None:
    """Write a head with the section that rebuilds it (name and options in :data:`~sslkuramoto.heads.HEADS`)."""
    size = {"in_features": head.in_features, "out_features": head.out_features}
    save_weights(path, head.state_dict(), kind="head", head=part.to_dict(), size=size)


def load_encoder(path: Path, overrides: Mapping[str, Any] | None = None) -> Encoder:
    """Rebuild an encoder from what :func:`export_encoder` wrote, in eval mode, without gradients.

    Args:
        path: the file.
        overrides: options to change that leave the weights as they are, for example ``{"num_steps": 8}``.

    Raises:
        UserError: an unreadable or foreign file, or weights that do not fit the encoder: all of them load, or none.
    """
    state = load_kind(path, "encoder", {"encoder": dict, "weights": dict})
    return build_encoder(state["encoder"] | dict(overrides or {}), state["weights"], str(path))


def build_encoder(section: Mapping[str, Any], weights: Mapping[str, Any], source: str) -> Encoder:
    """Build the encoder of a recipe section with given weights, in eval mode, without gradients.

    Args:
        section: its name and options.
        weights: a state dict.
        source: where they are from, for messages.

    Raises:
        UserError: an unknown encoder or option, or weights that do not fit.
    """
    name, options = cast(str, section.get("name")), {key: value for key, value in section.items() if key != "name"}
    options = ENCODERS.result_class(name, Encoder).rebuilt(options)
    return _filled(lambda: ENCODERS.build(name, options), weights, source)


class HeadParts(NamedTuple):
    """What a head is rebuilt from.

    Attributes:
        section: its name and options in :data:`~sslkuramoto.heads.HEADS`.
        size: its numbers of features and of answers.
        weights: a state dict.
    """

    section: dict[str, Any]
    size: tuple[int, int]
    weights: Mapping[str, Any]


def load_head(path: Path) -> nn.Module:
    """Rebuild a head from what :func:`export_head` wrote, in eval mode, without gradients.

    Args:
        path: the file; also an older one of kind "classifier", which holds a linear head.

    Raises:
        UserError: an unreadable or foreign file.
    """
    return build_head(head_parts(path), str(path))


def head_parts(path: Path) -> HeadParts:
    """Read the file of a head and build nothing.

    Args:
        path: as for :func:`load_head`.

    Raises:
        UserError: an unreadable or foreign file.
    """
    state = load(path)
    if state.get("kind") == "classifier":
        _check_kind(path, state, "classifier", {"weights": dict})
        return linear_parts(state["weights"], str(path))
    _check_kind(path, state, "head", {"head": dict, "size": dict, "weights": dict})
    return HeadParts(state["head"], size_of_head(state["size"], str(path)), state["weights"])


def size_of_head(size: Mapping[str, Any], source: str) -> tuple[int, int]:
    """Return the sizes of a head from their mapping.

    Raises:
        UserError: there are none.
    """
    numbers = [size.get(key) for key in ("in_features", "out_features")]
    if not all(type(number) is int and 0 < number < 2**31 for number in numbers):
        raise UserError(f"{source}: damaged checkpoint (its entry 'size' holds no two numbers)")
    return cast(tuple[int, int], tuple(numbers))


def linear_parts(weights: Mapping[str, Any], source: str) -> HeadParts:
    """Return the parts of a linear classifier that files of before there were heads hold by its weights alone.

    Raises:
        UserError: they are those of something else.
    """
    weight = weights.get("weight")
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise UserError(f"{source}: damaged checkpoint (a classifier has a matrix 'weight')")
    return HeadParts({"name": "linear"}, (weight.shape[1], weight.shape[0]), weights)


def build_head(parts: HeadParts, source: str) -> nn.Module:
    """Build a head, in eval mode, without gradients.

    Args:
        parts: its section, sizes and weights.
        source: where they are from, for messages.

    Raises:
        UserError: an unknown head or option, or weights that do not fit.
    """
    options = {key: value for key, value in parts.section.items() if key != "name"}
    name = cast(str, parts.section.get("name"))
    return _filled(lambda: HEADS.build(name, options, *parts.size), parts.weights, source)


def _filled(build: Callable[[], M], weights: Mapping[str, Any], source: str) -> M:
    """Build a module with given weights, in eval mode, without gradients.

    Its sizes are compared with those of the weights before memory is taken for them: a file may name any size.
    """
    with torch.device("meta"), borrowed_global(generator("cpu", "weights that are replaced")):
        check_fit(build(), weights, source)
    with borrowed_global(generator("cpu", "weights that are replaced")):
        module = build()
    load_strictly(module, weights, source)
    return module.eval().requires_grad_(False)


def load_kind(path: Path, kind: str, entries: Mapping[str, type]) -> dict[str, Any]:
    """Read a checkpoint of one kind.

    Args:
        path: the file.
        kind: what :func:`save` was given as ``kind``.
        entries: further keys that it must have, with their types.

    Raises:
        UserError: as :func:`load`; also a checkpoint of another kind, or one that lacks an entry.
    """
    state = load(path)
    _check_kind(path, state, kind, entries)
    return state


def _check_kind(path: Path, state: Mapping[str, Any], kind: str, entries: Mapping[str, type]) -> None:
    if state.get("kind") != kind:
        raise UserError(f"{path}: is a checkpoint of kind {state.get('kind')!r}, not {kind!r}")
    for key, wanted in entries.items():
        if not isinstance(state.get(key), wanted):
            raise UserError(f"{path}: damaged checkpoint (its entry {key!r} is no {wanted.__name__})")


def load_strictly(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Load a state dict all or nothing.

    Raises:
        UserError: names the first weight that is missing, left over, no tensor, of another shape, or not finite.
    """
    check_loads(module, weights, source)
    module.load_state_dict(dict(weights))


def check_loads(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Check all that :func:`load_strictly` checks, and load nothing."""
    check_fit(module, weights, source)
    for name, _ in module.named_parameters():  # a buffer may hold -inf, as masks of attention do
        if not weights[name].isfinite().all():
            raise UserError(f"{source}: weight {name!r} holds values that are not finite (nan or inf)")


def check_fit(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Check names and shapes as :func:`load_strictly` does; ``module`` may be on the device ``"meta"``."""
    wanted = module.state_dict()
    for name in sorted({*wanted, *weights}, key=str):
        if name not in weights:
            raise UserError(f"{source}: lacks the weight {name!r}")
        if name not in wanted:
            raise UserError(f"{source}: weight {name!r} has no place here")
        shape = tuple(getattr(weights[name], "shape", ("no tensor",)))
        if shape != tuple(wanted[name].shape):
            raise UserError(f"{source}: weight {name!r} has shape {shape}, here {tuple(wanted[name].shape)}")


def weights_hash(network: nn.Module | Mapping[str, Tensor]) -> str:
    """Return a hash of all weights and buffers of a module or a state dict, the same on every machine."""
    digest = hashlib.sha256()
    weights = network.state_dict() if isinstance(network, nn.Module) else network
    for name, value in sorted(weights.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
