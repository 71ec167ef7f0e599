"""What a run says while it trains: metrics.csv always, TensorBoard and Weights & Biases by choice, a bar on a terminal."""

import hashlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sslkuramoto.errors import UserError
from sslkuramoto.recipe import Recipe
from sslkuramoto.run_directory import MetricsFile, RunDirectory


class Log:
    """Everything one process writes about a run; on other ranks than 0 it writes nothing.

    Args:
        run: where.
        recipe: which loggers; its values are recorded by them.
        start: first step of this session.
        total: steps of the run.
        active: whether this process writes.
    """

    def __init__(self, run: RunDirectory, recipe: Recipe, start: int, total: int, active: bool) -> None:
        self.total = total
        self.active = active
        self._sinks: list[Any] = []
        self._last_line = 0.0
        self._progress: Progress | None = None
        if not active:
            return
        self._metrics = MetricsFile(run.metrics_file, start)
        for name in recipe.engine.loggers:
            self._sinks.append(_tensorboard(run.path) if name == "tensorboard" else _WandB(run.path, recipe))
        self._console = Console(stderr=True)
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task(run.path.name, total=total, completed=start, status="")
            self._progress.start()

    def step(self, step: int, epoch: int, metrics: Mapping[str, float], seconds_left: float) -> None:
        """Record the metrics of ``step`` (from 0)."""
        if not self.active:
            return
        self._metrics.add({"step": step, "epoch": epoch, **metrics})
        for sink in self._sinks:
            for name, value in metrics.items():
                sink.add_scalar(name, value, step)
        self._show(step, epoch, metrics, seconds_left)

    def _show(self, step: int, epoch: int, metrics: Mapping[str, float], seconds_left: float) -> None:
        status = f"epoch {epoch + 1}  loss {metrics['loss']:.4f}  {metrics['images_per_second']:.0f} images/s"
        if self._progress is not None:
            self._progress.update(self._task, completed=step + 1, status=status)
            return
        now = time.monotonic()
        if step + 1 == self.total or now - self._last_line >= 10:
            self._last_line = now
            print(f"step {step + 1}/{self.total}  {status}  {seconds_left:.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar and the loggers."""
        if self._progress is not None:
            self._progress.stop()
        for sink in self._sinks:
            sink.close()


def _tensorboard(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("engine.loggers: tensorboard is not installed; pip install 'sslkuramoto[log]'") from None
    return SummaryWriter(str(path / "tensorboard"))


class _WandB:
    """Weights & Biases; offline, without an account, unless WANDB_MODE or a login says otherwise."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("engine.loggers: wandb is not installed; pip install 'sslkuramoto[log]'") from None
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
        self._run = wandb.init(
            project=recipe.engine.wandb_project,
            name=path.name,
            id=hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            dir=str(path),
            config=recipe.to_dict(),
            mode=mode,  # pyright: ignore[reportArgumentType]
        )

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._run.log({name: value}, step=step)

    def close(self) -> None:
        self._run.finish()
