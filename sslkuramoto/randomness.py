"""Random generators keyed by what they are for, so that any draw of a run can be repeated by naming it.

Nothing in the package reads the global generator of torch, numpy or ``random``. A training step draws from
``generator(device, seed, "views", step, rank)``: to resume at a step, or to replay a batch, is to name that step again.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

Key = int | str


def seed_of(*key: Key) -> int:
    """Return a seed in [0, 2**63) that depends on every part of ``key`` and on nothing else."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(device: torch.device | str, *key: Key) -> torch.Generator:
    """Return a fresh generator on ``device``, seeded by ``key``."""
    return torch.Generator(device=device).manual_seed(seed_of(*key))


@contextmanager
def borrowed_global(draw: torch.Generator) -> Iterator[None]:
    """Let a library that samples from torch's global generators draw from ``draw`` instead.

    The global generators that the library may use (the CPU's, and that of the CUDA device of ``draw``) are seeded by
    one number taken from ``draw`` and put back as they were on leaving; those of other devices are not touched. For
    kornia, pyautoattack and weight initialisation, which take no generator.
    """
    seed = int(torch.randint(0, 2**62, (), generator=draw, device=draw.device).item())
    with torch.random.fork_rng(devices=[draw.device] if draw.device.type == "cuda" else []):
        seed_global(seed, draw.device)
        yield


def seed_global(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of ``device``; only within :func:`borrowed_global`."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def reseeded(seed: int, device: torch.device, own: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Seed all that a network may draw from, and put it back afterwards.

    Args:
        seed: for the global generators of torch (CPU and ``device``), numpy and Python.
        device: of the network.
        own: generators that the network holds.
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


def own_generators(network: nn.Module) -> list[torch.Generator]:
    """Return the generators that a network's parts hold as attributes, or in lists and mappings there."""
    found: dict[int, torch.Generator] = {}
    for part in network.modules():
        for value in vars(part).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            found |= {id(each): each for each in held if isinstance(each, torch.Generator)}
    return list(found.values())
