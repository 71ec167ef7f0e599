"""The identity of a network that was not trained by this package: a hash of everything that decides its outputs.

Two networks count as the same if these are equal:

- parameters and buffers, by name, also buffers that no state dict holds;
- options: the plain attributes of each submodule, such as the ``p`` of dropout: numbers, text, tensors, arrays,
  functions (their code and closures), hooks, modules in lists, and sequences, mappings and dataclasses of these.
  For any other object, one that cannot be read, or one nested more than 100 levels deep, only the class counts;
- which submodules are in training mode;
- the source files of the classes of the submodules, except those of torch and of this package.

A buffer or attribute that changes during a forward pass, such as a counter of calls or a running mean, is state and not
part of the identity. A copy makes two forward passes, and what differs between them is not hashed; a cache that the
first pass fills is therefore the same for used and unused networks. An attribute that is new at each start of the
program, such as a time stamp, makes another network at each start, and its attacks are run again.

A global variable that a function reads and the content of an object of another kind are not seen here. The directory of
results therefore also holds what the network answers (:func:`~sslkuramoto.any_network.answers_of`).
"""

import copy
import dataclasses
import json
import pickle
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from hashlib import sha256
from types import CellType, CodeType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.randomness import generator
from sslkuramoto.sources import foreign_code

_OF_TORCH = set(vars(nn.Module()))  # attributes that torch keeps: weights, parts, hooks
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_DEEPEST = 100  # values within values; far below the depth at which Python stops


def identity_of(network: nn.Module, ask: Callable[[nn.Module], object], more: object = None) -> str:
    """Return the hash that identifies a network.

    Args:
        network: not changed, if it can be copied.
        ask: makes a forward pass of a network with a few images, always the same ones under the same seed.
        more: other plain values that decide its outputs.
    """
    copied = a_copy(network)
    passes = []
    for _ in range(2):
        ask(copied)
        passes.append(dict(_Description().facts(copied)))
    lasting = sorted(item for item in passes[0].items() if passes[1].get(item[0]) == item[1])
    code = foreign_code(*(part for part in network.modules() if not type(part).__module__.startswith("torch.")))
    return sha256(json.dumps([lasting, code, more], sort_keys=True).encode()).hexdigest()


def images_to_ask(size: int) -> Float[Tensor, "4 3 y x"]:
    """Return the images for :func:`identity_of`, on the CPU: always the same for one size."""
    return torch.rand(4, 3, size, size, generator=generator("cpu", "images for an identity"))


def a_copy(network: nn.Module) -> nn.Module:
    """Return a copy, whose calls leave no trace in the network; the network itself if it cannot be copied."""
    with suppress(RuntimeError, TypeError, ValueError, copy.Error, pickle.PicklingError):
        return copy.deepcopy(network)
    return network


class _Description:
    """Descriptions of the values of a network that enter the hash; valid while no value changes.

    A value that occurs in several places is described once: otherwise the time would double with each level of lists
    that share their items. Descriptions inside a reference cycle are not cached, since they depend on where the cycle
    was entered.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, str]] = {}  # by id; the value is kept, so that no other one gets its id
        self._open: list[int] = []  # ids of what is being described
        self._circular = False  # whether something was met inside itself

    def facts(self, network: nn.Module) -> Iterator[tuple[str, str]]:
        """Return weights, modes and options of a network, each with its name."""
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            yield f"weight {name}", self.of(value)
        self._open.append(id(network))
        for name, part in network.named_modules():
            yield f"mode {name}", str(part.training)
            own = {key: value for key, value in vars(part).items() if key not in _OF_TORCH}
            own |= {key: list(vars(part)[key].values()) for key in _HOOKS if vars(part)[key]}
            for key, value in own.items():
                yield f"option {name}.{key}", self.of(value)
        self._open.pop()

    def of(self, value: object) -> str:
        """Return the description of a value; the name of its type if it cannot be described."""
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._open:
            self._circular = True
            return "a part of itself"
        if len(self._open) >= _DEEPEST:
            return type(value).__qualname__
        depth, around, self._circular = len(self._open), self._circular, False
        try:
            found = _single(value)
            if found is None:
                if not isinstance(value, nn.Module):  # that is entered below its weights
                    self._open.append(id(value))
                found = sha256(json.dumps(self._parts(value)).encode()).hexdigest()
        except Exception:  # objects of other packages may raise anything when they are read
            found = type(value).__qualname__
        del self._open[depth:]
        if not self._circular:
            self._known[id(value)] = value, found
        self._circular |= around
        return found

    def _parts(self, value: Any) -> Any:
        """Return the descriptions of the parts of a value, under the name of its type."""
        kind = str(getattr(value, "__qualname__", type(value).__qualname__))
        if isinstance(value, nn.Module):
            return [kind, sorted(self.facts(value))]
        if isinstance(value, Mapping):
            return [kind, *sorted([self.of(key), self.of(item)] for key, item in value.items())]
        if isinstance(value, set | frozenset):
            return [kind, *sorted(map(self.of, value))]
        if isinstance(value, list | tuple):
            return [kind, *map(self.of, value)]
        if isinstance(value, np.ndarray | np.generic):  # of objects: its bytes are their places in memory
            return [kind, str(value.dtype), value.shape, self.of(value.tolist())]
        if isinstance(value, Enum):
            return str(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
            return self._named(kind, fields | getattr(value, "__dict__", {}))  # with slots there is none
        if isinstance(value, Namespace | SimpleNamespace):
            return self._named(kind, vars(value))
        if isinstance(value, CodeType):  # what it does, without file name and line numbers
            return [value.co_code.hex(), value.co_names, *map(self.of, value.co_consts)]
        if isinstance(value, FunctionType):
            cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            closed = self._named("closure", {name: cell.cell_contents for name, cell in cells if _filled(cell)})
            return [kind, *map(self.of, (value.__code__, value.__defaults__, value.__kwdefaults__)), closed]
        if isinstance(value, MethodType):
            return [kind, self.of(value.__self__), self.of(value.__func__)]
        if isinstance(value, partial):
            return [kind, *map(self.of, (value.func, value.args, value.keywords))]
        return kind

    def _named(self, kind: str, values: Mapping[str, object]) -> list[Any]:
        return [kind, *([name, self.of(values[name])] for name in sorted(values))]


def _filled(cell: CellType) -> bool:
    """Return whether a variable of a closure has a value."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _single(value: object) -> str | None:
    """Return the description of a value without parts; None for one with parts."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.Size):
        return repr(value)
    if isinstance(value, Tensor):
        return _content(value)
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return f"{value.dtype}{value.shape}{sha256(value.tobytes()).hexdigest()}"
    return None


def _content(value: Tensor) -> str:
    plain = value.detach().cpu()
    if plain.layout != torch.strided:
        sparse = plain.to_sparse_coo().coalesce()
        return f"{plain.layout}{tuple(plain.shape)}{_content(sparse.indices())}{_content(sparse.values())}"
    if plain.is_quantized:
        return f"{plain.dtype}{_content(plain.dequantize())}"
    plain = plain.resolve_conj().resolve_neg().contiguous()
    data = sha256(plain.view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    return f"{plain.dtype}{tuple(plain.shape)}{data}"
