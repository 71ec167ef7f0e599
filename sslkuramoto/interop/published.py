"""Networks that other people published, in our encoders: by the arguments of their constructor and their weights.

``KINDS`` names the kinds. ``published(config, state)`` gives encoder, head, and what of the file is not used.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslkuramoto.dynamics.rounding import as_published
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.heads import taken
from sslkuramoto.interop import akorn, akorn_blocks, winfree
from sslkuramoto.interop.published_weights import Built, agrees_with_weight


class Kind(NamedTuple):
    """One kind of published network.

    Attributes:
        family: whose code wrote the file, as the command line names it.
        networks: what it is, for messages.
        recipe: the recipe of the published run, by its name.
        mark: a weight that no network of the kinds below has; it names the kind of a checkpoint without arguments.
        build: encoder and head from arguments and weights.
        read: arguments that are read, or that show in the weights.
        unused: names the weights that take no part in the forward pass.
        answers: whether the head answers the task; one that served training alone does not.
        assumed: what neither the arguments nor the weights say, one sentence each.
    """

    family: str
    networks: str
    recipe: str
    mark: str
    build: Callable[[Mapping[str, Any], Mapping[str, Tensor]], Built]
    read: frozenset[str]
    unused: Callable[[Mapping[str, Tensor]], list[str]]
    answers: bool = True
    assumed: Callable[[Mapping[str, Any], Mapping[str, Tensor]], list[str]] = lambda config, state: []


KINDS = {
    "classification": Kind(
        "akorn",
        "AKOrN for image classification",
        "cifar10-akorn-supervised",
        "conv0.weight",
        akorn.from_published,
        frozenset(akorn.READ),
        akorn_blocks.left_out,
    ),
    "object_discovery": Kind(
        "akorn",
        "AKOrN for object discovery",
        "clevrtex-akorn-simclr",
        "patchfy.1.weight",
        akorn_blocks.objects_from_published,
        frozenset(akorn_blocks.READ),
        akorn_blocks.left_out,
        answers=False,
    ),
    "sudoku": Kind(
        "akorn",
        "AKOrN for Sudoku",
        "sudoku9-akorn",
        "embedding.weight",
        akorn_blocks.sudoku_from_published,
        frozenset(akorn_blocks.READ),
        akorn_blocks.left_out,
    ),
    "winfree_image": Kind(
        "winfree",
        "Winfree network for image classification",
        "cifar10-winfree-supervised",
        "f_init.0.weight",
        winfree.image_from_published,
        frozenset(winfree.READ),
        winfree.left_out,
        assumed=winfree.assumed,
    ),
    "winfree_sudoku": Kind(
        "winfree",
        "Winfree network for Sudoku",
        "sudoku9-winfree",
        "output.0.proj.weight",
        winfree.sudoku_from_published,
        frozenset(winfree.READ),
        winfree.left_out,
        assumed=winfree.assumed,
    ),
    "winfree_maze": Kind(
        "winfree",
        "Winfree network for mazes",
        "maze-hard-winfree",
        "f_init.omega_template",
        winfree.maze_from_published,
        frozenset(winfree.READ),
        winfree.left_out,
        assumed=winfree.assumed,
    ),
}


class Published(NamedTuple):
    """A published network in ours.

    Attributes:
        kind: a key of :data:`KINDS`.
        built: encoder and head.
        not_read: arguments that no option of ours describes, and gamma where the weights hold another.
        not_used: weights that the published network holds and does not use.
        assumed: what neither the arguments nor the weights say, one sentence each.
    """

    kind: str
    built: Built
    not_read: list[str]
    not_used: list[str]
    assumed: list[str]


def kind_of(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return the kind that the arguments state, or that the weights show.

    Raises:
        UserError: an unknown kind, or weights of none.
    """
    if "kind" in config:
        if config["kind"] not in KINDS:
            raise unknown("kind", str(config["kind"]), KINDS)
        return str(config["kind"])
    for name, kind in KINDS.items():
        if kind.mark in state:
            return name
    marks = ", ".join(kind.mark for kind in KINDS.values())
    raise UserError(f"holds none of {marks}: the weights of no published network that can be read")


def published(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Published:
    """Return a published network in our encoder and head.

    Args:
        config: arguments of the published constructor; those not named have its defaults.
        state: its state dict, by its published names.

    Raises:
        UserError: an unknown kind; weights that are missing, left over or of another shape; an argument that no
            option of ours describes.
    """
    name = kind_of(config, state)
    kind = KINDS[name]
    if empty := [each for each, value in state.items() if not value.numel()]:
        raise UserError(f"{empty[0]} of shape {tuple(state[empty[0]].shape)}: holds no number")
    built = kind.build(config, state)
    overruled = {"gamma"} if "gamma" in state and not agrees_with_weight(config, state, "gamma") else set()
    not_read = sorted(set(config) - (kind.read - overruled))
    return Published(name, built, not_read, kind.unused(state), kind.assumed(config, state))


@torch.no_grad()
@as_published()
def answer(network: Published, inputs: Tensor, initial: Tensor) -> tuple[Tensor | None, tuple[Any, ...]]:
    """Return the output of the head and the trace of every layer, from given initial states, rounded as published."""
    encoder, head = network.built.encoder, network.built.head
    features = encoder(inputs, initial=initial, trace=True)
    output = None if head is None else head(taken(head, features.pooled, features.map))
    assert features.trace is not None
    return output, features.trace
