"""Time a training step of our AKOrN encoder against a plain transcription of its equations.

    python scripts/benchmark.py [--channels 64 --batch 16 ...] [--at-least 1.7] [--views] [--step]

The transcription (:class:`PlainAKOrN`) computes lengths by ``torch.linalg.vector_norm`` over the middle axis. Both
networks have the same weights, images, oscillators and labels. Their losses must agree. Then forward and backward
passes are timed alternately (A B A B ...), and the medians are compared.

Exit code: 0; 1 if the losses differ or the ratio is below ``--at-least``; 2 for invalid arguments.

Shapes: b batch, c channels, n oscillator dimension, h w grid.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.encoders import AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.views import VIEWS

CLASSES = 10
AGREE = {"float32": 1e-4, "bfloat16": 2e-2}  # largest relative difference of the two losses


def plain_normalise(x: Tensor, n: int) -> Tensor:
    """Return x / |x| for each oscillator."""
    b, c, h, w = x.shape
    oscillators = x.view(b, c // n, n, h, w)
    size = torch.linalg.vector_norm(oscillators, dim=2, keepdim=True).clamp_min(1e-12)
    return (oscillators / size).view(b, c, h, w)


def plain_rotation(x: Tensor, frequency: Tensor) -> Tensor:
    """Return Omega x: each plane (x0, x1) of two channels becomes omega (x1, -x0)."""
    b, c, h, w = x.shape
    planes = x.view(b, c // 2, 2, h, w)
    omega = torch.linalg.vector_norm(frequency, dim=-1).expand(c // 2).view(1, -1, 1, 1)
    return torch.stack([omega * planes[:, :, 1], -omega * planes[:, :, 0]], dim=2).view(b, c, h, w)


class PlainAKOrN(nn.Module):
    """AKOrN's classification network in plain operations, with the weights of one of our encoders.

    Convolutions, attention, GroupNorm and g are copies of the encoder's modules. The Kuramoto step and the norm of the
    readout are transcribed from Miyato et al. 2025 (arXiv 2410.13821), Eq. 2 and 4-6.
    """

    def __init__(self, encoder: AKOrN) -> None:
        super().__init__()
        self.weights = copy.deepcopy(encoder)

    def step(self, layer: Any, x: Tensor, c: Tensor, gamma: Tensor) -> Tensor:
        """Return x after one Kuramoto step with the stimulus c and the step size gamma."""
        n = layer.oscillator_dim
        shape = x.shape
        y = layer.coupling(x) + c
        split = (shape[0], shape[1] // n, n, *shape[2:])
        if layer.project:
            x_n, y_n = x.view(split), y.view(split)
            y = (y_n - torch.sum(x_n * y_n, dim=2, keepdim=True) * x_n).view(shape)
        if layer.frequencies is not None:
            y = plain_rotation(x, layer.frequencies.vector) + y
        elif layer.identity:
            y = x + y
        return plain_normalise(x + gamma * y, n)

    def forward(self, images: Tensor, initial: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return pooled features and the states of each layer after every step."""
        net = self.weights
        x, c = initial, net.stem((images - 0.5) / 0.5)
        states = []
        blocks: list[tuple[Any, Any]] = list(zip(net.layers, net.readouts, strict=True))
        for index, (layer, readout) in enumerate(blocks):
            if index:
                move = net.transitions[index - 1]
                x, c = move(x), move(c)
            x, c = plain_normalise(x, layer.oscillator_dim), layer.norm(c)
            for _ in range(net.num_steps[index]):
                x = self.step(layer, x, c, net.step_size)
                states.append(x)
            vectors, g = readout
            m = torch.linalg.vector_norm(vectors.project(x).unflatten(1, (-1, vectors.dim)), dim=2)
            c = g(m + vectors.offset.view(1, -1, 1, 1))
        return c.mean(dim=(2, 3)), states


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how many seconds ``work`` takes."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def medians(
    works: Mapping[str, Callable[[], object]], repeats: int, warmup: int, device: torch.device
) -> dict[str, float]:
    """Return the median seconds of each, timed alternately so that changes in the machine's speed affect all alike."""
    for _ in range(warmup):
        for work in works.values():
            work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            taken[name].append(seconds(work, device))
    return {name: statistics.median(values) for name, values in taken.items()}


def precision(args: argparse.Namespace) -> AbstractContextManager[object]:
    """Return the autocast context of the requested precision."""
    if args.dtype == "float32":
        return nullcontext()
    return torch.autocast(args.device.type, dtype=torch.bfloat16)


def compare(encoder: AKOrN, args: argparse.Namespace) -> int:
    """Check that both networks agree, time them, print, and return the exit code."""
    device = args.device
    draw = generator("cpu", "benchmark", "batch")
    images = torch.rand(args.batch, 3, args.size, args.size, generator=draw).to(device)
    initial = torch.randn(args.batch, args.channels, args.size, args.size, generator=draw).to(device)
    labels = torch.randint(0, CLASSES, (args.batch,), generator=draw).to(device)
    with borrowed_global(generator("cpu", "benchmark", "head")):
        head = nn.Linear(encoder.num_features, CLASSES).to(device)
    plain, plain_head = PlainAKOrN(encoder), copy.deepcopy(head)

    def ours_loss() -> Tensor:
        with precision(args):
            return F.cross_entropy(head(encoder(images, initial=initial).pooled).float(), labels)

    def plain_loss() -> Tensor:
        with precision(args):
            return F.cross_entropy(plain_head(plain(images, initial)[0]).float(), labels)

    losses = {"ours": ours_loss().item(), "plain": plain_loss().item()}
    difference = abs(losses["ours"] - losses["plain"]) / abs(losses["plain"])
    print(f"loss: ours {losses['ours']:.7f}, plain {losses['plain']:.7f}, relative difference {difference:.1e}")
    if not difference <= AGREE[args.dtype]:
        print(f"the losses differ by more than {AGREE[args.dtype]:g}: nothing was timed")
        return 1

    def training_step(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
        def work() -> None:
            module.zero_grad(set_to_none=True)
            loss().backward()

        return work

    works = {
        "ours": training_step(encoder, ours_loss),
        "plain": training_step(plain, plain_loss),
    }
    taken = medians(works, args.repeats, args.warmup, device)
    ratio = taken["plain"] / taken["ours"]
    for name, value in taken.items():
        print(f"{name:>6}: {1000 * value:9.1f} ms per training step, {args.batch / value:8.1f} images/s")
    print(f"ratio plain / ours: {ratio:.2f}")
    if args.at_least is not None and ratio < args.at_least:
        print(f"below --at-least {args.at_least:g}")
        return 1
    return 0


def time_views(args: argparse.Namespace) -> None:
    """Print the rate, in images per second, at which the three views of PhiNet are made."""
    policy = VIEWS.build("phinet", {}, args.size)
    images = torch.rand(args.batch, 3, args.size, args.size, generator=generator("cpu", "benchmark", "views"))
    images, draw = images.to(args.device), generator("cpu", "benchmark", "draw")
    taken = medians({"views": lambda: policy(images, draw)}, args.repeats, args.warmup, args.device)
    print(f" views: {1000 * taken['views']:9.1f} ms per batch (3 views), {args.batch / taken['views']:8.1f} images/s")


def time_step(encoder: AKOrN, args: argparse.Namespace) -> None:
    """Print the rate of a whole X-PhiNet step: views, loss, backward pass, Adam, moving average of the target."""
    policy = VIEWS.build("phinet", {}, args.size)
    with borrowed_global(generator("cpu", "benchmark", "objective")):
        objective = OBJECTIVES.build("xphinet", {}, encoder, None).to(args.device)
    trained = [p for p in (*encoder.parameters(), *objective.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 1e-4)
    images = torch.rand(args.batch, 3, args.size, args.size, generator=generator("cpu", "benchmark", "step"))
    images = images.to(args.device)
    draw, field_draw = generator("cpu", "benchmark", "draw"), generator(args.device, "benchmark", "field")

    def work() -> None:
        views = policy(images, draw)
        with precision(args):
            loss = objective(encoder, views, draw=field_draw).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        objective.after_step(encoder, 0.5)

    taken = medians({"step": work}, args.repeats, args.warmup, args.device)
    print(f"  step: {1000 * taken['step']:9.1f} ms/X-PhiNet step, {args.batch / taken['step']:8.1f} images/s")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels (32)")
    parser.add_argument("--oscillator-dim", type=int, default=2)
    parser.add_argument("--num-steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (torch's choice)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--dtype", choices=sorted(AGREE), default="float32", help="bfloat16: by autocast")
    parser.add_argument("--at-least", type=float, default=None, metavar="RATIO", help="exit 1 if the ratio is below")
    parser.add_argument("--views", action="store_true", help="also time the views of PhiNet")
    parser.add_argument("--step", action="store_true", help="also time a whole X-PhiNet step")
    args = parser.parse_args(argv)
    for name, least in (("batch", 2), ("size", 4), ("repeats", 1), ("warmup", 0), ("threads", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name} {value}: must be >= {least}")
    if args.device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: no CUDA device here")
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the requested timings and return the exit code."""
    args = parse(argv)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    try:
        with borrowed_global(generator("cpu", "benchmark", "encoder")):
            encoder = AKOrN(channels=args.channels, oscillator_dim=args.oscillator_dim, num_steps=args.num_steps).to(
                args.device
            )
    except UserError as error:
        print(error)
        return 2
    on_gpu = args.device.type == "cuda"
    where = torch.cuda.get_device_name(args.device) if on_gpu else f"{torch.get_num_threads()} threads"
    print(
        f"AKOrN channels {args.channels}, n {args.oscillator_dim}, T {args.num_steps}; batch {args.batch} of "
        f"{args.size} x {args.size}; {args.dtype} on {args.device} ({where}); torch {torch.__version__}, "
        f"Python {sys.version.split()[0]}; medians of {args.repeats}"
    )
    code = compare(encoder, args)
    if args.views:
        time_views(args)
    if args.step:
        time_step(encoder, args)
    return code


if __name__ == "__main__":
    sys.exit(main())
