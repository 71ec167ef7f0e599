"""One task in one process: train a stage or measure a run, under a lock that no other process shares."""

import errno
import gc
import sys
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from sslkuramoto.errors import Interrupted, UserError, line_of, one_line, too_large
from sslkuramoto.evaluation import Subject, evaluate, load_protocol, subject_of
from sslkuramoto.evaluation.foreign import code_of_function, foreign_subject
from sslkuramoto.evaluation.representation.monitor import online_measures
from sslkuramoto.files import lock, write_atomically
from sslkuramoto.recipe import dump_recipe
from sslkuramoto.run_directory import RunDirectory, describe_environment
from sslkuramoto.study.jobs import Evaluation, Network, Stage, Task, record_failure
from sslkuramoto.study.plugins import check_unchanged
from sslkuramoto.training import train
from sslkuramoto.training.learner import resolved

_HINDRANCES = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        kind: done; failed; hindered (by the machine: no room on the disk, no permission; a later call tries again);
            busy (another process is computing it); interrupted (a later call continues); killed (a signal ended its
            process, which may happen once by chance).
        reason: one line.
        trace: where a fault of ours arose.
        seconds: it took.
    """

    kind: Literal["done", "failed", "hindered", "busy", "interrupted", "killed"]
    reason: str = ""
    trace: str = ""
    seconds: float = 0.0


def carry_out(task: Task, root: Path, device: str) -> Outcome:
    """Do one task, unless it is done or another process does it; whatever goes wrong is in the outcome, not raised.

    A failure is recorded before the lock is given back, so that no process that waits for it makes it again; a
    hindrance is not recorded.
    """
    try:
        with lock(root / "locks" / f"{task.key}.lock", advice="choose another --root") as mine:
            if not mine:
                return Outcome("busy")
            outcome = _tried(task, device)
            if outcome.kind == "failed":
                record_failure(root, task.key, task.label, outcome.reason, outcome.trace)
            return outcome
    except UserError as error:  # the root cannot be written, or has no locks
        return _failed(error, one_line(error))


def _failed(error: BaseException, reason: str, trace: str = "") -> Outcome:
    """Return how a task ended by an error: hindered where a refusal of the file system is behind it."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in _HINDRANCES:
            return Outcome("hindered", reason)
        found = found.__cause__ or found.__context__
    return Outcome("failed", reason, trace)


def _tried(task: Task, device: str) -> Outcome:
    start = time.perf_counter()
    try:
        if not task.done():
            check_unchanged(task.plugins)
            if isinstance(task, Stage):
                _train(task, device)
            else:
                _measure(task, device)
    except Interrupted as stop:
        return Outcome("interrupted", str(stop))
    except UserError as error:
        return _failed(error, one_line(error))
    except Exception as error:  # a fault of ours in one cell must not end the others
        if found := too_large(error):
            return Outcome("failed", f"{found.what}; {found.advice}")
        return _failed(error, line_of(error), traceback.format_exc())
    finally:
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    return Outcome("done", seconds=time.perf_counter() - start)


def _train(stage: Stage, device: str) -> None:
    init = stage.recipe.init if stage.before is None else str(stage.before)
    engine = stage.recipe.engine
    if engine.device == "auto":
        engine = replace(engine, device=device)
    recipe = replace(stage.recipe, init=init, engine=engine)
    run = RunDirectory(stage.path)
    if run.recipe_file.is_file() and run.recipe().method() != (moved := resolved(recipe)).method():
        write_atomically(run.recipe_file, dump_recipe(moved))  # same key: only the root of runs or data has moved
    train(recipe, stage.path, monitor=online_measures(recipe, run))


def _measure(task: Evaluation, device: str) -> None:
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if task.network is not None:
        subject = _called(task.network, where)
    else:
        trained_on = RunDirectory(task.stage).recipe().data.options
        subject = subject_of(
            task.stage,
            device=where,
            encoder_options=task.encoder_options,
            data_options={key: value for key, value in task.data_options.items() if trained_on.get(key) != value},
        )
    subject.report = lambda line: print(line, file=sys.stderr, flush=True)
    protocol = load_protocol(task.protocol, task.overrides)
    evaluate(subject, protocol, describe_environment(str(subject.device)), task.path)


def _called(network: Network, device: str) -> Subject:
    """Call the function that returns a network, and make this ready to be measured.

    Raises:
        Interrupted: its source is no longer what the plan was made with.
    """
    if code_of_function(network.function) != network.code:
        raise Interrupted(f"the source of {network.function} changed after the plan was made; start again")
    return foreign_subject(
        network.function,
        network.path,
        network.data.to_dict(),
        device=device,
        seed=network.seed,
        about=network.about,
        mend="the function returns other weights than before by the same code: rename it, or remove the directory",
    )
