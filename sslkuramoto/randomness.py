"""Random generators that are seeded by a key, which says what they are for.

Nothing in the package draws from the global generators of torch, numpy or ``random``. The views of an optimiser step,
for example, come from ``generator(device, seed, "views", step, rank)``. The same key repeats the same numbers; this
makes a resumed run exact.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

Key = int | float | str


def seed_of(*key: Key) -> int:
    """Return a seed in [0, 2**63) that depends on every entry of ``key``, its type included, and on nothing else.

    Example:
        >>> seed_of("views", 1) == seed_of("views", 1), seed_of("views", 1) == seed_of("views", "1")
        (True, False)
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(device: torch.device | str, *key: Key) -> torch.Generator:
    """Return a new generator on ``device``, seeded by ``key``.

    Args:
        device: where the generator draws, such as ``"cpu"`` or ``"cuda"``.
        key: numbers and words that name what the generator is for.

    Example:
        >>> one, same = generator("cpu", 7, "views", 0), generator("cpu", 7, "views", 0)
        >>> torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=same))
        True
    """
    return torch.Generator(device=device).manual_seed(seed_of(*key))


@contextmanager
def borrowed_global(draw: torch.Generator) -> Iterator[None]:
    """Within this context, libraries that sample from torch's global generators depend only on ``draw``.

    The global generators of the CPU, and of the CUDA device of ``draw``, are seeded by one number drawn from ``draw``
    and restored afterwards; those of other devices are not touched. This is for code that accepts no generator: kornia,
    pyautoattack and the initialisation of weights.
    """
    seed = int(torch.randint(0, 2**62, (), generator=draw, device=draw.device).item())
    with torch.random.fork_rng(devices=[draw.device] if draw.device.type == "cuda" else []):
        seed_global(seed, draw.device)
        yield


def seed_global(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of ``device``; only where they are restored afterwards."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def reseeded(seed: int, device: torch.device, own: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Within this context, every generator that a network may draw from is seeded; all are restored afterwards.

    Args:
        seed: seed of the global generators of torch (CPU and ``device``), numpy and Python.
        device: device of the network.
        own: generators that the network itself holds; each gets a seed derived from ``seed``.
    """
    states = [each.get_state() for each in own]
    python, array = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            seed_global(seed, device)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            for place, each in enumerate(own):
                each.manual_seed(seed_of("generator of the network", place, seed))
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
        for each, state in zip(own, states, strict=True):
            each.set_state(state)


def without_memory() -> bool:
    """Return whether tensors are made on the device meta here, where they have a shape and no numbers.

    Whoever makes a table then needs no numbers for it: to find their shape, torch would load its compiler.
    """
    return torch.get_default_device().type == "meta"


def normal(*shape: int, std: float) -> Tensor:
    """Return normal numbers from torch's global generator; without memory nothing is drawn.

    Args:
        shape: of the tensor.
        std: their standard deviation.
    """
    return torch.empty(*shape) if without_memory() else std * torch.randn(*shape)


def own_generators(network: nn.Module) -> list[torch.Generator]:
    """Return the generators that a network's submodules hold as attributes, directly or in a list, tuple or dict."""
    found: dict[int, torch.Generator] = {}
    for part in network.modules():
        for value in vars(part).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            found |= {id(each): each for each in held if isinstance(each, torch.Generator)}
    return list(found.values())
