"""Peak memory of a training step against the plain transcription, and with steps that are computed again.

On a CPU the bytes of all tensors alive at once are counted, on a GPU those that torch has handed out.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.reference import PlainAKOrN
from benchmarks.timing import Figure, Settings, Spread, interleaved, synchronise
from sslkuramoto.dynamics.steps import set_checkpoint_steps
from sslkuramoto.encoders import AKOrN, BoardAKOrN
from sslkuramoto.randomness import borrowed_global, generator

MIB = 2**20
KEPT_EVERY = 3  # all steps of a layer
AGAINST = "the plain transcription in float32"


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield the figures of images, then those of many steps."""
    torch.set_num_threads(settings.threads[0])
    yield from _images(settings)
    yield _many_steps(settings)


def _images(settings: Settings) -> Iterator[Figure]:
    device, on_gpu = settings.device, settings.device.type == "cuda"
    channels, batch, side = settings.size(64, 8), settings.size(512 if on_gpu else 16, 2), settings.size(32, 8)
    with borrowed_global(generator("cpu", "benchmark", "encoder")):
        encoder = AKOrN(channels=channels).to(device)
    plain = PlainAKOrN(encoder)
    draw = generator("cpu", "benchmark", "batch")
    images = torch.rand(batch, 3, side, side, generator=draw).to(device)
    initial = torch.randn(batch, channels, side, side, generator=draw).to(device)

    def ours() -> None:
        encoder(images, initial=initial).pooled.square().sum().backward()
        encoder.zero_grad(set_to_none=True)

    def saving() -> None:
        set_checkpoint_steps(encoder, KEPT_EVERY)
        try:
            ours()
        finally:
            set_checkpoint_steps(encoder, 0)

    def reference() -> None:
        plain(images, initial)[0].square().sum().backward()
        plain.zero_grad(set_to_none=True)

    works = {"ours": ours, "saving": saving, "reference": reference}
    peaks = _peaks(works, settings)
    times = interleaved(works, settings)
    seconds = {name: Spread.of(getattr(taken, settings.judged)).median for name, taken in times.items()}
    what = f"peak memory of a training step, AKOrN conv, {channels} channels, N = 2, T = 3, batch {batch}"
    for name, option in (("ours", ""), ("saving", f", engine.checkpoint_steps={KEPT_EVERY}")):
        ratio = Spread.of([slow / fast for slow, fast in zip(peaks["reference"], peaks[name], strict=True)])
        found, plainly = Spread.of(peaks[name]), Spread.of(peaks["reference"])
        if name == "saving":
            longer = seconds[name] / seconds["ours"]
            note = f"Takes {longer:.2f} times as long as without."
            yield Figure("memory", what + option, "MiB", found, plainly, AGAINST, ratio, 2.0, note=note)
        else:
            note = "" if on_gpu else "The spectra of kernels take memory."
            yield Figure("memory", what, "MiB", found, plainly, AGAINST, ratio, note=note)


def _many_steps(settings: Settings) -> Figure:
    """Return the memory of 128 steps of a Sudoku network whose states are mostly computed again, over that of 16."""
    few, many, kept_every = 16, 128, 8
    device, channels, batch = settings.device, settings.size(512, 16), settings.size(8, 2)
    with borrowed_global(generator("cpu", "benchmark", "encoder")):
        encoder = BoardAKOrN(side=9, symbols=9, channels=channels).to(device)
    boards = torch.zeros(batch, 9, 9, dtype=torch.int64, device=device)
    draw = generator(device, "benchmark", "boards")

    def work(steps: int, kept: int) -> Callable[[], None]:
        def step() -> None:
            set_checkpoint_steps(encoder, kept)
            encoder(boards, draw=draw, num_steps=steps).pooled.square().sum().backward()
            encoder.zero_grad(set_to_none=True)

        return step

    peaks = _peaks({"few": work(few, 0), "many": work(many, kept_every)}, settings)
    share = Spread.of([a / b for a, b in zip(peaks["many"], peaks["few"], strict=True)])
    what = (
        f"memory of T = {many} with engine.checkpoint_steps={kept_every} over that of T = {few} without, Sudoku network"
    )
    what += f", {channels} channels, batch {batch}"
    return Figure("memory", what, "", share, wanted=1.2, at_most=True, note=f"T = {few}: {peaks['few'][0]:.0f} MiB.")


def _peaks(works: dict[str, Callable[[], None]], settings: Settings) -> dict[str, list[float]]:
    """Return how many MiB each work needs beyond what it finds, in each repeat, after one that is not counted.

    A work leaves no gradients: those of the repeat before would count as memory that it sets free.
    """
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(settings.repeats):
        for name, work in works.items():
            found[name].append(peak_bytes(work, settings.device) / MIB)
    return found


def peak_bytes(work: Callable[[], None], device: torch.device) -> int:
    """Return the bytes of all tensors that ``work`` holds at once, beyond those in use before it."""
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    results = recorded.profiler
    assert results is not None
    assert results.kineto_results is not None
    changes: list[Any] = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    sizes = (event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return max(accumulate(sizes), default=0)
