"""FSDP2: every process keeps an equal share of each weight, its gradient and its optimiser state.

Zhao et al. 2023, "PyTorch FSDP" (arXiv 2304.11277); the second version, ``torch.distributed.fsdp.fully_shard``. Layers
that iterate steps, and their readouts, gather their weights whenever they run and free them afterwards; all other
weights are gathered once for each part of a batch. Between steps a process holds 1 / n of everything, n processes.

What is written to disk is whole, so that a run continues under any strategy and with any number of processes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import nn

from sslkuramoto.dynamics.steps import Recomputing
from sslkuramoto.errors import UserError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

M = TypeVar("M", bound=nn.Module)


def check_shards(module: nn.Module, takes_gradients: bool) -> None:
    """Check that a module can be trained with its weights sharded.

    Args:
        module: not sharded yet.
        takes_gradients: whether its forward pass takes gradients itself. ``fully_shard`` would then free the weights of
            the whole at the end of the first one, where layers inside are sharded by themselves.

    Raises:
        UserError: a weight is a single number, which ``fully_shard`` does not take; gradients within the forward pass.
    """
    for name, weight in module.named_parameters():
        if weight.ndim == 0:
            raise UserError(f"engine.strategy='fsdp2': {name} is a single number and cannot be sharded; take 'ddp'")
    if takes_gradients and any(True for _ in _layers(module)):
        raise UserError(
            "engine.strategy='fsdp2': the objective takes gradients within its forward pass, and the layers of this "
            "encoder are sharded one by one; take 'ddp'"
        )


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers that are sharded by themselves."""
    return (m for m in module.modules() if isinstance(m, Recomputing) and any(True for _ in m.parameters()))


def shard(module: M, mesh: "DeviceMesh") -> M:
    """Shard the weights of a module over the processes of a mesh, in place.

    Args:
        module: is run through its ``forward`` only, or within :func:`gathered`.
        mesh: with one axis.
    """
    from torch.distributed.fsdp import fully_shard  # slow to load

    for layer in list(_layers(module)):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def shard_as(module: nn.Module, other: nn.Module) -> None:
    """Shard the weights of a module as those of another are, if they are."""
    mesh = _mesh(other)
    if mesh is not None:
        shard(module, mesh)


def _mesh(module: nn.Module) -> Any:
    """Return the mesh of processes that share the weights of a module, None where each has all."""
    return getattr(next(module.parameters(), None), "device_mesh", None)


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Within this context parts of a sharded module may be called by themselves; every process has to enter it."""
    if _mesh(module) is None:
        yield
        return
    root: Any = module
    root.unshard()
    try:
        yield
    finally:
        root.reshard()


def whole(state: Any, keep: bool = True) -> Any:
    """Return a state in which every shared-out tensor is whole; every process has to call this.

    Args:
        state: tensors in dictionaries, lists and tuples, as ``state_dict`` returns them.
        keep: whether this process keeps the whole tensors, in main memory; otherwise they become None.
    """
    if isinstance(state, Mapping):
        return {key: whole(value, keep) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(whole(value, keep) for value in state)
    if not hasattr(state, "full_tensor"):
        return state
    full = state.full_tensor()
    return full.cpu() if keep else None


def own_share(value: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor: all of it, unless it is sharded."""
    local: Any = getattr(value, "to_local", None)
    return value if local is None else local()


def sharded_like(value: Any, like: Any) -> Any:
    """Return a whole tensor sharded as ``like`` is, if it has its shape; anything else as it is."""
    if not (hasattr(like, "full_tensor") and isinstance(value, torch.Tensor) and value.shape == like.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


class WholeCopy(Generic[M]):
    """A copy, in the main memory of the first process, of a module that is sharded over processes.

    Args:
        module: not sharded yet.
        kept: whether this is the first process.
    """

    def __init__(self, module: M, kept: bool) -> None:
        self.copy = deepcopy(module) if kept else None

    def of(self, module: M) -> M:
        """Return the copy with the weights of ``module`` now, on other processes ``module``; all have to call this."""
        state = whole(module.state_dict(), keep=self.copy is not None)
        if self.copy is None:
            return module
        state = {name: value.detach().cpu().clone() for name, value in state.items()}  # buffers are the module's own
        self.copy.cpu().load_state_dict(state, assign=True)  # in the precision of the run
        return self.copy
