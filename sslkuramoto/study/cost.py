"""What a plan will cost before it runs: steps and measurements that are missing, and hours on this machine.

Hours are estimates: of a training from a few steps on random examples, timed here; of a measurement from what it took
before, or from the protocol's own estimate (``measure.estimate(subject)``) on an untrained network, else unknown.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import torch

from sslkuramoto.data import DATA
from sslkuramoto.durations import shown_time
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.examples import Spec
from sslkuramoto.heads import HEADS
from sslkuramoto.objectives import head_of
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Part, Recipe
from sslkuramoto.results import Result
from sslkuramoto.sources import content_key
from sslkuramoto.study.jobs import Evaluation, Stage
from sslkuramoto.study.keys import Facts
from sslkuramoto.study.plan import Plan
from sslkuramoto.training.learner import build

_NOT_IN_A_STEP = (
    "seed",
    "epochs",
    "init",
    "optimizer",
    "schedule",
    "clip_grad_norm",
    "weight_ema",
)  # forward and backward only
_FEW = 8  # images of the first timed step on a CPU
_LONG = 5.0  # seconds of a step that is not timed twice, nor whole


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
    """What is missing of a plan.

    Attributes:
        training, measuring: equal tasks together.
        tasks: key of a task -> its seconds, None when unknown.
    """

    training: list[Share]
    measuring: list[Share]
    tasks: dict[str, float | None] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of one worker, as far as known."""
        return sum(share.count * (share.seconds or 0.0) for share in (*self.training, *self.measuring))

    @property
    def unknown(self) -> int:
        """Tasks of unknown cost."""
        return sum(share.count for share in (*self.training, *self.measuring) if share.seconds is None)


def _silent(line: str) -> None:
    """Report no progress."""


def cost_of_plan(
    plan: Plan,
    *,
    retry: bool = False,
    threads: int = 1,
    device: str = "auto",
    report: Callable[[str], None] = _silent,
) -> Cost:
    """Estimate what :func:`~sslkuramoto.study.run.run_plan` would take.

    Args:
        plan: from :func:`~sslkuramoto.study.plan.plan_study`.
        retry: count what failed before.
        threads: of a worker.
        device: of a worker.
        report: receives a line before each timing.
    """
    todo = plan.missing(retry)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    try:
        found = Cost([], [])
        _trainings(found, (task for task in todo if isinstance(task, Stage)), where, report)
        _measurements(found, plan, [task for task in todo if isinstance(task, Evaluation)], where, report)
    finally:
        torch.set_num_threads(before)
    return found


def _trainings(found: Cost, stages: Iterable[Stage], device: torch.device, report: Callable[[str], None]) -> None:
    """Add training runs to ``found``."""
    timed: dict[str, float | None] = {}
    shares: dict[tuple[str, int, float | None], Share] = {}
    for stage in stages:
        kind = content_key({key: value for key, value in stage.recipe.method().items() if key not in _NOT_IN_A_STEP})
        if kind not in timed:
            report(f"timing a step of {stage.label}")
            timed[kind] = None if stage.facts is None else seconds_a_step(stage.recipe, stage.facts.spec, device)
        each = timed[kind]
        seconds = found.tasks[stage.key] = None if each is None else each * stage.steps
        name = stage.label.rpartition(": ")[2]
        share = Share(name, 0, stage.steps, seconds, "a step timed here")
        shares.setdefault((name, stage.steps, seconds), share).count += 1
    found.training += shares.values()


def seconds_a_step(recipe: Recipe, spec: Spec, device: torch.device) -> float | None:
    """Return the seconds of one training step, timed on random examples; None where it cannot be carried out.

    A step that would take long is timed on a few examples and scaled to the batch.
    """
    n = recipe.batch_size // recipe.accumulate
    few = n if device.type == "cuda" else min(n, _FEW)
    try:
        seconds = _timed(recipe, spec, few, device) * n / few
        if few < n and seconds < _LONG:
            seconds = _timed(recipe, spec, n, device)
    except Exception:  # out of memory above all: an estimate that fails is unknown and stops nothing
        return None
    return seconds * recipe.accumulate


def _timed(recipe: Recipe, spec: Spec, n: int, device: torch.device) -> float:
    """Return the seconds of forward and backward pass of ``n`` examples, the views included: the best of three."""
    learner, make_views = build(replace(recipe, init=None), spec)
    learner.to(device).train()
    batch = spec.random(n, generator("cpu", "cost of a step")).to(device)
    best = math.inf
    for number in range(3):
        start = time.perf_counter()
        with borrowed_global(generator(device, "cost of a step", number)):
            augment = generator("cpu", "views", number)
            batch = make_views.moved(batch, augment)
            views = make_views(batch.inputs, augment)
            learner(views, generator(device, "oscillators", number), batch.targets).loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
        if best > _LONG:
            break
    return best


def _measurements(
    found: Cost, plan: Plan, tasks: Iterable[Evaluation], device: torch.device, report: Callable[[str], None]
) -> None:
    """Add measurements to ``found``."""
    known: dict[str, tuple[float | None, str]] = {}
    shares: dict[tuple[str, float | None], Share] = {}
    for task in tasks:
        stage = plan.tasks.get(task.stage.name)  # None for the network of a function, which is not called for a guess
        assert stage is None or isinstance(stage, Stage)
        kind = content_key([task.content, stage.recipe.encoder.to_dict() if stage else _name_of(task.stage)])
        if kind not in known:
            known[kind] = _seconds_before(plan.root, task), "as earlier results took"
            if known[kind][0] is None and task.problem is None and stage is not None and stage.facts is not None:
                report(f"timing passes of {task.label}")
                known[kind] = _own_estimate(task, stage, stage.facts, device), "its passes at most, timed here"
        seconds, source = known[kind]
        found.tasks[task.key] = seconds
        name = task.label.rpartition(": ")[2]
        shares.setdefault((name, seconds), Share(name, 0, 0, seconds, source)).count += 1
    found.measuring += shares.values()


def _name_of(run: Path) -> str:
    """Return the name of a run directory without its key."""
    return run.name.rsplit("-", 2)[0]


def _seconds_before(root: Path, task: Evaluation) -> float | None:
    """Return what the same measurement took, of runs by the same recipe where there are any."""
    files = list((root / "runs").glob(f"*/results/*-{task.content}-*.json"))
    alike = [file for file in files if _name_of(file.parents[1]) == _name_of(task.stage)] or files
    seconds = [found for file in alike[:10] if (found := _seconds_in(file)) is not None]
    return fmean(seconds) if seconds else None


def _seconds_in(file: Path) -> float | None:
    """Return the seconds that a result recorded; None where it is damaged, which the table will show."""
    try:
        return Result.read(file, per_image=False).seconds
    except UserError:
        return None


def _own_estimate(task: Evaluation, stage: Stage, facts: Facts, device: torch.device) -> float | None:
    """Return the protocol's own estimate for a network of this kind, seconds; its weights do not matter."""
    recipe = stage.recipe
    loaded = load_protocol(task.protocol, task.overrides)
    try:
        with borrowed_global(generator("cpu", "weights that are only timed")):
            encoder = ENCODERS.build(recipe.encoder.name, {**recipe.encoder.options, **task.encoder_options})
            part = head_of(recipe.objective.name) or Part("linear")
            head = HEADS.build(part.name, part.options, encoder.num_features, facts.spec.num_classes or 0)
        encoder = encoder.eval().requires_grad_(False).to(device)
        subject = Subject(
            encoder=encoder,
            head=head.eval().requires_grad_(False).to(device),
            data=lambda split: DATA.build(recipe.data.name, recipe.data.options, split),
            device=device,
            run_dir=stage.path,
            encoder_hash="untrained",
            seed=recipe.seed,
        )
        costs = loaded.measure.estimate(subject)
        return sum(cost.seconds for _, cost in costs) if costs else None
    except Exception:  # an estimate that fails is unknown and stops nothing
        return None


def plan_text(plan: Plan, cost: Cost, *, jobs: int = 1, retry: bool = False) -> str:
    """Return what would be computed, and its cost, for a terminal."""
    todo = {task.key for task in plan.missing(retry)}
    lines = [f"{plan.study.name}: {plan.study.title}", *(f"  {said}" for said in plan.study.changes)]
    if rows := plan.study.keep_their_data:
        lines.append(f"  data of their own: {', '.join(rows)}; set ROW.data.root=DIR")
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
    called = {task.network.function for task in plan.evaluations if task.network is not None and task.key in todo}
    lines += [f"  runs the code of {function}" for function in sorted(called)]
    lines += [f"  cannot run here: {problem}" for problem in plan.problems]
    lines.append(_whole_text(cost, min(jobs, len(todo))) if todo else "  nothing to do")
    return "\n".join(lines)


def _whole_text(cost: Cost, workers: int) -> str:
    known = f"  estimate: {shown_time(cost.seconds)} of one worker"
    if workers > 1:
        known += f", about {shown_time(cost.seconds / workers)} with {workers}"
    if not cost.unknown:
        return known
    return f"{known}, and {cost.unknown} tasks of unknown cost" if cost.seconds else "  estimate: unknown"


def _share_text(share: Share) -> str:
    each = "cost unknown" if share.seconds is None else f"{shown_time(share.seconds)} each ({share.source})"
    steps = f"{share.steps:,} steps, " if share.steps else ""
    return f"    {share.count} x {share.name}: {steps}{each}"
