"""By what a network that nobody trained here is known again: a hash of all that decides its answers.

The rule. Two networks are the same if these are equal:

- parameters and buffers, by name, also buffers that no state dict holds;
- options: the plain attributes of each part, such as the ``p`` of dropout: numbers, text, tensors, arrays, functions
  (their code and what they close over), hooks, modules that are kept in lists, and sequences, mappings and dataclasses
  of these. Of any other object only its class counts;
- which parts are in training mode;
- the source files of the classes of the parts, where these are neither torch's nor ours.

A buffer or attribute that changes while the network answers is its state and no option: a counter of calls, a running
mean. A copy is asked twice, and what the two passes leave otherwise is not hashed; a cache that the first one fills is
the same for a network that was asked before and for one that never was. An attribute that differs from start to start
and stays as it is, such as a time stamp, makes another network: work is then done again, and never taken from another.
"""

import copy
import dataclasses
import inspect
import json
import pickle
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from hashlib import sha256
from types import CodeType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.randomness import generator
from sslkuramoto.sources import foreign_code

_OF_TORCH = set(vars(nn.Module()))  # attributes that torch keeps: weights, parts, hooks
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def identity_of(network: nn.Module, ask: Callable[[nn.Module], object], more: object = None) -> str:
    """Return the hash by which a network is known.

    Args:
        network: stays as it is, where it can be copied.
        ask: answers a few images by a network, always the same ones under the same seed.
        more: plain values that decide its answers too.
    """
    copied = a_copy(network)
    passes = []
    for _ in range(2):
        ask(copied)
        passes.append(dict(_facts(copied)))
    lasting = sorted(item for item in passes[0].items() if passes[1].get(item[0]) == item[1])
    code = foreign_code(*(part for part in network.modules() if not type(part).__module__.startswith("torch.")))
    return sha256(json.dumps([lasting, code, more], sort_keys=True).encode()).hexdigest()


def images_to_ask(size: int) -> Float[Tensor, "4 3 y x"]:
    """Return the images that are answered for an identity, on the CPU: always the same ones of a size."""
    return torch.rand(4, 3, size, size, generator=generator("cpu", "images for an identity"))


def a_copy(network: nn.Module) -> nn.Module:
    """Return a copy, which may be asked without a trace; the network itself where it cannot be copied."""
    with suppress(RuntimeError, TypeError, ValueError, copy.Error, pickle.PicklingError):
        return copy.deepcopy(network)
    return network


def _facts(network: nn.Module, seen: tuple[int, ...] = ()) -> Iterator[tuple[str, str]]:
    """Return weights, modes and options of a network, each by the place where it stands."""
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        yield f"weight {name}", _content(value)
    for name, part in network.named_modules():
        yield f"mode {name}", str(part.training)
        own = {key: value for key, value in vars(part).items() if key not in _OF_TORCH}
        own |= {key: list(vars(part)[key].values()) for key in _HOOKS if vars(part)[key]}
        for key, value in own.items():
            yield f"option {name}.{key}", json.dumps(_plain(value, (*seen, id(network))))


def _plain(value: object, seen: tuple[int, ...]) -> Any:
    """Return what stands for a value in the hash.

    Args:
        value: of an attribute.
        seen: what it is a part of, which is not described again.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.Size):
        return repr(value)
    if isinstance(value, Tensor):
        return _content(value)
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype}{value.shape}{sha256(value.tobytes()).hexdigest()}"
    if id(value) in seen:
        return "a part of itself"
    inner = (*seen, id(value))

    def each(values: Any) -> list[Any]:
        return [_plain(item, inner) for item in values]

    kind = getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, nn.Module):
        return [kind, sorted(_facts(value, seen))]
    if isinstance(value, Mapping):
        return [kind, *sorted(map(json.dumps, map(each, value.items())))]
    if isinstance(value, set | frozenset):
        return [kind, *sorted(map(json.dumps, each(value)))]
    if isinstance(value, list | tuple):
        return [kind, *each(value)]
    if isinstance(value, Namespace | SimpleNamespace) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    ):
        return [kind, *each(sorted(vars(value).items()))]
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, CodeType):  # what it does, without the place and the lines where it stands
        return [value.co_code.hex(), value.co_names, *each(value.co_consts)]
    if isinstance(value, FunctionType):
        closed = inspect.getclosurevars(value).nonlocals
        return [kind, *each([value.__code__, value.__defaults__, value.__kwdefaults__, closed])]
    if isinstance(value, MethodType):
        return [kind, *each([value.__self__, value.__func__])]
    if isinstance(value, partial):
        return [kind, *each([value.func, value.args, value.keywords])]
    return kind


def _content(value: Tensor) -> str:
    plain = value.detach().cpu().contiguous()
    data = sha256(plain.view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    return f"{plain.dtype}{tuple(plain.shape)}{data}"
