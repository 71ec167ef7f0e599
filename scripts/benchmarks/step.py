"""A training step of AKOrN against the plain transcription, and against the time of its multiplications alone."""

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference import PlainAKOrN
from benchmarks.timing import Figure, Settings, compared, interleaved
from sslkuramoto.encoders import AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

CLASSES = 10
AGREE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest relative difference of the two losses."""
MATRIX = 1024  # side of the matrices whose product tells the machine's rate


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield the figures of the training step and of a pass without gradients."""
    if settings.device.type == "cuda":
        for dtype in (torch.float32, torch.bfloat16):
            yield from _steps(settings, 64, settings.size(512, 4), dtype, wanted=4 if dtype == torch.bfloat16 else None)
        return
    for threads in settings.threads:
        torch.set_num_threads(threads)
        for channels, batch in ((64, 16), (32, 32), (16, 64)):
            wanted = 2.1 if channels == 64 else None
            yield from _steps(
                settings, settings.size(channels, 8), settings.size(batch, 2), torch.float32, wanted, threads
            )


def _steps(
    settings: Settings,
    channels: int,
    batch: int,
    dtype: torch.dtype,
    wanted: float | None = None,
    threads: int | None = None,
) -> Iterator[Figure]:
    """Yield the figures of one width."""
    device, side = settings.device, settings.size(32, 8)
    with borrowed_global(generator("cpu", "benchmark", "encoder")):
        encoder = AKOrN(channels=channels).to(device)
        head = nn.Linear(encoder.num_features, CLASSES).to(device)
    draw = generator("cpu", "benchmark", "batch")
    images = torch.rand(batch, 3, side, side, generator=draw).to(device)
    initial = torch.randn(batch, channels, side, side, generator=draw).to(device)
    labels = torch.randint(0, CLASSES, (batch,), generator=draw).to(device)
    plain, plain_head = PlainAKOrN(encoder), copy.deepcopy(head)

    def low() -> torch.autocast | nullcontext[None]:
        return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)

    def ours_loss() -> Tensor:
        with low():
            return F.cross_entropy(head(encoder(images, initial=initial).pooled).float(), labels)

    def plain_loss() -> Tensor:
        return F.cross_entropy(plain_head(plain(images, initial)[0]), labels)

    check_equal(ours_loss().item(), plain_loss().item(), dtype)

    def training(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
        def work() -> None:
            module.zero_grad(set_to_none=True)
            loss().backward()

        return work

    def without_gradients(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def work() -> None:
            with torch.no_grad():
                loss()

        return work

    count = FlopCounterMode(display=False)
    with count:
        training(plain, plain_loss)()
    sizes = f"{channels} channels, N = 2, T = 3, batch {batch}, {side} x {side}, {str(dtype).removeprefix('torch.')}"
    sizes += "" if threads is None else f", {threads} thread{'s' if threads > 1 else ''}"
    against = "the plain transcription in float32"
    works = {"ours": training(encoder, ours_loss), "reference": training(plain, plain_loss)}
    if device.type == "cpu":
        works["products"] = products(count.get_total_flops(), settings)
    times = interleaved(works, settings)
    yield compared("step", f"training step, AKOrN conv, {sizes}", times, settings, against=against, wanted=wanted)
    if "products" in works:
        yield compared(
            "step",
            f"the same step, {sizes}",
            times,
            settings,
            reference="products",
            against="its multiplications as direct convolutions, done as products of large matrices",
            wanted=None if wanted is None else 0.9,
        )
    encoder.eval()
    plain.eval()
    passes = {"ours": without_gradients(ours_loss), "reference": without_gradients(plain_loss)}
    times = interleaved(passes, settings)
    yield compared("step", f"pass without gradients, AKOrN conv, {sizes}", times, settings, against=against)


def check_equal(ours: float, plain: float, dtype: torch.dtype = torch.float32) -> None:
    """Check that both losses agree.

    Raises:
        UserError: they do not; nothing is worth timing.
    """
    difference = abs(ours - plain) / abs(plain)
    if not difference <= AGREE[dtype]:
        raise UserError(f"the losses {ours:.7f} and {plain:.7f} differ by {difference:.1e}: nothing was timed")


def products(flops: float, settings: Settings) -> Callable[[], None]:
    """Return work of as many floating-point operations, by products of large square matrices."""
    side = settings.size(MATRIX, 32)
    a, b = torch.rand(side, side), torch.rand(side, side)
    times = max(1, round(flops / (2 * side**3)))

    def work() -> None:
        for _ in range(times):
            torch.mm(a, b)

    return work
