"""Protocols against the forward passes of the network that they need: what is left is not the network."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import sslkuramoto as sk
from benchmarks.timing import Figure, Settings, Spread, compared, interleaved
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.evaluation.representation.features import split_values
from sslkuramoto.evaluation.subject import subject_of

DRAWS = 20


class Network(NamedTuple):
    """A recipe and the changes that train it in seconds, and in a moment."""

    recipe: str
    changes: tuple[str, ...]
    small: tuple[str, ...]


class Case(NamedTuple):
    """A protocol on a network, with its options where sizes are whole and where they are small."""

    title: str
    network: str
    protocol: str
    changes: tuple[str, ...]
    small: tuple[str, ...]


SHORT = ("epochs=1", "engine.device=cpu", "engine.workers=0")
NETWORKS = {
    "digits": Network(
        "digits-akorn-supervised",
        ("epochs=2", "data.limit=500", "data.limit_test=100"),
        (
            "data.size=8",
            "data.limit=32",
            "data.limit_test=16",
            "encoder.channels=4",
            "encoder.num_steps=1",
            "batch_size=16",
        ),
    ),
    "sudoku": Network(
        "sudoku9-small-akorn",
        ("data.puzzles=64", "data.puzzles_test=10", "batch_size=16"),
        ("data.puzzles=8", "data.puzzles_test=2", "batch_size=8", "encoder.channels=32", "encoder.num_steps=1"),
    ),
    "tetrominoes": Network(
        "tetrominoes-akorn-simclr",
        ("data.scenes=64", "data.scenes_test=20", "batch_size=16"),
        ("data.scenes=16", "data.scenes_test=2", "batch_size=8", "encoder.channels=16", "encoder.num_steps=1"),
    ),
}
FEATURES = "features"
CASES = (
    Case("features of the test images", "digits", FEATURES, (), ()),
    Case("k-NN", "digits", "knn", (), ("neighbours=5",)),
    Case("linear probe", "digits", "linear", (), ("penalties=[0.001, 1.0]", "max_iterations=10")),
    Case(
        "corruptions",
        "digits",
        "corruptions-digits",
        ("images=32", "severities=[3]"),
        ("images=4", "corruptions=[contrast]"),
    ),
    Case("energy vote of 100 draws", "sudoku", "sudoku", ("draws=100", "votes=[energy_sum]"), ("draws=20",)),
    Case("object discovery, average linkage", "tetrominoes", "objects", ("clusters=4",), ("draws=1",)),
    Case(
        "object discovery, average linkage, up-tiled by 4",
        "tetrominoes",
        "objects-up4",
        ("clusters=4", "images=6"),
        ("images=1",),
    ),
)


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield for each protocol the CPU seconds of all of it and of its forward passes alone."""
    if settings.device.type == "cpu":
        torch.set_num_threads(1)
    subjects = {name: _trained(name, network, settings) for name, network in NETWORKS.items()}
    for case in CASES:
        yield _figure(case, subjects[case.network], settings)


def _trained(name: str, network: Network, settings: Settings) -> Subject:
    """Train the network for as long as its features need to be those of one, and load it."""
    changes = [*SHORT, *network.changes, *(network.small if settings.small else ())]
    with redirect_stderr(StringIO()):  # lines of progress
        run = sk.train(network.recipe, *changes, run=Path(settings.root) / f"run-{name}")
        return subject_of(Path(str(run)), device=settings.device)


def work_of(case: Case, subject: Subject, small: bool) -> Callable[[], Any]:
    """Return the measurement, which finds no features that were computed before."""
    if case.protocol != FEATURES:
        protocol = load_protocol(case.protocol, [*case.changes, *(case.small if small else ())]).measure

    def work() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            fresh = replace(subject, run_dir=Path(folder))
            return split_values(fresh, "test", draws=DRAWS) if case.protocol == FEATURES else protocol(fresh)

    return work


def _figure(case: Case, subject: Subject, settings: Settings) -> Figure:
    work = work_of(case, subject, settings.small)
    passes = passes_of(work, subject.encoder)
    times = interleaved({"ours": work, "reference": lambda: _alone(passes, subject)}, settings)
    pairs = zip(getattr(times["ours"], settings.judged), getattr(times["reference"], settings.judged), strict=True)
    rest = Spread.of([100 * (whole - network) / whole for whole, network in pairs])
    examples = sum(len(inputs) for inputs, _ in passes)
    return compared(
        "evaluation",
        f"{case.title}, {subject.data('test').name}, {len(subject.data('test'))} examples",
        times,
        settings,
        against=f"its {len(passes)} forward passes alone, {examples:,} examples in all",
        note=f"Not the network: {rest.median:.1f} % ({rest.low:.1f} to {rest.high:.1f}).",
    )


def passes_of(work: Callable[[], Any], encoder: nn.Module) -> list[tuple[Tensor, dict[str, Any]]]:
    """Return inputs and options of each forward pass of some work."""
    passes: list[tuple[Tensor, dict[str, Any]]] = []
    hook = encoder.register_forward_pre_hook(
        lambda _, given, options: passes.append((given[0], dict(options))), with_kwargs=True
    )
    try:
        work()
    finally:
        hook.remove()
    return passes


@torch.no_grad()
def _alone(passes: list[tuple[Tensor, dict[str, Any]]], subject: Subject) -> None:
    """Make the passes with nothing between them; oscillators are drawn as there."""
    for inputs, options in passes:
        subject.encoder(inputs, **options)
