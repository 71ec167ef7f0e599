"""One process or many: what torchrun or SLURM started, and BatchNorm statistics over all of them.

Shapes: b batch, c channels, h w grid.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.errors import UserError, line_of
from sslkuramoto.objectives.losses import sum_over_ranks
from sslkuramoto.recipe import Engine
from sslkuramoto.training.sharding import shard

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PRECISION: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed"}
_ELASTIC = "TORCHELASTIC_RUN_ID"  # set by torchrun


def launch(engine: Engine) -> "Fabric":
    """Return a launched Fabric for this process.

    Raises:
        UserError: a device that does not exist here, or one that this machine lacks; processes that cannot meet.
    """
    with _only_version("torchmetrics"):  # Fabric reads no more of it, and the whole takes more than a second to load
        from lightning_fabric import Fabric  # slow to load: only what trains needs it
        from lightning_fabric.plugins import DoublePrecision
        from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy

    accelerator, index = check_device(engine.device)
    local, world = processes(os.environ)
    if index is not None and world > 1:
        raise UserError(f"engine.device={engine.device!r}: {world} processes share devices out themselves; take 'cuda'")
    backend = "nccl" if accelerator == "cuda" else "gloo"
    strategy: Any = "auto"
    if strategy_of(engine, world) == "fsdp2":
        strategy = ModelParallelStrategy(
            lambda module, mesh: shard(module, mesh["data_parallel"]),
            data_parallel_size=world,
            tensor_parallel_size=1,
            process_group_backend=backend,
        )
    elif world > 1:
        strategy = DDPStrategy(process_group_backend=backend, broadcast_buffers=False)
    fabric = Fabric(
        accelerator=accelerator,
        devices=local if index is None else [index],
        num_nodes=max(world // local, 1),
        strategy=strategy,
        precision=_PRECISION.get(engine.precision),
        plugins=DoublePrecision() if engine.precision == "64" else None,  # Fabric refuses its name for FSDP2
    )
    try:
        fabric.launch()
    except torch.distributed.DistError as error:
        place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise UserError(
            f"the {world} processes could not meet at {place} (MASTER_ADDR:MASTER_PORT): {line_of(error)}"
        ) from None
    return fabric


def check_alike(fabric: "Fabric", where: Path, what: str, number: int) -> None:
    """Check that all processes hold the same number: otherwise they would train apart, or wait without end.

    Args:
        fabric: launched.
        where: the run directory, for the error.
        what: the number tells of, for the error.
        number: of this process.

    Raises:
        UserError: they do not; in all processes.
    """
    if fabric.world_size == 1:
        return
    found = fabric.all_gather(torch.tensor([number], device=fabric.device))
    assert isinstance(found, Tensor)
    if len(set(found.flatten().tolist())) > 1:
        raise UserError(
            f"{where}: {what} is not the same for all processes; they need one run directory and one copy of the data, "
            "on a disk that all of them see"
        )


def strategy_of(engine: Engine, processes: int) -> str:
    """Return how so many processes share the work: ``"one"`` where there is a single one, ``"ddp"`` or ``"fsdp2"``."""
    if processes == 1:
        return "one"
    return "ddp" if engine.strategy == "auto" else engine.strategy


@contextmanager
def _only_version(package: str) -> Iterator[None]:
    """Give imports of an installed package its version alone, unless it is loaded already."""
    if package in sys.modules or find_spec(package) is None:
        yield
        return
    version_only = ModuleType(package)
    version_only.__version__ = version(package)  # type: ignore[attr-defined]
    sys.modules[package] = version_only
    try:
        yield
    finally:
        del sys.modules[package]


def processes(environ: Mapping[str, str]) -> tuple[int, int]:
    """Return how many processes torchrun or SLURM started on this machine, and in all; (1, 1) where neither did.

    A SLURM job of one task, or an interactive shell in one (``salloc``), counts as neither.

    Raises:
        UserError: SLURM tasks that the nodes do not share evenly, that were not asked for by node, or that srun did not
            start: the first would wait for the others without end.
    """
    if _ELASTIC in environ:
        for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK"):
            if not environ.get(name, "").isdigit():
                raise UserError(
                    f"{_ELASTIC} is set but {name}={environ.get(name)!r}: start through torchrun, or unset it"
                )
        return int(environ["LOCAL_WORLD_SIZE"]), int(environ["WORLD_SIZE"])
    tasks, nodes = _tasks(environ), _number(environ, "SLURM_NNODES", 1)
    if tasks == 1:
        return 1, 1
    if not environ.get("SLURM_STEP_ID"):
        raise UserError(
            f"SLURM_NTASKS={tasks}: srun did not start this process, and no other would come; write srun sslkuramoto"
            " train ..., or unset SLURM_NTASKS to train in one process"
        )
    if tasks % nodes:
        raise UserError(f"SLURM_NTASKS={tasks}: must be divisible by the {nodes} nodes of the job")
    if not environ.get("SLURM_NTASKS_PER_NODE"):
        raise UserError(f"SLURM_NTASKS={tasks}: ask for the tasks of each node, --ntasks-per-node={tasks // nodes}")
    return tasks // nodes, tasks


def rank(environ: Mapping[str, str]) -> int:
    """Return which of all processes this is, before anything is launched."""
    if _ELASTIC in environ:
        return _number(environ, "RANK", 0)
    return _number(environ, "SLURM_PROCID", 0) if _tasks(environ) > 1 else 0


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    """Return a variable that SLURM or torchrun sets; one that is empty counts as absent."""
    text = environ.get(name) or str(default)
    if not text.isdecimal():
        raise UserError(f"{name}={text!r}: must be a number; SLURM or torchrun sets it, unset it outside a job")
    return int(text)


def _tasks(environ: Mapping[str, str]) -> int:
    """Return the tasks of a SLURM job; 1 in a shell, by the job names that Fabric takes for one too."""
    return 1 if environ.get("SLURM_JOB_NAME") in ("bash", "interactive") else _number(environ, "SLURM_NTASKS", 1)


def device_of(device: str) -> tuple[str, int | None]:
    """Return kind and number of an ``engine.device``, whether or not this machine has it.

    Raises:
        UserError: no device that a recipe may name.
    """
    kind, colon, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (colon and (kind != "cuda" or not index.isdecimal())):
        raise UserError(f"engine.device={device!r}: allowed: auto, cpu, cuda, cuda:INDEX, mps")
    return kind, int(index) if index else None


def check_device(device: str) -> tuple[str, int | None]:
    """Return kind and number of an ``engine.device`` that this machine has; ``auto`` has become one.

    Raises:
        UserError: as :func:`device_of`, or this machine lacks it.
    """
    kind, index = device_of(device)
    if kind == "auto":
        return ("cuda" if torch.cuda.is_available() else "cpu"), None
    if kind == "cuda" and (index or 0) >= torch.cuda.device_count():
        raise UserError(f"engine.device={device!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("engine.device='mps': not available on this machine")
    return kind, index


def another_ended(error: RuntimeError) -> bool:
    """Return whether an error only reports that another process of the run has ended."""
    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batches of all processes, on any device (torch's own needs CUDA), for inputs "b c ...".

    Loss gradients flow through the statistics to every process.
    """

    def forward(self, input: Float[Tensor, "b c ..."]) -> Float[Tensor, "b c ..."]:
        """Normalise by the mean and variance over all processes when training, by the running ones otherwise."""
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        count = values.new_tensor([values.numel() / values.shape[1]])
        sums = sum_over_ranks(torch.cat([values.sum(axes), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = values - mean.view(shape)
        squares = sum_over_ranks((centred * centred).sum(axes))
        variance = squares / total
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_((squares / (total - 1)).to(self.running_var.dtype), momentum)
        normed = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim >= 2, f"expected at least 2 dimensions, got {input.ndim}"


class SynchronisedBatchNormAct(SynchronisedBatchNorm):
    """The same for timm's BatchNorm that also drops and activates."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Float[Tensor, "b c ..."]) -> Float[Tensor, "b c ..."]:
        """Normalise, drop, activate."""
        return self.act(self.drop(super().forward(input)))


def synchronise_batch_norm(module: nn.Module, on_cuda: bool) -> None:
    """Replace every BatchNorm below ``module`` by one over all processes; names of weights stay as they are."""
    if on_cuda:
        from timm.layers import convert_sync_batchnorm  # slow to load

        convert_sync_batchnorm(module)  # torch's; also knows timm's
        return
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            module.register_module(name, _synchronised(child))
        else:
            synchronise_batch_norm(child, on_cuda)


def _synchronised(norm: nn.modules.batchnorm._BatchNorm) -> SynchronisedBatchNorm:
    from timm.layers import BatchNormAct2d

    options = (norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    if isinstance(norm, BatchNormAct2d):
        assert isinstance(norm.drop, nn.Module)
        assert isinstance(norm.act, nn.Module)
        new = SynchronisedBatchNormAct(*options)
        new.drop, new.act = norm.drop, norm.act
    elif type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
        new = SynchronisedBatchNorm(*options)
    else:
        raise UserError(f"{type(norm).__name__}: this kind of BatchNorm cannot be synchronised over processes")
    new.weight, new.bias = norm.weight, norm.bias
    new.running_mean, new.running_var = norm.running_mean, norm.running_var
    new.num_batches_tracked = norm.num_batches_tracked
    return new.train(norm.training)
