"""Training steps of attention couplings against the plain transcription, which writes the matrix of weights out."""

import copy
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference import plain_normalise, plain_step
from benchmarks.step import check_equal, products
from benchmarks.timing import Figure, Settings, compared, interleaved
from sslkuramoto.dynamics.coupling import AttentionCoupling
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.randomness import borrowed_global, generator


class Case(NamedTuple):
    """A Kuramoto layer with an attention coupling."""

    network: str
    channels: int
    side: int
    n: int
    steps: int
    positions: Literal["none", "gta"]
    batch: int
    note: str = ""


CASES = (
    Case("object discovery", 256, 32, 4, 2, "gta", 2),
    Case("tetrominoes", 64, 32, 4, 2, "gta", 4),
    Case("CIFAR-10, third layer on 16 x 16 sites", 128, 16, 2, 3, "none", 16),
    Case(
        "Sudoku", 512, 9, 4, 4, "gta", 16, "81 sites of 512 channels: nearly all is products of weights, alike in both."
    ),
)


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield the figure of each case, for each number of threads."""
    for threads in settings.threads if settings.device.type == "cpu" else (1,):
        torch.set_num_threads(threads)
        for case in CASES:
            yield from _figures(case, settings, threads)


def _figures(case: Case, settings: Settings, threads: int) -> Iterator[Figure]:
    device, heads = settings.device, 8
    channels, batch, steps = settings.size(case.channels, 32), settings.size(case.batch, 1), case.steps
    with borrowed_global(generator("cpu", "benchmark", "layer")):
        layer = KuramotoLayer(
            AttentionCoupling(channels, heads, case.positions, (case.side, case.side)),
            channels=channels,
            oscillator_dim=case.n,
            frequencies=NaturalFrequencies(None, 1.0, True),
            norm="none",
            project=True,
        ).to(device)
    other = copy.deepcopy(layer)
    draw = generator("cpu", "benchmark", "states")
    x, c, weights = (torch.randn(batch, channels, case.side, case.side, generator=draw).to(device) for _ in range(3))
    gamma = torch.tensor(1.0, device=device)

    def ours() -> Tensor:
        return (layer(x, c, step_size=gamma, num_steps=steps)[0] * weights).sum()

    def plain() -> Tensor:
        state = plain_normalise(x, case.n)
        for _ in range(steps):
            state = plain_step(other, state, c, gamma)
        return (state * weights).sum()

    check_equal(ours().item(), plain().item())

    def training(module: torch.nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
        def work() -> None:
            module.zero_grad(set_to_none=True)
            loss().backward()

        return work

    works = {"ours": training(layer, ours), "reference": training(other, plain)}
    if device.type == "cpu":
        with FlopCounterMode(display=False) as count:
            works["reference"]()
        works["products"] = products(count.get_total_flops(), settings)
    times = interleaved(works, settings)
    what = f"attention coupling of {case.network}: {channels} channels, {case.side**2} sites, {heads} heads, "
    what += f"{steps} steps, batch {batch}, forward and backward"
    what += f", {threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else ""
    wanted = 2.0 if device.type == "cpu" else 3.0
    against = "the plain transcription in float32"
    yield compared("attention", what, times, settings, against=against, wanted=wanted, note=case.note)
    if "products" in works:
        against = "its multiplications, done as products of large matrices"
        same = f"the same coupling of {case.network}{what.partition('backward')[2]}"
        yield compared("attention", same, times, settings, reference="products", against=against)
