"""What a plan will cost before it runs: steps and measurements that are missing, and hours on this machine.

Hours are estimates: of a training from a few steps on random images, timed here; of a measurement from what it took
before, or from the protocol's own estimate (``measure.cost(subject)``) on an untrained network, else unknown.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from sslkuramoto.data import DATA
from sslkuramoto.data.image_set import MemorySet, batches
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.study.keys import Facts, content_key
from sslkuramoto.study.plan import Plan
from sslkuramoto.study.tasks import Evaluation, Stage
from sslkuramoto.training.learner import build

_IMAGES_ON_CPU = 8  # of a timed step; its time is scaled to the batch
_LONG = 5.0  # seconds after which one timed step has to do


@dataclass
class Share:
    """Equal tasks.

    Attributes:
        name: recipe, or protocol.
        count: how many are missing.
        steps: of one, for trainings.
        seconds: of one; None when unknown.
        source: where that is from.
    """

    name: str
    count: int
    steps: int
    seconds: float | None
    source: str


@dataclass
class Cost:
    """What is missing of a plan."""

    training: list[Share]
    measuring: list[Share]

    @property
    def seconds(self) -> float:
        """Of one worker, as far as known."""
        return sum(share.count * (share.seconds or 0.0) for share in (*self.training, *self.measuring))

    @property
    def unknown(self) -> int:
        """Tasks of unknown cost."""
        return sum(share.count for share in (*self.training, *self.measuring) if share.seconds is None)


def cost_of_plan(plan: Plan, *, retry: bool = False, threads: int = 1, device: str = "auto") -> Cost:
    """Estimate what :func:`~sslkuramoto.study.run.run_plan` would take.

    Args:
        plan: from :func:`~sslkuramoto.study.plan.plan_study`.
        retry: count what failed before.
        threads: of a worker.
        device: of a worker.
    """
    todo = plan.missing(retry)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    try:
        training = _trainings((task for task in todo if isinstance(task, Stage)), where)
        measuring = _measurements(plan, [task for task in todo if isinstance(task, Evaluation)], where)
    finally:
        torch.set_num_threads(before)
    return Cost(training, measuring)


def _trainings(stages: Iterable[Stage], device: torch.device) -> list[Share]:
    timed: dict[str, float | None] = {}
    shares: dict[str, Share] = {}
    for stage in stages:
        method = {key: value for key, value in stage.recipe.method().items() if key not in ("seed", "epochs", "init")}
        kind = content_key(method)
        if kind not in timed:
            timed[kind] = None if stage.facts is None else seconds_a_step(stage.recipe, stage.facts, device)
        each = timed[kind]
        seconds = None if each is None else each * stage.steps
        name = stage.label.rpartition(": ")[2]
        share = shares.setdefault(f"{kind} {stage.steps}", Share(name, 0, stage.steps, seconds, "a step timed here"))
        share.count += 1
    return list(shares.values())


def seconds_a_step(recipe: Recipe, facts: Facts, device: torch.device) -> float | None:
    """Return the seconds of one training step, timed on random images; None where it cannot be carried out."""
    n = recipe.batch_size // recipe.accumulate
    n = max(2, min(n, _IMAGES_ON_CPU)) if device.type == "cpu" else n
    draw = generator("cpu", "cost of a step")
    labels = torch.arange(n) % facts.classes if facts.classes else None
    images = torch.randint(0, 256, (n, 3, facts.size, facts.size), dtype=torch.uint8, generator=draw)
    classes = tuple(map(str, range(facts.classes))) or None
    few = MemorySet(recipe.data.name, "train", classes, labels, facts.size, "random", images)
    try:
        learner, make_views = build(replace(recipe, init=None), few)
        learner.to(device).train()
        (batch,) = batches(few, [torch.arange(n)], device=device)
        seconds = 0.0
        for number in range(3):
            start = time.perf_counter()
            with borrowed_global(generator(device, "cost of a step", number)):
                views = make_views(batch.images, generator("cpu", "views", number))
                learner(views, generator(device, "oscillators", number), batch.labels).loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            last = time.perf_counter() - start
            seconds = last if number < 2 else min(seconds, last)
            if last > _LONG:
                break
    except (UserError, RuntimeError):  # also out of memory
        return None
    return seconds * recipe.batch_size / n


def _measurements(plan: Plan, tasks: Iterable[Evaluation], device: torch.device) -> list[Share]:
    shares: dict[str, Share] = {}
    for task in tasks:
        stage = plan.tasks[task.stage.name]
        assert isinstance(stage, Stage)
        kind = content_key([task.content, stage.recipe.encoder.to_dict()])
        if kind not in shares:
            seconds, source = _seconds_before(plan.root, task, stage), "as earlier results took"
            if seconds is None and task.problem is None and stage.facts is not None:
                seconds, source = _own_estimate(task, stage, stage.facts, device), "at most, passes timed here"
            shares[kind] = Share(task.label.rpartition(": ")[2], 0, 0, seconds, source)
        shares[kind].count += 1
    return list(shares.values())


def _seconds_before(root: Path, task: Evaluation, stage: Stage) -> float | None:
    """Return what the same measurement took, of runs by the same recipe where there are any."""
    files = list((root / "runs").glob(f"*/results/*-{task.content}-*.json"))
    recipe = stage.key.rsplit("-", 2)[0]
    alike = [file for file in files if file.parents[1].name.rsplit("-", 2)[0] == recipe] or files
    seconds = [json.loads(file.read_text())["seconds"] for file in alike[:10]]
    return fmean(seconds) if seconds else None


def _own_estimate(task: Evaluation, stage: Stage, facts: Facts, device: torch.device) -> float | None:
    """Return what the protocol says it takes on a network of this kind; its weights do not matter."""
    recipe = stage.recipe
    measure = load_protocol(task.protocol, task.overrides).measure
    own_estimate = getattr(measure, "cost", None)
    if own_estimate is None:
        return None
    try:
        with borrowed_global(generator("cpu", "weights that are only timed")):
            encoder = ENCODERS.build(recipe.encoder.name, {**recipe.encoder.options, **task.encoder_options})
            head = torch.nn.Linear(encoder.num_features, facts.classes)
        subject = Subject(
            encoder=encoder.eval().requires_grad_(False).to(device),
            head=head.eval().requires_grad_(False).to(device),
            data=lambda split: DATA.build(recipe.data.name, recipe.data.options, split),
            device=device,
            run_dir=stage.path,
            encoder_hash="untrained",
            seed=recipe.seed,
        )
        return sum(cost.hours for _, cost in own_estimate(subject)) * 3600
    except (UserError, RuntimeError):
        return None


def plan_text(plan: Plan, cost: Cost, *, jobs: int = 1, retry: bool = False) -> str:
    """Return what would be computed, and its cost, for a terminal."""
    todo = {task.key for task in plan.missing(retry)}
    lines = [f"{plan.study.name}: {plan.study.title}"]
    for word, tasks, shares in (
        ("training runs", plan.stages, cost.training),
        ("measurements", plan.evaluations, cost.measuring),
    ):
        done = sum(task.done() for task in tasks)
        failed = sum(plan.failure(task.key) is not None for task in tasks)
        missing = sum(task.key in todo for task in tasks)
        text = f"  {word}: {missing} to do, {done} of {len(tasks)} done"
        lines.append(text + (f", {failed} failed{'' if retry else ' (--retry tries again)'}" if failed else ""))
        lines += [_share_text(share) for share in shares]
    lines += [f"  cannot run here: {problem}" for problem in plan.problems]
    if todo:
        whole = f"  estimate: {shown_time(cost.seconds)} of one worker"
        if jobs > 1:
            whole += f", about {shown_time(cost.seconds / min(jobs, len(todo)))} with {min(jobs, len(todo))}"
        lines.append(whole + (f", and {cost.unknown} tasks of unknown cost" if cost.unknown else ""))
    else:
        lines.append("  nothing to do")
    return "\n".join(lines)


def _share_text(share: Share) -> str:
    each = "cost unknown" if share.seconds is None else f"{shown_time(share.seconds)} each ({share.source})"
    steps = f"{share.steps:,} steps, " if share.steps else ""
    return f"    {share.count} x {share.name}: {steps}{each}"


def shown_time(seconds: float) -> str:
    """Return a duration in the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
