"""Training: a recipe in, a finished run directory out. The step stands whole in :func:`_fit`.

Every draw of step s is named by (seed, what for, s, part, process), so a run that is resumed at s goes on exactly as if it
had never stopped, and nothing about randomness has to be saved.
"""

import itertools
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sslkuramoto.checkpoint import export_classifier, export_encoder, load, load_encoder, load_strictly, save
from sslkuramoto.data import DATA, Batch, ImageSet, batches, shuffled
from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.objectives import OBJECTIVES, Objective, Step, check_views
from sslkuramoto.randomness import borrowed_global, generator, seed_global, seed_of
from sslkuramoto.recipe import Part, Recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training.averaging import WeightAverage
from sslkuramoto.training.collapse import effective_rank, feature_std
from sslkuramoto.training.log import Log
from sslkuramoto.training.optimizer import OPTIMIZERS, parameter_groups
from sslkuramoto.training.processes import launch, synchronise_batch_norm
from sslkuramoto.training.schedule import SCHEDULES
from sslkuramoto.views import VIEWS

Monitor = Callable[[Encoder, int], Mapping[str, float]]
"""Measures the encoder after an epoch (from 1), for example by k-NN; handed in by the caller, who may know more rooms."""


class Learner(nn.Module):
    """Encoder and objective as the one module that processes synchronise."""

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def forward(self, views: dict[str, Tensor], draw: torch.Generator, labels: Tensor | None) -> Step:
        """Return loss, metrics and features of one part of a batch."""
        return self.objective(self.encoder, views, draw=draw, labels=labels)


def train(recipe: Recipe, path: Path, *, monitor: Monitor | None = None) -> RunDirectory:
    """Carry out ``recipe`` in the run directory ``path``, or go on with it; a finished run is left as it is.

    Args:
        recipe: what to do.
        path: new, or a run directory of the same recipe.
        monitor: measures the encoder every ``recipe.measure.monitor_every`` epochs, on the first process.

    Returns:
        The run directory, finished.

    Raises:
        UserError: whatever the user can mend, before data are loaded where that is possible; also a loss or gradient
            that is not finite, and a collapsed representation (the last good checkpoint is kept).
        Interrupted: Ctrl-C or SIGTERM, after the checkpoint was written.
    """
    run = RunDirectory(path)
    if run.finished:
        run.claim(recipe)
        return run
    build_parts(recipe, num_classes=2, image_size=32, device="meta")
    fabric = launch(recipe.engine)
    data = DATA.build(recipe.data.name, recipe.data.options, "train")
    steps_per_epoch = len(shuffled(len(data), recipe.batch_size, seed=0, epoch=0, world_size=fabric.world_size))
    if recipe.batch_size % (recipe.accumulate * fabric.world_size):
        raise UserError(
            f"batch_size={recipe.batch_size}: must be divisible by accumulate={recipe.accumulate} times "
            f"{fabric.world_size} processes"
        )
    learner, make_views = build(recipe, data)
    if fabric.is_global_zero:
        run.claim(recipe)
    fabric.barrier()
    if fabric.world_size > 1:
        learner = synchronise_batch_norm(learner, on_cuda=fabric.device.type == "cuda")
    assert isinstance(learner, Learner)
    return _Training(recipe, run, fabric, data, learner, make_views, steps_per_epoch, monitor).carry_out()


def build_parts(
    recipe: Recipe, *, num_classes: int | None, image_size: int, device: str
) -> tuple[Encoder, Objective, nn.Module]:
    """Build encoder, objective and views of a recipe; on the device ``"meta"`` this only checks them, without memory.

    Raises:
        UserError: a part that cannot be built as written, or views that the objective does not get.
    """
    DATA.check(recipe.data.name, recipe.data.options)
    OPTIMIZERS.check(recipe.optimizer.name, recipe.optimizer.options)
    schedule = SCHEDULES.build(recipe.schedule.name, recipe.schedule.options)
    views = VIEWS.build(recipe.views.name, recipe.views.options, image_size)
    with torch.device(device), borrowed_global(generator("cpu", recipe.seed, "weights")):
        encoder = ENCODERS.build(recipe.encoder.name, recipe.encoder.options)
        objective = OBJECTIVES.build(recipe.objective.name, recipe.objective.options, encoder, num_classes)
    check_views(recipe.objective.name, objective, views.names)
    groups = parameter_groups(Learner(encoder, objective), schedule.hold, schedule.decay_norm_and_bias)
    OPTIMIZERS.build(recipe.optimizer.name, recipe.optimizer.options, groups)
    return encoder, objective, views


def build(recipe: Recipe, data: ImageSet) -> tuple[Learner, nn.Module]:
    """Build learner and views for ``data``, with the weights of ``recipe.init`` where it names a run.

    Raises:
        UserError: as :func:`build_parts`; labels that the objective needs and the data lack; a run that does not fit.
    """
    num_classes = None if data.classes is None else len(data.classes)
    encoder, objective, views = build_parts(recipe, num_classes=num_classes, image_size=data.size, device="cpu")
    if objective.needs_labels and data.labels is None:
        raise UserError(f"objective {recipe.objective.name}: needs labels, data {recipe.data.name} has none")
    if recipe.init is not None:
        source = RunDirectory(Path(recipe.init))
        if not source.finished:
            raise UserError(f"init={recipe.init!r}: no finished run (it holds no encoder.safetensors)")
        start = load_encoder(source.encoder_file())
        load_strictly(encoder, start.state_dict(), f"init={recipe.init}")
    return Learner(encoder, objective), views


class _Training:
    """One run in one process: what it is made of, and where it stands."""

    def __init__(
        self,
        recipe: Recipe,
        run: RunDirectory,
        fabric: Fabric,
        data: ImageSet,
        learner: Learner,
        make_views: nn.Module,
        steps_per_epoch: int,
        monitor: Monitor | None,
    ) -> None:
        self.recipe, self.run, self.fabric, self.data = recipe, run, fabric, data
        self.make_views, self.monitor = make_views, monitor
        self.steps_per_epoch = steps_per_epoch
        self.total = recipe.epochs * steps_per_epoch
        self.schedule = SCHEDULES.build(recipe.schedule.name, recipe.schedule.options)
        self.learner = learner  # the bare module; self.wrapped is what processes synchronise
        groups = parameter_groups(learner, self.schedule.hold, self.schedule.decay_norm_and_bias)
        optimizer = OPTIMIZERS.build(recipe.optimizer.name, recipe.optimizer.options, groups)
        self.average = None if recipe.weight_ema is None else WeightAverage(learner, recipe.weight_ema)
        module: Any = torch.compile(learner) if recipe.engine.compile else learner
        self.wrapped, self.optimizer = fabric.setup(module, optimizer)
        if self.average is not None:
            self.average.module.to(fabric.device)
        self.base_lr = [group["lr"] for group in self.optimizer.param_groups]
        self.step = 0
        self.interrupted = False

    def carry_out(self) -> RunDirectory:
        """Resume where there is a checkpoint, train to the end, export."""
        if self.run.last_checkpoint.is_file():
            self._restore()
        if self.fabric.is_global_zero:
            self.run.record_session(str(self.fabric.device), self.fabric.world_size)
        log = Log(self.run, self.recipe, self.step, self.total, self.fabric.is_global_zero)
        previous = {name: signal.signal(name, self._interrupt) for name in _signals()}
        try:
            with borrowed_global(generator(self.fabric.device, self.recipe.seed, "global")):
                self._fit(log)
        finally:
            log.close()
            for name, handler in previous.items():
                signal.signal(name, handler)
        if self.fabric.is_global_zero:
            self._export()
        self.fabric.barrier()
        return self.run

    def _fit(self, log: Log) -> None:
        recipe, fabric, learner = self.recipe, self.fabric, self.learner
        learner.train()
        started, first = time.monotonic(), self.step
        for step, parts in self._steps():
            self._set_learning_rate(step)
            seed_global(seed_of(recipe.seed, "dropout", step, fabric.global_rank), fabric.device)
            outcomes = []
            for part, batch in enumerate(parts):
                key = (step, part, fabric.global_rank)
                views = self.make_views(batch.images, generator("cpu", recipe.seed, "views", *key))
                draw = generator(fabric.device, recipe.seed, "oscillators", *key)
                with fabric.no_backward_sync(self.wrapped, enabled=part < recipe.accumulate - 1):
                    outcome = self.wrapped(views, draw, batch.labels)
                    fabric.backward(outcome.loss / recipe.accumulate)
                outcomes.append(outcome)
            grad_norm = fabric.clip_gradients(
                self.wrapped, self.optimizer, max_norm=recipe.clip_grad_norm or math.inf, error_if_nonfinite=False
            )
            metrics = self._reduced(outcomes, grad_norm)
            self._stop_unless_finite(metrics)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step = step + 1
            learner.objective.after_step(learner.encoder, progress=self.step / self.total)
            if self.average is not None:
                self.average.update(learner, self.step)

            speed = (self.step - first) / max(time.monotonic() - started, 1e-9)
            metrics["images_per_second"] = speed * recipe.batch_size
            self._measure(step, outcomes[-1], metrics, log, seconds_left=(self.total - self.step) / speed)

    def _steps(self) -> Iterator[tuple[int, list[Batch]]]:
        """Yield each step that is still to do with this process's images, cut into the parts of accumulation."""
        recipe, fabric = self.recipe, self.fabric
        for epoch in range(self.step // self.steps_per_epoch, recipe.epochs):
            start = self.step - epoch * self.steps_per_epoch
            order = shuffled(
                len(self.data),
                recipe.batch_size,
                seed=recipe.seed,
                epoch=epoch,
                start=start,
                rank=fabric.global_rank,
                world_size=fabric.world_size,
            )
            parts = [part for indices in order for part in indices.chunk(recipe.accumulate)]
            stream = batches(self.data, parts, device=fabric.device, workers=recipe.engine.workers)
            for offset in range(len(order)):
                yield epoch * self.steps_per_epoch + start + offset, list(itertools.islice(stream, recipe.accumulate))

    def _set_learning_rate(self, step: int) -> None:
        factor = self.schedule.factor(step, self.total, self.steps_per_epoch)
        for group, base in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = base if group.get("held") else base * factor

    def _reduced(self, outcomes: list[Step], grad_norm: Tensor | None) -> dict[str, float]:
        """Average the metrics over parts and processes, in one transfer from the device."""
        names = ["loss", *outcomes[0].metrics]
        values = [torch.stack([o.loss.detach().float(), *(v.float() for v in o.metrics.values())]) for o in outcomes]
        mean = self.fabric.all_reduce(torch.stack(values).mean(dim=0), reduce_op="mean")
        norm = torch.zeros_like(mean[:1]) if grad_norm is None else grad_norm.detach().float().reshape(1)
        *reduced, norm_value = torch.cat([torch.as_tensor(mean), norm]).tolist()
        metrics = dict(zip(names, reduced, strict=True))
        return {"loss": metrics.pop("loss"), "grad_norm": norm_value} | metrics

    def _stop_unless_finite(self, metrics: Mapping[str, float]) -> None:
        for name in ("loss", "grad_norm"):
            if not math.isfinite(metrics[name]):
                raise UserError(
                    f"{self.run.path}: {name} is {metrics[name]} at step {self.step} (epoch "
                    f"{self.step // self.steps_per_epoch + 1}); {self._kept()}; a smaller optimizer.lr or a "
                    "clip_grad_norm may help"
                )

    def _kept(self) -> str:
        kept = self.run.last_checkpoint
        return f"the last good checkpoint is kept at {kept}" if kept.is_file() else "no checkpoint was written yet"

    def _measure(self, step: int, outcome: Step, metrics: dict[str, float], log: Log, seconds_left: float) -> None:
        """Log, look for collapse, monitor, checkpoint, and stop when asked to."""
        measure, fabric = self.recipe.measure, self.fabric
        epoch, rest = divmod(step + 1, self.steps_per_epoch)
        ends_epoch, last = rest == 0, step + 1 == self.total
        metrics["lr"] = max(group["lr"] for group in self.optimizer.param_groups)
        collapsed = False
        if ends_epoch and len(outcome.features) > 1:
            metrics["feature_std"] = float(fabric.all_reduce(feature_std(outcome.features), reduce_op="mean"))
            metrics["effective_rank"] = float(fabric.all_reduce(effective_rank(outcome.features), reduce_op="mean"))
            collapsed = metrics["feature_std"] < measure.stop_on_collapse
        if ends_epoch and self.monitor and measure.monitor_every and (epoch % measure.monitor_every == 0 or last):
            if fabric.is_global_zero:
                self.learner.eval()
                encoder = self.average.module.encoder if self.average is not None else self.learner.encoder
                assert isinstance(encoder, Encoder)
                with torch.no_grad():
                    metrics.update(self.monitor(encoder, epoch))
                self.learner.train()
            fabric.barrier()
        if step % measure.log_every == 0 or ends_epoch:
            log.step(step, step // self.steps_per_epoch, metrics, seconds_left)
        if collapsed:
            raise UserError(
                f"{self.run.path}: the representation collapsed at step {step} (feature_std "
                f"{metrics['feature_std']:.2g} < measure.stop_on_collapse={measure.stop_on_collapse}); {self._kept()}"
            )
        stop = bool(fabric.all_reduce(torch.tensor(float(self.interrupted), device=fabric.device), reduce_op="sum"))
        if (ends_epoch and epoch % measure.checkpoint_every == 0) or last or stop:
            self._checkpoint()
        if stop:
            raise Interrupted(f"stopped after step {self.step} of {self.total}; the same command goes on from there")

    def _checkpoint(self) -> None:
        if self.fabric.is_global_zero:
            state = {
                "kind": "training",
                "step": self.step,
                "learner": self.learner.state_dict(),
                "average": None if self.average is None else self.average.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            save(self.run.last_checkpoint, state)
        self.fabric.barrier()

    def _restore(self) -> None:
        source = str(self.run.last_checkpoint)
        state = load(self.run.last_checkpoint)
        if state.get("kind") != "training" or not isinstance(state.get("step"), int):
            raise UserError(f"{source}: holds no training state")
        load_strictly(self.learner, state["learner"], source)
        if self.average is not None:
            load_strictly(self.average.module, state["average"] or {}, source)
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{source}: the optimizer state does not fit: {error}") from None
        self.step = state["step"]

    def _export(self) -> None:
        """Write the encoder, last of all: its presence says that the run is finished."""
        part, raw = self.recipe.encoder, self.learner
        models: list[tuple[Any, Any]] = [("ema", raw)]
        if self.average is not None:
            models = [("raw", raw), ("ema", self.average.module)]
        for weights, model in models:
            encoder = model.objective.exported(model.encoder)
            head = getattr(model.objective, "head", None)
            if isinstance(head, nn.Linear):
                export_classifier(self.run.classifier_file(weights), head)
            export_encoder(self.run.encoder_file(weights), encoder, Part(part.name, part.options))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:  # a second Ctrl-C does not wait for the step to end
            raise KeyboardInterrupt
        self.interrupted = True


def _signals() -> list[signal.Signals]:
    import threading

    if threading.current_thread() is not threading.main_thread():
        return []
    return [signal.SIGINT, signal.SIGTERM]
