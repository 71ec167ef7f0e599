"""Training: a recipe in, a finished run directory out. All of a step is in :meth:`_Training._fit`.

Every draw of step s is named by (seed, what for, s, part, process), so a run that is resumed at s continues exactly as
if it had never stopped, and nothing about randomness has to be saved.
"""

import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sslkuramoto.data import DataSet, batches, shuffled
from sslkuramoto.encoders import Encoder
from sslkuramoto.encoders.features import UNTRAINED, buffers_kept, one_field
from sslkuramoto.errors import Interrupted, UserError, printable, too_large
from sslkuramoto.examples import Batch
from sslkuramoto.objectives import Step
from sslkuramoto.objectives.collapse import effective_rank, feature_std
from sslkuramoto.objectives.losses import every_rank
from sslkuramoto.randomness import borrowed_global, generator, seed_global, seed_of
from sslkuramoto.recipe import Recipe
from sslkuramoto.run_data import data_of, remember
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training.averaging import WeightAverage, left_behind
from sslkuramoto.training.learner import (
    Learner,
    build,
    check,
    check_batch,
    check_start,
    leaves_untrained,
    resolved,
    start_of,
    without_lost_init,
)
from sslkuramoto.training.log import Log
from sslkuramoto.training.optimizer import OPTIMIZERS, parameter_groups
from sslkuramoto.training.processes import check_alike, launch, processes, strategy_of, synchronise_batch_norm
from sslkuramoto.training.scalars import scalars, with_monitored
from sslkuramoto.training.schedule import SCHEDULES
from sslkuramoto.training.sharding import WholeCopy, check_shards, gathered, shard_as, whole
from sslkuramoto.training.state import check_export, export, not_finite, restore_state, save_state, say_not_kept
from sslkuramoto.training.stopping import StopRequest
from sslkuramoto.views import ViewPolicy

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Monitor = Callable[[Encoder, DataSet, int], Mapping[str, float]]
"""Measures the encoder on the training set after an epoch (from 1), for example by k-NN; passed by the caller, which
may import packages that this one may not."""


def train(recipe: Recipe, path: Path, *, monitor: Monitor | None = None) -> RunDirectory:
    """Carry out ``recipe`` in the run directory ``path``, or continue it; a finished run is left as it is.

    Args:
        recipe: what to do.
        path: new, or a run directory of the same recipe.
        monitor: measures the encoder every ``recipe.measure.monitor_every`` epochs, on the first process.

    Returns:
        The run directory, finished.

    Raises:
        UserError: whatever the user can mend, before data are loaded where that is possible; also a loss or gradient
            that is not finite, and a collapsed representation (the last good checkpoint remains).
        Interrupted: Ctrl-C or SIGTERM, after the checkpoint was written.
    """
    run = RunDirectory(path)
    if run.finished:
        check_start(recipe, run)
        return left_as_it_is(recipe, run)
    recipe = resolved(recipe)
    start = without_lost_init(recipe, run)
    check(start)
    run.check(recipe, resolved)
    check_start(recipe, run)
    check_batch(recipe, processes(os.environ)[1])  # before the others wait for this one
    fabric = launch(recipe.engine)
    data = data_of(run, recipe.data, "train")
    check_alike(fabric, run.path, "the set of examples", seed_of(data.fingerprint, len(data)))
    check_alike(fabric, run.path, "the checkpoint", int(run.last_checkpoint.is_file()))
    steps_per_epoch = len(shuffled(len(data), recipe.batch_size, seed=0, epoch=0))
    learner, make_views = build(start, data.spec)
    if strategy_of(recipe.engine, fabric.world_size) == "fsdp2":
        check_shards(learner, learner.objective.takes_gradients)
    with run.locked() if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero:
            run.claim(recipe, resolved)
            for note in data.notes:
                print(f"data {data.name} {data.split}: {note}", file=sys.stderr, flush=True)
            if leaves_untrained(recipe):
                print(printable(f"{run.path}: {UNTRAINED}"), file=sys.stderr, flush=True)
            if start != recipe:
                gone = f"{run.path}: init={recipe.init} is gone; the run continues from its own checkpoint"
                print(printable(gone), file=sys.stderr, flush=True)
            behind = recipe.weight_ema and left_behind(recipe.weight_ema, recipe.epochs * steps_per_epoch)
            if behind:
                print(printable(f"{run.path}: {behind}"), file=sys.stderr, flush=True)
            remember(run, recipe.data, data)
        fabric.barrier()
        if fabric.world_size > 1:
            synchronise_batch_norm(learner, on_cuda=fabric.device.type == "cuda")
        return _Training(recipe, run, fabric, data, learner, make_views, steps_per_epoch, monitor).carry_out()


def left_as_it_is(recipe: Recipe, run: RunDirectory) -> RunDirectory:
    """Return a finished run after a check that it is that of ``recipe`` and that its encoder can be read.

    Epochs that the recipe keeps and the run did not are said on stderr.

    Raises:
        UserError: it is not, or it cannot.
    """
    run.check(resolved(recipe), resolved)
    check_export(run)
    say_not_kept(run, recipe, recipe.epochs)
    return run


class _Training:
    """One run in one process: its parts and its progress."""

    def __init__(
        self,
        recipe: Recipe,
        run: RunDirectory,
        fabric: "Fabric",
        data: DataSet,
        learner: Learner,
        make_views: ViewPolicy,
        steps_per_epoch: int,
        monitor: Monitor | None,
    ) -> None:
        self.recipe, self.run, self.fabric, self.data = recipe, run, fabric, data
        self.make_views, self.monitor = make_views, monitor
        self.steps_per_epoch = steps_per_epoch
        self.total = recipe.epochs * steps_per_epoch
        self.schedule = SCHEDULES.build(recipe.schedule.name, recipe.schedule.options)
        self.learner = learner  # the bare module; self.wrapped is what processes synchronise
        self.average = None if recipe.weight_ema is None else WeightAverage(learner, recipe.weight_ema)
        averaged = None if self.average is None else self.average.module
        self.copies = None  # of learner and average, where weights are sharded over processes
        if strategy_of(recipe.engine, fabric.world_size) == "fsdp2":
            self.copies = tuple(
                WholeCopy(each, fabric.is_global_zero) for each in (learner, averaged) if each is not None
            )
        module: Any = torch.compile(learner) if recipe.engine.compile else learner
        self.wrapped: Any = fabric.setup_module(module)
        groups = parameter_groups(learner, self.schedule.hold, self.schedule.decay_norm_and_bias)
        optimizer = OPTIMIZERS.build(recipe.optimizer.name, recipe.optimizer.options, groups)
        self.optimizer: Any = fabric.setup_optimizers(optimizer)
        if averaged is not None:
            averaged.to(fabric.device, next(learner.parameters()).dtype)
            shard_as(averaged, learner)
        self.base_lr = [group["lr"] for group in self.optimizer.param_groups]
        self.step = 0  # steps that are done

    def carry_out(self) -> RunDirectory:
        """Resume where there is a checkpoint, train to the end, export."""
        if self.run.last_checkpoint.is_file():
            self.step = restore_state(self.run, self.total, self.learner, self.average, self.optimizer)
        check_alike(self.fabric, self.run.path, "the step of the checkpoint", self.step)
        if self.fabric.is_global_zero:
            self._record_session()
            say_not_kept(self.run, self.recipe, self.step // self.steps_per_epoch)
        log = Log(self.run, self.recipe, self.step, self.total, self.fabric.is_global_zero)
        try:
            with StopRequest() as stop, borrowed_global(generator(self.fabric.device, self.recipe.seed, "global")):
                self._fit(log, stop)
        except (MemoryError, RuntimeError) as error:
            found = too_large(error)
            if found is None:
                raise
            self._fail(*found)
        finally:
            log.close()
        self._export(self.run)
        return self.run

    def _whole(self) -> tuple[Learner, Learner | None]:
        """Return learner and average with whole weights, on the first process; every process has to call this."""
        averaged = None if self.average is None else self.average.module
        if self.copies is None:
            return self.learner, averaged
        return self.copies[0].of(self.learner), None if averaged is None else self.copies[1].of(averaged)

    def _export(self, run: RunDirectory) -> None:
        """Write encoder and head on the first process, while the others wait."""
        learner, averaged = self._whole()
        if self.fabric.is_global_zero:
            export(run, self.recipe.encoder, learner, averaged)
        self.fabric.barrier()

    def _record_session(self) -> None:
        """Record versions and hardware; say so where a run does not continue exactly."""
        start = None if self.step else start_of(self.recipe)
        changed = self.run.record_session(str(self.fabric.device), self.fabric.world_size, start)
        engine, earlier = self.recipe.engine, self.run.recipe().engine
        for key in ("compile", "strategy", "checkpoint_steps"):  # each rounds differently
            now, before = getattr(engine, key), getattr(earlier, key)
            if key == "strategy":
                now, before = (strategy_of(each, self.fabric.world_size) for each in (engine, earlier))
            if now != before:
                changed.append(f"engine.{key}={str(now).lower()} (before: {str(before).lower()})")
        if changed and self.step:
            line = "continues, but not bit for bit as a run that was never stopped"
            print(printable(f"{self.run.path}: {', '.join(changed)}: {line}"), file=sys.stderr, flush=True)

    def _fit(self, log: Log, stop: StopRequest) -> None:
        recipe, fabric, learner = self.recipe, self.fabric, self.learner
        learner.train()
        started, first = time.monotonic(), self.step
        for step, parts in self._steps():
            self._set_learning_rate(step)
            seed_global(seed_of(recipe.seed, "dropout", step, fabric.global_rank), fabric.device)
            outcomes = []
            for part, batch in enumerate(parts):
                key = (step, part, fabric.global_rank)
                augment = generator("cpu", recipe.seed, "views", *key)
                batch = self.make_views.moved(batch, augment)
                views = self.make_views(batch.inputs, augment)
                draw = generator(fabric.device, recipe.seed, "oscillators", *key)
                with fabric.no_backward_sync(self.wrapped, enabled=part < recipe.accumulate - 1):
                    outcome = self.wrapped(views, draw, batch.targets)
                    fabric.backward(outcome.loss / recipe.accumulate)
                outcomes.append(outcome)
            grad_norm = fabric.clip_gradients(
                self.wrapped, self.optimizer, max_norm=recipe.clip_grad_norm or math.inf, error_if_nonfinite=False
            )
            metrics = self._reduced(outcomes, grad_norm)
            self._stop_unless_finite(metrics)
            if (step + 1) % self.steps_per_epoch == 0:
                metrics |= self._spread_of_features(outcomes[-1].features, views[learner.objective.views[0]])
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step = step + 1
            learner.objective.after_step(learner.encoder, progress=self.step / self.total)
            if self.average is not None:
                self.average.update(learner, self.step)

            speed = (self.step - first) / max(time.monotonic() - started, 1e-9)
            metrics["images_per_second"] = speed * recipe.batch_size
            self._record(metrics, log, seconds_left=(self.total - self.step) / speed)
            self._save_or_stop(stop)

    def _steps(self) -> Iterator[tuple[int, list[Batch]]]:
        """Yield each step that is still to do with this process's share of every part of its batch."""
        recipe, fabric, steps = self.recipe, self.fabric, self.steps_per_epoch
        for epoch in range(self.step // steps, recipe.epochs):
            start = self.step - epoch * steps
            parts = shuffled(
                len(self.data),
                recipe.batch_size // recipe.accumulate,
                seed=recipe.seed,
                epoch=epoch,
                start=start * recipe.accumulate,
                rank=fabric.global_rank,
                world_size=fabric.world_size,
            )[: (steps - start) * recipe.accumulate]  # as many parts as whole batches have
            stream = batches(self.data, parts, device=fabric.device, workers=recipe.engine.workers)
            for step in range(epoch * steps + start, (epoch + 1) * steps):
                yield step, list(itertools.islice(stream, recipe.accumulate))

    def _set_learning_rate(self, step: int) -> None:
        factor = self.schedule.factor(step, self.total, self.steps_per_epoch)
        for group, base in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = base if group["held"] else base * factor

    def _mean(self, values: Tensor) -> Tensor:
        """Average a tensor over processes."""
        mean = self.fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def _reduced(self, outcomes: list[Step], grad_norm: Tensor | None) -> dict[str, float]:
        """Average the metrics over parts and processes; ``grad_norm`` is that of the averaged gradient already."""
        assert grad_norm is not None
        names, values = scalars(self.recipe.objective.name, outcomes, self._monitors())
        mean = self._mean(values)
        norm = whole(grad_norm.detach()).to(mean.device).float()
        *reduced, norm = torch.cat([mean, norm.reshape(1)]).tolist()  # one transfer
        metrics = dict(zip(names, reduced, strict=True))
        lr = self.optimizer.param_groups[0]["lr"]  # groups that are held come last
        return {"loss": metrics.pop("loss"), "grad_norm": norm, "lr": lr, **metrics}

    def _stop_unless_finite(self, metrics: Mapping[str, float]) -> None:
        for name in ("loss", "grad_norm"):
            if not math.isfinite(metrics[name]):
                self._fail(f"{name} is {metrics[name]}", "a smaller optimizer.lr or a clip_grad_norm may help")

    def _fail(self, what: str, advice: str = "") -> None:
        kept = self.run.last_checkpoint
        raise UserError(
            f"{self.run.path}: {what} after {self.step} of {self.total} steps; "
            + (f"the last good checkpoint is {kept}" if kept.is_file() else "no checkpoint was written yet")
            + (f"; {advice}" if advice else "")
        )

    def _record(self, metrics: dict[str, float], log: Log, seconds_left: float) -> None:
        """Log the step; at the end of an epoch also monitor, and stop when the representation has collapsed."""
        measure = self.recipe.measure
        epoch, rest = divmod(self.step, self.steps_per_epoch)
        if rest == 0:
            due = measure.monitor_every and (epoch % measure.monitor_every == 0 or epoch == self.recipe.epochs)
            if self.monitor is not None and due:
                found = self._monitored(self.monitor, epoch)
                metrics = with_monitored(self.recipe.objective.name, metrics, found)
        if rest == 0 or (self.step - 1) % measure.log_every == 0:
            log.step(self.step - 1, (self.step - 1) // self.steps_per_epoch, metrics, seconds_left)
        if metrics.get("feature_std", math.inf) < measure.stop_on_collapse:
            self._fail(
                f"the representation collapsed: feature_std={metrics['feature_std']:.2g} "
                f"< measure.stop_on_collapse={measure.stop_on_collapse:g}"
            )

    @torch.no_grad()
    def _spread_of_features(self, features: Tensor, images: Tensor) -> dict[str, float]:
        """Return how far the features of a batch spread because its images differ.

        A stochastic encoder encodes them once more, every image from the same field of oscillators: the noise of the
        oscillators would otherwise count as spread, and hide a collapse.

        Args:
            features: of the last part of a batch, of this process; the numbers are of those of all processes.
            images: from which the objective made them.
        """
        if len(features) < 2:
            return {}
        encoder = self.learner.encoder
        if encoder.stochastic:
            if images.is_floating_point():
                images = images.to(next(encoder.parameters()).dtype)
            field = one_field(encoder, images, generator(self.fabric.device, self.recipe.seed, "one field", self.step))
            # in train mode, as the batch was seen
            with self.fabric.autocast(), buffers_kept(encoder), gathered(self.learner):
                features = encoder(images, initial=field).pooled
        features = every_rank(features)
        std, rank = self._mean(torch.stack([feature_std(features), effective_rank(features)])).tolist()
        return {"feature_std": std, "effective_rank": rank}

    def _monitors(self) -> tuple[str, ...]:
        return () if self.monitor is None else self.recipe.measure.monitors

    def _monitored(self, monitor: Monitor, epoch: int) -> Mapping[str, float]:
        """Measure the encoder that the run would leave behind now, on the first process."""
        found: Mapping[str, float] = {}
        learner, averaged = self._whole()
        if self.fabric.is_global_zero:
            encoder = (learner if averaged is None else averaged).eval().exported()
            assert isinstance(encoder, Encoder)
            with torch.no_grad():
                found = monitor(encoder.to(self.fabric.device), self.data, epoch)
            if self.copies is not None:
                encoder.cpu()
            self.learner.train()
        self.fabric.barrier()
        return found

    def _save_or_stop(self, stop: StopRequest) -> None:
        """Write what an epoch keeps, and a checkpoint when one is due; stop after it when any process was asked to."""
        epoch, rest = divmod(self.step, self.steps_per_epoch)
        stops = bool(self._mean(torch.tensor(float(stop.made), device=self.fabric.device)) > 0)
        measure = self.recipe.measure
        due = rest == 0 and (epoch % measure.checkpoint_every == 0 or epoch == self.recipe.epochs)
        kept = rest == 0 and epoch in measure.keep_checkpoints
        if due or stops or kept:
            for kind, spoilt in not_finite(self.learner, self.optimizer).items():
                if self._mean(torch.tensor(float(spoilt), device=self.fabric.device)) > 0:  # in any process's share
                    self._fail(f"{kind} is not finite", "a smaller optimizer.lr may help")
            if kept:  # before the state: a run that resumes from it does not reach this line again
                self._export(self.run.at_epoch(epoch))
            if due or stops:
                first = self.fabric.is_global_zero
                save_state(self.run, self.step, self.learner, self.average, self.optimizer, first)
            self.fabric.barrier()
        if stops:
            raise Interrupted(f"stopped after step {self.step} of {self.total}; the same command continues from there")
