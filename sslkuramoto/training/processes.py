"""One process or many: what torchrun or SLURM started, and BatchNorm statistics over all of them.

Shapes: b batch, c channels, h w grid.
"""

import os

import torch
import torch.distributed as dist
from jaxtyping import Float
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from sslkuramoto.errors import UserError
from sslkuramoto.recipe import Engine

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "64": "64-true"}


def launch(engine: Engine) -> Fabric:
    """Return a launched Fabric for this process.

    Under torchrun and SLURM the number of processes is theirs; otherwise it is one.

    Raises:
        UserError: a device that does not exist here, or one that this machine lacks.
    """
    accelerator = _accelerator(engine.device)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1 and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        world = int(os.environ["SLURM_NTASKS"])
        local = world // int(os.environ.get("SLURM_NNODES", "1"))
    else:
        local = world = 1
    devices: int | list[int] = local
    if world == 1 and engine.device.startswith("cuda:"):
        devices = [int(engine.device.partition(":")[2])]
    backend = "nccl" if accelerator == "cuda" else "gloo"
    strategy = DDPStrategy(process_group_backend=backend, broadcast_buffers=False) if world > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=max(world // local, 1),
        strategy=strategy,
        precision=_PRECISION[engine.precision],  # pyright: ignore[reportArgumentType]
    )
    fabric.launch()
    return fabric


def _accelerator(device: str) -> str:
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise UserError(f"engine.device={device!r}: allowed: auto, cpu, cuda, cuda:INDEX, mps")
    if kind == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UserError(f"engine.device={device!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("engine.device='mps': not available on this machine")
    return kind


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes, on any device (torch's own needs CUDA).

    Loss gradients flow through the statistics to every process.
    """

    def forward(self, input: Float[Tensor, "b c ..."]) -> Float[Tensor, "b c ..."]:
        """Normalise by the mean and variance over all processes when training, by the running ones otherwise."""
        if not self.training or dist.get_world_size() == 1:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        count = values.new_tensor([values.numel() / values.shape[1]])
        sums = all_reduce(torch.cat([values.sum(axes), count]))
        mean = sums[:-1] / sums[-1]
        centred = values - mean.view(shape)
        squares = all_reduce((centred * centred).sum(axes))
        variance = squares / sums[-1]
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            total = sums[-1].detach()
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_((squares / (total - 1)).to(self.running_var.dtype), momentum)
        normed = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.ndim}")


def synchronise_batch_norm(module: nn.Module, on_cuda: bool) -> nn.Module:
    """Replace every BatchNorm in ``module`` by one over all processes; names of weights stay as they are."""
    if on_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            new = SynchronisedBatchNorm2d(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            new.load_state_dict(child.state_dict())
            for old, fresh in zip(child.parameters(), new.parameters(), strict=True):
                fresh.requires_grad_(old.requires_grad)
            setattr(module, name, new.train(child.training))
        else:
            synchronise_batch_norm(child, on_cuda)
    return module
