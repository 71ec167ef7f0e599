"""The model against measurements on this machine: steps of small recipes on one CPU thread, two gloo processes."""

import gc
import io
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from benchmarks.memory import peak_bytes
from PIL import Image
from scipy.optimize import nnls
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scale.counted import Counted, Work, count
from scale.model import Machine, Network, compute_seconds, reduce_seconds
from sslkuramoto.data import expected_spec
from sslkuramoto.data.images.pixels import Frame, decode
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Recipe, load_recipe, recipe_file
from sslkuramoto.training.learner import build
from sslkuramoto.training.processes import synchronise_batch_norm

REPEATS = 3
RECIPES = (
    ("digits-akorn-simclr", ()),
    ("digits-winfree-byol", ("batch_size=16",)),
    ("digits-resnet18-xphinet", ("batch_size=16",)),
    ("mnist5k-akorn-byol", ("batch_size=16",)),
    ("cifar10-vit-supervised", ("batch_size=16",)),
    ("sprites-akorn-conv-simclr", ("batch_size=4",)),
    ("cifar10-small-akorn-simclr", ("batch_size=32",)),
    ("cifar10-small-winfree-supervised", ("batch_size=16",)),
    ("cifar10-akorn-supervised", ("batch_size=8",)),
    ("cifar10-akorn-xphinet-400", ("batch_size=4", "encoder.channels=32")),
    ("cifar10-resnet18-supervised", ("batch_size=16",)),
    ("tetrominoes-akorn-simclr", ("batch_size=8",)),
    ("imagenet-vit-supervised", ("batch_size=4", 'engine.precision="32"')),
    ("imagenet-akorn-supervised", ("batch_size=2", 'engine.precision="32"')),
)
"""Recipes whose steps are measured, with what makes them small."""
TOGETHER = RECIPES[0], RECIPES[8], RECIPES[10]
"""Recipes whose steps two processes carry out."""
MIB = 2**20


class Row(NamedTuple):
    """One amount, measured and predicted.

    Attributes:
        what: it is.
        unit: of both.
        measured: here.
        predicted: by the model.
    """

    what: str
    unit: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Return the relative error of the prediction."""
        return self.predicted / self.measured - 1


class Measured(NamedTuple):
    """A training step as it was measured, and its counted work.

    Attributes:
        what: recipe and batch.
        seconds: CPU seconds.
        peak: bytes.
        work: of network and views.
    """

    what: str
    seconds: float
    peak: float
    work: Work


def fastest(work: Callable[[], object], *, clock: Callable[[], float] = time.process_time) -> float:
    """Return the seconds of the fastest of some repeats, after one that is not measured."""
    work()
    found = []
    for _ in range(REPEATS):
        start = clock()
        work()
        found.append(clock() - start)
    return min(found)


def machine_of(found: Sequence[Measured], left_out: int | None = None) -> Machine:
    """Return the machine whose four rates fit measured steps best; none is negative, relative errors count.

    Args:
        found: measured steps.
        left_out: place of one that is not to be fitted.
    """
    rows = [each for place, each in enumerate(found) if place != left_out]
    features = np.array([_terms(each.work) for each in rows]) / np.array([[each.seconds] for each in rows])
    scale = features.max(axis=0)
    flop, moved, scores, operations = nnls(features / scale, np.ones(len(rows)))[0] / scale
    rates = [1 / each if each else math.inf for each in (flop, moved, scores)]
    return Machine({"32": rates[0]}, rates[1], rates[2], operations, False, math.inf, 1.0, math.inf)


def _terms(work: Work) -> tuple[float, ...]:
    return work.flop, work.moved, work.scores, work.operations


def decoding_seconds(side: int = 224) -> float:
    """Return the CPU seconds of one JPEG of 500 x 375 pixels, from its bytes to a square of ``side`` pixels."""
    rough = np.random.default_rng(0).integers(0, 255, (75, 100, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(rough).resize((500, 375), Image.Resampling.BICUBIC).save(file, "jpeg", quality=92)
    encoded, frame, images = file.getvalue(), Frame(side, resize=True), 20
    return fastest(lambda: [frame.fit(decode(lambda: encoded, "it"), "it") for _ in range(images)]) / images


def recipe_of(name: str, changes: tuple[str, ...]) -> Recipe:
    """Return a recipe of the repository, made small."""
    return load_recipe(recipe_file(f"recipes/{name}.yaml"), [*changes, "init=null"])


def measured() -> Iterator[Measured]:
    """Measure a training step of each recipe, without the update, on one thread."""
    torch.set_num_threads(1)
    for name, changes in RECIPES:
        recipe = recipe_of(name, changes)
        counted = count(recipe, recipe.batch_size, fourier=True)
        step, _ = training_step(recipe)
        seconds = fastest(step)
        gc.collect()  # what an earlier recipe left would count as memory set free
        peak = peak_bytes(step, torch.device("cpu"))
        work = counted.network.plus(counted.views)._replace(peak=counted.network.peak)
        yield Measured(f"{name}, batch {recipe.batch_size}", seconds, peak, work)


def single_rows(found: Sequence[Measured]) -> Iterator[Row]:
    """Yield seconds and memory of each step; its seconds are predicted by the rates of all others."""
    for place, each in enumerate(found):
        predicted = compute_seconds(each.work, machine_of(found, left_out=place), "32")
        yield Row(each.what, "CPU s", each.seconds, predicted)
        yield Row(each.what, "MiB", each.peak / MIB, each.work.peak / MIB)


def training_step(recipe: Recipe, *, together: bool = False) -> tuple[Callable[[], None], nn.Module]:
    """Return views, forward and backward pass of one batch, and what trains.

    Args:
        recipe: of images.
        together: whether all processes average their gradients and their BatchNorm.
    """
    spec = expected_spec(recipe.data.name, recipe.data.options)
    learner, make_views = build(recipe, spec)
    learner.train()
    if together:
        synchronise_batch_norm(learner, on_cuda=False)
    module = DistributedDataParallel(learner, broadcast_buffers=False) if together else learner
    batch = spec.random(recipe.batch_size, generator("cpu", "scale", "batch"))

    def step() -> None:
        module.zero_grad(set_to_none=True)
        with borrowed_global(generator("cpu", "scale", "step")):
            views = make_views(batch.inputs, generator("cpu", "scale", "views"))
            module(views, generator("cpu", "scale", "oscillators"), batch.targets).loss.backward()
        module.zero_grad(set_to_none=True)

    return step, module


def two_processes(folder: Path) -> Iterator[Row]:
    """Yield the seconds of a step that two gloo processes carry out, beside those of both alone and the all-reduce.

    Raises:
        UserError: a process fails.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    if subprocess.run([*command, __file__, str(folder)], env=environment, check=False).returncode:
        raise UserError("a gloo process failed: nothing was compared")
    found = json.loads((folder / "0.json").read_text())
    network = Network(found["bandwidth"], found["latency"])
    for name, changes in TOGETHER:
        recipe = recipe_of(name, changes)
        counted = count(recipe, recipe.batch_size, fourier=True)
        alone, both = found[name]
        what = f"{name}, batch 2 x {recipe.batch_size}, {counted.gradients / MIB:.1f} MiB of gradients"
        yield Row(what, "s", both, alone + reduced(counted, network))


def reduced(counted: Counted, network: Network) -> float:
    """Return the seconds of the all-reduce of two processes on a CPU, whose BatchNorm sends twice as many messages."""
    return reduce_seconds(counted.gradients, 1 + 2 * counted.network.messages, 2, network)


def _as_process(folder: Path) -> None:
    """Time messages and steps in one of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")

    def sent(tensor: Tensor) -> float:
        return fastest(lambda: dist.all_reduce(tensor), clock=time.perf_counter)

    few, many = sent(torch.zeros(1)), sent(torch.zeros(2**23))
    found: dict[str, object] = {"latency": few, "bandwidth": 4 * 2**23 / (many - few)}
    for name, changes in TOGETHER:
        recipe = recipe_of(name, changes)
        times = []
        for together in (False, True):
            step, _ = training_step(recipe, together=together)
            dist.barrier()
            times.append(fastest(step, clock=time.perf_counter))
        found[name] = times
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    _as_process(Path(sys.argv[1]))
