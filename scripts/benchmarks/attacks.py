"""AutoAttack against the packaged one, ascents with held noise against their passes, a battery shared by processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import Figure, Settings, Times, compared, interleaved
from sslkuramoto.attacks import Attack, AutoAttackVersion, HeldNoise, Ledger, Work, run_battery
from sslkuramoto.attacks.autoattack import untouched_globals
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.data import DATA
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.encoders import AKOrN
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator, seed_of
from sslkuramoto.threat import Threat

SEED = 0
CLASSES = 10
THREAT = Threat("linf", 0.06)
WIDTH = 16  # channels of the first convolution
STEEP = 200.0  # where the second is flat, gradients mislead some attacks
STARTED = 60.0  # seconds until both processes must be ready


class Examples(NamedTuple):
    """Images and their classes."""

    images: Tensor
    labels: Tensor


class Saturating(Encoder):
    """Two convolutions, the second followed by a steep function with flat ends."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 2 * WIDTH * 16
        self.first = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.second = nn.Conv2d(WIDTH, 2 * WIDTH, 3, stride=2, padding=1)

    def forward(
        self, images: Tensor, *, initial: Tensor | None = None, draw: torch.Generator | None = None, trace: bool = False
    ) -> Features:
        """Return features of images."""
        grid = F.hardtanh(STEEP * self.second(F.relu(self.first(images - 0.5))))
        return Features(grid.flatten(1), grid)


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield the figures of AutoAttack, of held noise and of two processes."""
    on_cpu = settings.device.type == "cpu"
    for threads in settings.threads if on_cpu else (None,):
        if threads is not None:
            torch.set_num_threads(threads)
        yield from _autoattack(settings, threads)
        yield from _held_noise(settings, threads)
    if on_cpu:
        yield _two_processes(settings)


def digits(split: str, images: int | None = None, device: torch.device | None = None) -> Examples:
    """Return the first images of digits."""
    whole = DATA.build("digits", {}, split)
    assert isinstance(whole, MemorySet)
    assert whole.labels is not None
    return Examples((whole.images[:images].float() / 255).to(device), whole.labels[:images].to(device))


def trained(settings: Settings) -> Classifier:
    """Return a small convolutional network, trained for a few seconds on digits."""
    with borrowed_global(generator("cpu", "benchmark", "attacks")):
        encoder = Saturating()
        head = nn.Linear(encoder.num_features, CLASSES)
        classifier = Classifier(encoder, head)
        optimizer = torch.optim.Adam(classifier.parameters(), 2e-3)
        images, labels = digits("train")
        for _ in range(settings.size(12, 3)):
            for rows in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(classifier(images[rows]), labels[rows]).backward()
                optimizer.step()
    return classifier.to(settings.device)


FEW = {"iterations": 5, "queries": 20}
SHARED = {"iterations": 20, "queries": 1000}


def standard(settings: Settings, **changed: int) -> list[Attack]:
    """Return AutoAttack standard, with fewer steps where everything is small."""
    few: dict[str, Any] = FEW if settings.small else changed
    return AutoAttackVersion(version="standard", **few).expanded()


def packaged(classifier: nn.Module, examples: Examples, settings: Settings) -> Tensor:
    """Return the candidates of pyautoattack's own loop, called as its documentation shows."""
    tracer = sys.gettrace()
    seed = seed_of(SEED, "autoattack") % 2**31
    theirs = AutoAttack(classifier, norm="Linf", eps=THREAT.eps, seed=seed, device=settings.device)
    if settings.small:
        for attack in (theirs.apgd, theirs.apgd_targeted):
            attack.__init__(classifier, n_iter=5, eps=THREAT.eps, seed=seed, device=settings.device)
        theirs.fab.n_iter, theirs.square.n_queries = 5, 20
    try:
        with untouched_globals():
            return theirs.run_standard_evaluation(*examples, batch_size=len(examples.images))[0]
    finally:
        sys.settrace(tracer)  # pyautoattack switches it off


def check_same(ours: Sequence[bool], theirs: Sequence[bool]) -> None:
    """Check that both batteries reach the same verdict for every image.

    Raises:
        UserError: they do not; nothing is worth timing.
    """
    differ = [place for place, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other]
    if differ:
        raise UserError(f"the verdicts on {len(differ)} images differ, first on image {differ[0]}: nothing was timed")


def _autoattack(settings: Settings, threads: int | None) -> Iterator[Figure]:
    """Yield the figure of AutoAttack standard on a deterministic network."""
    examples = digits("test", settings.size(48, 8), settings.device)
    images, labels = examples
    classifier, attacks = trained(settings), standard(settings)
    n = len(images)

    def ours() -> list[str | None]:
        battery = partial(run_battery, classifier, images, labels, attacks, threat=THREAT, seed=SEED)
        with frozen(classifier):
            return battery(chunk=n, draws=20).broken_by

    fell, found = ours(), packaged(classifier, examples, settings)
    with torch.no_grad():
        check_same([by is None for by in fell], (classifier(found).argmax(dim=1) == labels).tolist())
    counts = ", ".join(f"{fell.count(name)} {name}" for name in ("clean", *(attack.label for attack in attacks)))
    works = {"ours": ours, "reference": lambda: packaged(classifier, examples, settings)}
    yield compared(
        "attacks",
        f"AutoAttack standard, l-inf {THREAT.eps:g}, two convolutions, {n} digits of 8 x 8{_of(threads)}",
        interleaved(works, settings),
        settings,
        against="pyautoattack called directly, one batch",
        wanted=1.5,
        note=f"The same verdict for every image; images that fall to: {counts}; to none {fell.count(None)}.",
    )


def _held_noise(settings: Settings, threads: int | None) -> Iterator[Figure]:
    """Yield the figure of an ascent with held noise on a small AKOrN."""
    images, labels = digits("test", settings.size(16, 2), settings.device)
    k, iterations, channels = settings.size(16, 2), settings.size(20, 2), settings.size(16, 4)
    with borrowed_global(generator("cpu", "benchmark", "held noise")):
        encoder = AKOrN(channels=channels)
        head = nn.Linear(encoder.num_features, CLASSES)
    classifier = Classifier(encoder, head).to(settings.device)
    attack = HeldNoise(k=k, max_k=k, iterations=iterations, draws=20)

    def ours() -> None:
        with frozen(classifier):
            attack(classifier, images, labels, threat=THREAT, work=Work(SEED, 0))

    passes = _passes_of(ours, encoder)
    yield compared(
        "attacks",
        f"held noise, AKOrN conv, {channels} channels, {len(images)} digits, K = {k}, {iterations} steps{_of(threads)}",
        interleaved({"ours": ours, "reference": _bare(passes, classifier, images)}, settings),
        settings,
        against=f"its {len(passes)} forward and {sum(gradient for _, gradient in passes)} backward passes alone",
        wanted=0.7,
    )


def _passes_of(work: Callable[[], object], encoder: Encoder) -> list[tuple[int, bool]]:
    """Return the images of each pass of some work, and whether it takes a gradient."""
    passes: list[tuple[int, bool]] = []

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        passes.append((len(given[0]), torch.is_grad_enabled() and given[0].requires_grad))

    hook = encoder.register_forward_pre_hook(note)
    try:
        work()
    finally:
        hook.remove()
    return passes


def _bare(passes: list[tuple[int, bool]], classifier: Classifier, images: Tensor) -> Callable[[], None]:
    """Return the passes, with nothing between them, on images and oscillators that are there already."""
    most = max(images for images, _ in passes)
    stacked = images.repeat(-(-most // len(images)), 1, 1, 1)[:most]
    initial = classifier.encoder.sample_initial(stacked, generator(images.device, "benchmark", "bare"))

    def work() -> None:
        with frozen(classifier):
            for count, gradient in passes:
                leaf = stacked[:count].detach().requires_grad_(gradient)
                with torch.set_grad_enabled(gradient):
                    logits = classifier(leaf, initial=initial[:count])
                    if gradient:
                        torch.autograd.grad(logits.sum(), leaf)

    return work


def _two_processes(settings: Settings) -> Figure:
    """Return the figure of two processes that share a battery, against one of them alone."""
    root = Path(settings.root) / "shared"
    root.mkdir()
    torch.save(trained(settings), root / "network")
    alone, both = [], []
    for number in range(settings.repeats):
        alone.append(_together(root, f"{number}-alone", 1, settings))
        both.append(_together(root, f"{number}-both", 2, settings))
    times = {name: Times(*zip(*rows, strict=True)) for name, rows in (("ours", both), ("reference", alone))}
    chunks, images = settings.size(8, 2), settings.size(64, 4)
    return compared(
        "attacks",
        f"AutoAttack of {SHARED['iterations']} steps on {images} digits in {chunks} chunks, shared by two processes",
        times,
        settings,
        against="one process alone",
        wanted=0.9,
        note="CPU seconds of both processes added up, since other work may take their cores; without start-up.",
    )


def _together(root: Path, name: str, processes: int, settings: Settings) -> tuple[float, float]:
    """Run the battery in new processes that start together; return wall seconds and summed CPU seconds."""
    folder = root / name
    folder.mkdir()
    command = [sys.executable, "-c", "from benchmarks.attacks import share; share()"]
    arguments = [str(root / "network"), str(folder), str(int(settings.small))]
    running = [subprocess.Popen([*command, *arguments, str(place)], env=_environment()) for place in range(processes)]
    latest = time.monotonic() + STARTED
    while len(list(folder.glob("*.ready"))) < processes and all(each.poll() is None for each in running):
        if time.monotonic() > latest:
            break
        time.sleep(0.01)
    (folder / "go").touch()
    if any(each.wait() for each in running):
        raise UserError("a process that shares the battery failed: nothing was timed")
    seconds = [tuple(map(float, file.read_text().split())) for file in folder.glob("*.seconds")]
    return max(wall for wall, _ in seconds), sum(cpu for _, cpu in seconds)


def share() -> None:
    """Work on the shared battery; in a process of its own, started by :func:`_together`.

    Its arguments: file of the network, folder, whether everything is small, number of the process.
    """
    network, folder, small, number = sys.argv[1:]
    settings = Settings(torch.device("cpu"), (1,), 1, 0, bool(int(small)), folder)
    classifier: Classifier = torch.load(network, weights_only=False)
    images, labels = digits("test", settings.size(64, 4))
    chunk = len(images) // settings.size(8, 2)
    ledger = Ledger(Path(folder) / "ledger", "benchmark", {"images": len(images), "chunk": chunk})
    Path(folder, f"{number}.ready").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.001)
    wall, cpu = time.perf_counter(), time.process_time()
    with frozen(classifier):
        battery = partial(
            run_battery, classifier, images, labels, standard(settings, **SHARED), threat=THREAT, seed=SEED
        )
        battery(chunk=chunk, draws=20, ledger=ledger)
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    Path(folder, f"{number}.seconds").write_text(" ".join(map(str, seconds)))


def _environment() -> dict[str, str]:
    """Return the environment of a process that finds the benchmark and the package, with one thread."""
    folders = (str(Path(__file__).parents[1]), *sys.path)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}


def _of(threads: int | None) -> str:
    """Return the end of a line: how many threads."""
    return "" if threads is None else f", {threads} thread{'s' if threads > 1 else ''}"
