"""By what a network that nobody trained here is known again: a hash of all that decides its answers.

The rule. Two networks are the same if these are equal:

- parameters and buffers, by name, also buffers that no state dict holds;
- options: the plain attributes of each part, such as the ``p`` of dropout: numbers, text, tensors, arrays, functions
  (their code and what they close over), hooks, modules that are kept in lists, and sequences, mappings and dataclasses
  of these. Of any other object, of one that cannot be read and of what lies more than 100 of these deep only the class
  counts;
- which parts are in training mode;
- the source files of the classes of the parts, where these are neither torch's nor ours.

A buffer or attribute that changes while the network answers is its state and no option: a counter of calls, a running
mean. A copy is asked twice, and what the two passes leave otherwise is not hashed; a cache that the first one fills is
the same for a network that was asked before and for one that never was. An attribute that is another one at each start
of the program and then stays, such as a time stamp, makes another network at each start: its attacks are run again.
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
        passes.append(dict(_Description().facts(copied)))
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


class _Description:
    """What stands in the hash for the values of a network, while none of them changes.

    A value that stands in several places is described once: lists that share their items would otherwise take twice as
    long with each level. That of a value in a circle is not kept, for it depends on where the circle is entered.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, str]] = {}  # by id; the value is kept, so that no other one gets its id
        self._open: list[int] = []  # ids of what is being described
        self._circular = False  # whether something was met inside itself

    def facts(self, network: nn.Module) -> Iterator[tuple[str, str]]:
        """Return weights, modes and options of a network, each by the place where it stands."""
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
        """Return what stands for a value: of one that cannot be described, the name of its type."""
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
        except Exception:  # whatever an object of somebody else does when it is read
            found = type(value).__qualname__
        del self._open[depth:]
        if not self._circular:
            self._known[id(value)] = value, found
        self._circular |= around
        return found

    def _parts(self, value: Any) -> Any:
        """Return the descriptions of what a value consists of, under the name of its kind."""
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
        if isinstance(value, CodeType):  # what it does, without the place and the lines where it stands
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
    """Return whether a name that a function closes over has a value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _single(value: object) -> str | None:
    """Return what stands for a value without parts, None for one that has some."""
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
