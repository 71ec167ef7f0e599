"""How time and peak memory of a training step and of an attack grow: exponents of doubled sizes, beside what to expect.

On a CPU time is CPU seconds, on a GPU the wall seconds of work that has finished.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.attacks import CLASSES, SEED, THREAT, digits
from benchmarks.memory import MIB, peak_bytes
from benchmarks.timing import Figure, Settings, Spread, interleaved, number
from sslkuramoto.attacks import HeldNoise, Work
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.dynamics.coupling import AttentionCoupling
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.encoders import AKOrN
from sslkuramoto.randomness import borrowed_global, generator

UPPER = 3
"""Largest sizes of an axis, to which the exponent is fitted: below them costs that do not grow count too much."""
Job = Callable[[], None]


@dataclass(frozen=True)
class Axis:
    """One size that grows while the others stay.

    Attributes:
        name: of what grows, with what stays.
        sizes: in rising order, each about twice the one before.
        work: from a size to the work.
        seconds: largest exponent of time that is wanted; None for no wish.
        memory: the same of memory.
        why: what to expect, in one sentence.
    """

    name: str
    sizes: tuple[int, ...]
    work: Callable[[int], Job]
    seconds: float | None
    memory: float | None
    why: str


@dataclass(frozen=True)
class Grown(Figure):
    """An exponent, with the amounts that it was fitted to.

    Attributes:
        sizes: of the axis.
        amounts: median of each size.
        amount_unit: of the amounts.
    """

    sizes: tuple[int, ...] = ()
    amounts: tuple[float, ...] = ()
    amount_unit: str = ""


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield two figures for each axis: the exponents of time and of memory."""
    torch.set_num_threads(settings.threads[0])
    for axis in axes(settings):
        sizes = axis.sizes[:UPPER] if settings.small else axis.sizes
        works = {str(size): axis.work(size) for size in sizes}
        times = interleaved(works, settings)
        seconds = [getattr(times[name], settings.judged) for name in works]
        yield grown(axis, sizes, seconds, "time", "CPU s" if settings.judged == "cpu" else "s", axis.seconds)
        peaks = [[peak_bytes(work, settings.device) / MIB] for work in works.values()]
        yield grown(axis, sizes, peaks, "peak memory", "MiB", axis.memory)


def grown(
    axis: Axis, sizes: Sequence[int], amounts: Sequence[Sequence[float]], what: str, unit: str, wanted: float | None
) -> Grown:
    """Return the figure of the amounts of each size, repeat by repeat."""
    medians = tuple(Spread.of(each).median for each in amounts)
    pairs = ", ".join(f"{size}: {number(amount)}" for size, amount in zip(sizes, medians, strict=True))
    return Grown(
        "growth",
        f"exponent of {what} against {axis.name}",
        "",
        Spread.of([exponent(sizes, repeat) for repeat in zip(*amounts, strict=True)]),
        wanted=wanted,
        at_most=True,
        note=f"{axis.why} {unit} {pairs}.",
        sizes=tuple(sizes),
        amounts=medians,
        amount_unit=unit,
    )


def exponent(sizes: Sequence[int], amounts: Sequence[float]) -> float:
    """Return the slope of the straight line through the largest sizes, both axes logarithmic; least squares."""
    x = [math.log(size) for size in sizes[-UPPER:]]
    y = [math.log(amount) for amount in amounts[-UPPER:]]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def axes(settings: Settings) -> tuple[Axis, ...]:
    """Return all axes, of networks that take seconds at most."""
    channels, batch, side = settings.size(16, 4), settings.size(8, 2), settings.size(32, 8)
    images, draws = settings.size(8, 2), settings.size(4, 2)

    def step(**changed: int) -> Job:
        given = {"channels": channels, "batch": batch, "num_steps": 3, "kernel": 5} | changed
        return _training_step(settings, side=side, **given)

    doubled = (1, 2, 4, 8, 16)
    return (
        Axis(
            f"T, AKOrN conv, {channels} channels, batch {batch}",
            tuple(2 * factor for factor in doubled),
            lambda size: step(num_steps=size),
            1.1,
            1.1,
            "Linear: a step costs as much as the one before; readouts and transitions cost the same for every T.",
        ),
        Axis(
            f"batch, AKOrN conv, {channels} channels, T = 3",
            tuple(batch * factor for factor in doubled),
            lambda size: step(batch=size),
            1.1,
            1.1,
            "Linear: images meet in BatchNorm alone; spectra of kernels cost the same for every batch.",
        ),
        Axis(
            f"channels, AKOrN conv, batch {batch}, T = 3",
            tuple(settings.size(8, 4) * factor for factor in doubled),
            lambda size: step(channels=size),
            2.1,
            2.1,
            "Between linear (states) and quadratic (kernels, their spectra and products).",
        ),
        Axis(
            f"kernel size, AKOrN conv, {channels} channels, batch {batch}, T = 3",
            (3, 5, 9, 17, 33) if not settings.small else (3, 5, 9),
            lambda size: step(kernel=size),
            1.0,
            1.0,
            "Direct convolutions would be quadratic; in the Fourier domain the padded grid, side + k / 2, decides.",
        ),
        Axis(
            f"tokens, attention coupling, {settings.size(64, 32)} channels, batch 1, T = 2",
            tuple(settings.size(256, 16) * factor for factor in doubled),
            lambda size: _attention_step(settings, size),
            2.1,
            1.1,
            "Time between linear (products of weights) and quadratic (each token looks at each); memory linear.",
        ),
        Axis(
            f"images, held noise, K = {draws}",
            tuple(images * factor for factor in doubled),
            lambda size: _attack(settings, images=size, k=draws),
            1.1,
            1.1,
            "Time linear. Memory only until a pass holds as many rows as are let into one, then flat.",
        ),
        Axis(
            f"draws K, held noise, {images} images",
            tuple(draws * factor for factor in doubled),
            lambda size: _attack(settings, images=images, k=size),
            1.1,
            1.1,
            "Time linear beside the choice among candidates, by as many fresh draws for every K; memory as for images.",
        ),
    )


def _training_step(settings: Settings, *, channels: int, batch: int, num_steps: int, kernel: int, side: int) -> Job:
    """Return forward and backward pass of AKOrN."""
    device = settings.device
    with borrowed_global(generator("cpu", "benchmark", "growth")):
        encoder = AKOrN(channels=channels, kernel_sizes=(kernel,) * 3, num_steps=num_steps).to(device)
    draw = generator("cpu", "benchmark", "growth", "batch")
    images = torch.rand(batch, 3, side, side, generator=draw).to(device)
    initial = torch.randn(batch, channels, side, side, generator=draw).to(device)

    def work() -> None:
        encoder(images, initial=initial).pooled.square().sum().backward()
        encoder.zero_grad(set_to_none=True)

    return work


def _attention_step(settings: Settings, tokens: int) -> Job:
    """Return forward and backward pass of one layer on a grid of as many sites as tokens."""
    device, channels = settings.device, settings.size(64, 32)
    height = 2 ** (int(math.log2(tokens)) // 2)
    grid = (height, tokens // height)
    with borrowed_global(generator("cpu", "benchmark", "growth")):
        layer = KuramotoLayer(
            AttentionCoupling(channels, 8, "none", grid),
            channels=channels,
            oscillator_dim=4,
            frequencies=NaturalFrequencies(None, 1.0, True),
            norm="none",
            project=True,
        ).to(device)
    draw = generator("cpu", "benchmark", "growth", "states")
    x, c = (torch.randn(1, channels, *grid, generator=draw).to(device) for _ in range(2))
    gamma = torch.tensor(1.0, device=device)

    def work() -> None:
        layer(x, c, step_size=gamma, num_steps=2)[0].square().sum().backward()
        layer.zero_grad(set_to_none=True)

    return work


def _attack(settings: Settings, *, images: int, k: int) -> Job:
    """Return an ascent with held draws on an untrained AKOrN."""
    channels, iterations = settings.size(8, 4), settings.size(5, 2)
    with borrowed_global(generator("cpu", "benchmark", "growth")):
        encoder = AKOrN(channels=channels)
        head = nn.Linear(encoder.num_features, CLASSES)
    classifier = Classifier(encoder, head).to(settings.device)
    pixels, labels = digits("test", images, settings.device)
    attack = HeldNoise(k=k, max_k=k, iterations=iterations, draws=20)

    def work() -> None:
        with frozen(classifier):
            attack(classifier, pixels, labels, threat=THREAT, work=Work(SEED, 0))

    return work


def amounts_by_axis(records: Sequence[Mapping[str, object]]) -> dict[str, list[Mapping[str, object]]]:
    """Return what ``--json`` wrote of this part: the figures of each axis, time before memory."""
    found: dict[str, list[Mapping[str, object]]] = {}
    for record in records:
        if record["part"] == "growth":
            found.setdefault(str(record["what"]).partition(" against ")[2], []).append(record)
    return found
