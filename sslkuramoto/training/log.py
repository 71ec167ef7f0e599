"""What a run records while it trains: metrics.csv always, TensorBoard and W&B by choice, a bar on a terminal."""

import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sslkuramoto.durations import shown_time
from sslkuramoto.errors import UserError, line_of
from sslkuramoto.files import write_atomically
from sslkuramoto.recipe import Recipe
from sslkuramoto.run_directory import MetricsFile, RunDirectory

MODES = ("online", "offline", "shared", "disabled", "dryrun", "run")  # that wandb takes


def check_loggers(names: Sequence[str], project: str = "") -> None:
    """Check ``engine.loggers`` and ``engine.wandb_project``.

    Raises:
        UserError: a package that is not installed, a logger named twice, a project or a WANDB_MODE that Weights &
            Biases does not take.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"engine.loggers: {name} is not installed; pip install 'sslkuramoto[log]'")
        if names.count(name) > 1:
            raise UserError(f"engine.loggers: names {name} twice")
    if "wandb" in names:
        if set(project) & set("/\\#?%:") or len(project) > 128:
            raise UserError(f"engine.wandb_project={project!r:.140}: at most 128 characters, none of / \\ # ? % :")
        if (mode := os.environ.get("WANDB_MODE") or MODES[0]) not in MODES:
            raise UserError(f"WANDB_MODE={mode!r:.60}: must be {', '.join(MODES)}")


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
        self.name = run.path.name
        self.active = active
        self._sinks: list[Any] = []
        self._last_line = 0.0
        self._progress: Progress | None = None
        if not active:
            return
        self._metrics = MetricsFile(run.metrics_file, start)
        for name in recipe.engine.loggers:
            try:
                sink = _TensorBoard(run.path, start) if name == "tensorboard" else _WandB(run.path, recipe)
            except (OSError, ValueError) as error:  # of a setting, a file or the disk
                self.close()
                raise UserError(f"engine.loggers: {name}: {line_of(error)}") from None
            self._sinks.append(sink)
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
            sink.write(metrics, step)
        self._show(step, epoch, metrics, seconds_left)

    def _show(self, step: int, epoch: int, metrics: Mapping[str, float], seconds_left: float) -> None:
        status = f"epoch {epoch + 1}  loss {metrics['loss']:.4f}  {metrics['images_per_second']:.0f} examples/s"
        if self._progress is not None:
            self._progress.update(self._task, completed=step + 1, status=status)
            return
        now = time.monotonic()
        if step + 1 == self.total or now - self._last_line >= 10:
            self._last_line = now
            print(
                f"{self.name}: step {step + 1}/{self.total}  {status}  {shown_time(seconds_left)} left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """End the bar and the loggers."""
        if self._progress is not None:
            self._progress.stop()
        for sink in self._sinks:
            sink.close()


def log_result(run: RunDirectory, recipe: Recipe, name: str, metrics: Mapping[str, float]) -> None:
    """Send the numbers of an evaluation to the loggers of a run, as ``evaluation/NAME/METRIC``.

    The result is written already; a logger that fails costs one line on stderr, never the evaluation. Weights & Biases
    gets it only where it got the training: a recipe of somebody else must not write into the reader's account.

    Args:
        run: that was evaluated.
        recipe: of the run; names the loggers.
        name: of the result.
        metrics: its numbers.
    """
    named = {f"evaluation/{name}/{metric}": value for metric, value in metrics.items()}
    for logger in recipe.engine.loggers:
        try:
            check_loggers([logger])
            if logger == "wandb" and not _wandb_file(run.path).is_file():
                raise UserError(f"the run was not logged to it (no {_wandb_file(run.path)})")
            sink = _TensorBoard(run.path, None) if logger == "tensorboard" else _WandB(run.path, recipe)
            sink.write(named, None)
            sink.close()
        except UserError as error:
            print(f"{run.path}: the result is not sent to {logger}: {error}", file=sys.stderr, flush=True)
        except Exception as error:  # whatever another package does without network, disk or account
            print(f"{run.path}: the result is not sent to {logger}: {line_of(error)}", file=sys.stderr, flush=True)


class _TensorBoard:
    """Event files in ``RUN/tensorboard``; steps from ``start`` on, if any, replace those of an interrupted session."""

    def __init__(self, path: Path, start: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(path / "tensorboard"), purge_step=start)

    def write(self, metrics: Mapping[str, float], step: int | None) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


def _answers(url: str, patience: float = 5.0) -> bool:
    """Return whether something listens at ``url`` within some seconds; a compute node may have no network.

    Behind a proxy this cannot be found out: True.
    """
    place = urlsplit(url)
    if place.scheme in getproxies():
        return True
    try:
        with socket.create_connection(
            (place.hostname, place.port or (80 if place.scheme == "http" else 443)), timeout=patience
        ):
            return True
    except OSError:
        return False


def _wandb_file(path: Path) -> Path:
    return path / "wandb" / "id.txt"


def _wandb_id(path: Path) -> str:
    """Return the id of a run, made at its first session: it belongs to this run, not to its path."""
    file = _wandb_file(path)
    kept = file.read_text(errors="replace").strip() if file.is_file() else None
    if kept is not None and re.fullmatch(r"[\w.-]{1,64}", kept, re.ASCII):
        return kept
    if kept is not None:
        print(f"{file}: no id of Weights & Biases; the run gets a new one there", file=sys.stderr, flush=True)
    new = secrets.token_hex(8)
    write_atomically(file, new)
    return new


class _WandB:
    """Weights & Biases in ``RUN/wandb``; offline, without an account, unless WANDB_MODE or a login says otherwise."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        import wandb
        from wandb.errors import Error

        mode: Any = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
        settings = wandb.Settings(console="off", silent=True)
        if mode == "online" and not _answers(settings.base_url):
            mode = self._offline(path, "its server does not answer")
        options: dict[str, Any] = {
            "project": recipe.engine.wandb_project,
            "name": path.name,
            "id": _wandb_id(path),
            "dir": str(path),
            "config": recipe.to_dict(),
            "settings": settings,
        }
        try:
            self._run = wandb.init(**options, mode=mode, resume="allow" if mode == "online" else None)
        except Error as error:
            mode = self._offline(path, line_of(error))
            try:
                self._run = wandb.init(**options, mode=mode)
            except Error as again:
                raise ValueError(line_of(again)) from None

    @staticmethod
    def _offline(path: Path, reason: str) -> Literal["offline"]:
        print(f"wandb: {reason}; logging offline, wandb sync {path}/wandb sends it later", file=sys.stderr, flush=True)
        return "offline"

    def write(self, metrics: Mapping[str, float], step: int | None) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()
