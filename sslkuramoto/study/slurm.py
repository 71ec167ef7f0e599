"""Studies on a cluster: submitit sends one job for each chain (row, seed), and one for each training run they share.

SLURM starts a chain when the runs that it shares are ended, so that none waits for another on a GPU of its own.

The job loads the study file again, so the nodes must be able to read it, as they must the root of the studies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.study.options import settings_from
from sslkuramoto.study.parse import load_study
from sslkuramoto.study.plan import Plan, plan_study
from sslkuramoto.study.run import run_plan

_TIMEOUTS = 100  # how often a job whose time was over goes back into the queue; submitit's own default is 3
_REFUSALS = (ValueError, NameError, TypeError, RuntimeError, OSError, AssertionError)  # as submitit words them
_TASKS = ("nodes", "ntasks", "tasks_per_node", "ntasks_per_node", "ntasks_per_gpu", "ntasks_per_socket")
_DAY = 1440  # minutes; submitit gives processes of this machine 2
# parameters that submitit takes for any cluster; all others are SLURM's own
_COMMON = (
    "name",
    "timeout_min",
    "mem_gb",
    "nodes",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "stderr_to_stdout",
)


@dataclass(frozen=True)
class Chain:
    """The job of one row and seed: callable, and put back into the queue when its time is over."""

    study: str
    overrides: tuple[str, ...]
    root: str
    row: str
    seed: int
    device: str
    retry: bool
    any_code: bool
    columns: tuple[str, ...] | None = None
    only: str | None = None  # key of the training run that others share: this and what it needs, no more

    def __call__(self) -> str:
        """Do what is missing of the chain; return how it ended.

        Raises:
            UserError: whatever is wrong with the study now; its training run is no longer part of the plan.
        """
        study = load_study(self.study, self.overrides)
        here = {"rows": [self.row], "seeds": [self.seed], "columns": self.columns}
        plan = plan_study(study, Path(self.root), any_code=self.any_code, **here)
        if self.only is not None:
            if self.only not in plan.tasks:
                raise UserError("the study, its data or the code changed after the jobs were submitted; submit again")
            plan = plan.up_to(self.only)
        try:
            failed = run_plan(plan, jobs=0, device=self.device, retry=self.retry)
        except Interrupted as stop:
            return f"interrupted: {stop}"
        return f"{failed} failed" if failed else "done"

    def checkpoint(self) -> Any:
        """Continue in a new job: what is finished is not repeated, and a training continues from its checkpoint."""
        import submitit  # pyright: ignore[reportMissingImports]

        return submitit.helpers.DelayedSubmission(self)


def submit(
    plan: Plan,
    parameters: Sequence[str],
    *,
    overrides: Sequence[str] = (),
    device: str = "auto",
    retry: bool = False,
) -> list[Any]:
    """Submit one job for each chain of which something is missing, and before them one for each run that they share.

    Jobs that wait for the same ones are one array.

    Args:
        plan: of the whole study.
        parameters: ``KEY=VALUE`` of submitit or SLURM, such as partition=gpu timeout_min=600 gpus_per_node=1;
            ``cluster=local`` runs the jobs as processes of this machine, all at once.
        overrides: that the study was loaded with.
        device: as :func:`run_plan`.
        retry: as :func:`run_plan`.

    Returns:
        submitit's jobs.

    Raises:
        UserError: submitit is not installed, or refuses a parameter; more than one process a job; data that are not
            there.
    """
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("--slurm needs submitit: pip install 'sslkuramoto[slurm]'") from None
    settings = {"cluster": "slurm", **settings_from(parameters)}
    if settings["cluster"] == "local":
        settings = {"timeout_min": _DAY, **settings}
    elif settings["cluster"] == "slurm" and not settings.keys() & {"timeout_min", "time", "slurm_time"}:
        raise UserError("--slurm: needs timeout_min=MINUTES of a job; without it submitit asks for 5")
    more = settings.get("slurm_additional_parameters", settings.get("additional_parameters"))
    for key, value in {**settings, **(more if isinstance(more, dict) else {})}.items():
        name = key.removeprefix("slurm_").removeprefix("local_").replace("-", "_")
        if name in _TASKS and (value != 1 or name.endswith(("_per_gpu", "_per_socket"))):
            raise UserError(f"--slurm {key}={value}: each job of a study is one process on one node; leave it out")
    try:
        # without a cluster's name submitit would start processes here, all at once, where there is no SLURM
        executor = submitit.AutoExecutor(
            folder=plan.root / "slurm" / "%j",
            cluster=settings.pop("cluster"),
            slurm_max_num_timeout=_TIMEOUTS,
        )
        known = {key: key in _COMMON or key.startswith(("slurm_", "local_")) for key in settings}
        named = {key if known[key] else f"slurm_{key}": value for key, value in settings.items()}
        if executor.cluster == "slurm":  # a job whose node is lost begins again, whatever the cluster does by itself
            given = named.get("slurm_additional_parameters", {})
            if isinstance(given, dict):  # submitit says what is wrong with anything else
                named["slurm_additional_parameters"] = {"requeue": True, **given}
        executor.update_parameters(**{"name": plan.study.name, **named})
    except _REFUSALS as error:
        raise _refused(parameters, error) from None
    todo = {task.key for task in plan.possible(retry)}
    if plan.problems and not todo:
        raise UserError(plan.problems[0])
    common = Chain(
        study=str(plan.study.path.resolve()),
        overrides=tuple(overrides),
        root=str(plan.root.resolve()),
        row="",
        seed=0,
        device=device,
        retry=retry,
        any_code=plan.any_code,
        columns=plan.columns,
    )
    chains: dict[tuple[str, int], set[str]] = {}  # -> its tasks that are missing
    for (row, seed), stages in plan.chains.items():
        cells = [key for (name, _, number), key in plan.cells.items() if (name, number) == (row, seed)]
        if found := todo & plan.with_needs([*stages, *cells]):
            chains[row, seed] = found
    shared = {} if executor.cluster in ("local", "debug") else _shared(plan, chains)
    jobs: dict[str, Any] = {}
    try:
        # in the order of the plan: each run after those that it needs
        for key, (row, seed) in shared.items():
            _wait_for(executor, settings, [jobs[each] for each in jobs if each in plan.with_needs([key])])
            jobs[key] = executor.submit(replace(common, row=row, seed=seed, only=key))
        groups: dict[tuple[str, ...], list[Chain]] = {}
        for (row, seed), tasks in chains.items():
            groups.setdefault(tuple(key for key in shared if key in tasks), []).append(
                replace(common, row=row, seed=seed)
            )
        sent = list(jobs.values())
        for needed, group in groups.items():
            _wait_for(executor, settings, [jobs[key] for key in needed])
            with executor.batch():
                sent += [executor.submit(chain) for chain in group]
    except _REFUSALS as error:  # such as sbatch, of a partition that is not there
        raise _refused(parameters, error) from None
    return sent


def _shared(plan: Plan, chains: Mapping[tuple[str, int], set[str]]) -> dict[str, tuple[str, int]]:
    """Return the missing training runs that several chains need, in order, with the first chain that can make each."""
    found = {}
    for stage in plan.stages:
        needing = [at for at, tasks in chains.items() if stage.key in tasks]
        own = [at for at in needing if stage.key in plan.chains[at]]
        if len(needing) > 1:
            found[stage.key] = (own or needing)[0]
    return found


def _wait_for(executor: Any, settings: Mapping[str, Any], jobs: Sequence[Any]) -> None:
    """Let the jobs that are submitted next begin when these are ended, however: what failed is in the table."""
    given = settings.get("dependency", settings.get("slurm_dependency"))
    after = f"afterany:{':'.join(job.job_id for job in jobs)}" if jobs else None
    if jobs or given:
        executor.update_parameters(slurm_dependency=",".join(str(part) for part in (given, after) if part))
    elif executor.cluster == "slurm":
        executor.update_parameters(slurm_dependency=None)


def _refused(parameters: Sequence[str], error: Exception) -> UserError:
    return UserError(f"--slurm {' '.join(parameters)}: {' '.join(str(error).split())}")


def wait_for(jobs: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """Yield jobs of this machine with how they ended, one line each; a caller who stops waiting stops them too."""
    from submitit.core.utils import UncompletedJobError  # pyright: ignore[reportMissingImports]

    try:
        for job in jobs:
            try:
                ending = str(job.result())
            except UncompletedJobError as error:
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                ending = f"failed: {lines[-1] if lines else type(error).__name__}; {job.paths.stderr} has more"
            yield job, ending
    except BaseException:  # processes of this machine must not outlive the command
        for job in jobs:
            job.cancel()
        raise
