"""A study as jobs of a cluster: the same table, shared pretraining, time that is over, parameters by SLURM's names."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from small_runs import Killed, after_step, kill

from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.clean import Clean
from sslkuramoto.study import collect, plan_study, run_plan
from sslkuramoto.study.slurm import Chain, submit, wait_for

submitit = pytest.importorskip("submitit")

TRANSFER = {
    "protocol": "robustness",
    "metric": "robust_accuracy",
    "rows": ["steps"],
    "set": {
        "eps": 0.1,
        "images": 4,
        "chunk": 4,
        "attacks": [{"name": "transfer", "run": "${run:simclr}", "iterations": 2}],
    },
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch) -> Path:
    """A machine with SLURM's commands, which keep what they are given and run nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in {"srun": "", "sbatch": f'cp "$1" {tmp_path}/sent.sh; echo Submitted batch job 77'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "sent.sh"


def chain(loaded, root: Path, row: str, **changes) -> Chain:
    options = {"overrides": (), "seed": 0, "device": "cpu", "retry": False, "any_code": False, **changes}
    return Chain(study=str(loaded.path), root=str(root), row=row, **options)


def test_a_job_that_is_put_back_continues(computed, tmp_path: Path):
    loaded, whole, table = computed
    root = tmp_path / "root"
    plan = plan_study(loaded, root, rows=["simclr"])
    jobs = submit(plan, ["cluster=local"], device="cpu")
    assert len(jobs) == 1
    task = wait_until(lambda: working(root, jobs[0]))
    os.kill(task, signal.SIGUSR2)  # SLURM's word for: your time is over
    assert [ending for _, ending in wait_for(jobs)] == ["done"]
    assert "Requeued job" in jobs[0].stdout()
    assert plan.missing() == []
    found = collect(loaded, root)
    for column in ("clean", "vote", "knn"):
        assert found.cells["simclr", column].mean == table.cells["simclr", column].mean
    for file in root.glob("runs/*/*.safetensors"):
        assert file.read_bytes() == (whole / file.relative_to(root)).read_bytes(), "exact"
    sessions = [len(json.loads(file.read_text())["sessions"]) for file in root.glob("runs/*/environment.json")]
    assert 2 <= sum(sessions) <= 3, "the only run begun twice is the one that was interrupted"


def working(root: Path, job) -> int | None:
    """Return the process of a job once it has begun."""
    if not list(root.glob("runs/*/recipe.yaml")):
        return None
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "environ").read_text().split("\0")
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if f"SUBMITIT_LOCAL_JOB_ID={job.job_id}" in words and "submitit.core._submit" in command:
            return int(folder.name)
    return None


def wait_until(answer):
    end = time.monotonic() + 300  # seconds, on a machine that others use too
    while (found := answer()) is None:
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
    return found


def test_a_job_whose_time_is_over_continues_where_it_was(computed, tmp_path: Path, monkeypatch):
    loaded, _, table = computed
    first = chain(loaded, tmp_path / "root", "simclr")
    original, calls = Clean.__call__, []

    def measure(protocol, subject):
        calls.append(subject)
        if len(calls) == 1:
            raise Killed  # as the signal does, after two trainings
        return original(protocol, subject)

    monkeypatch.setattr(Clean, "__call__", measure)
    with pytest.raises(Killed):
        first()
    again = first.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    with after_step(0, lambda: pytest.fail("trained again")):
        assert again.result() == "done"
    found = collect(loaded, tmp_path / "root")
    assert found.cells["simclr", "clean"].mean == table.cells["simclr", "clean"].mean
    assert found.cells["steps", "clean"].missing == [0], "the job of another row"


def test_a_row_that_needs_the_run_of_another_makes_it_in_its_own_job(study, tmp_path: Path):
    loaded, root = study(columns__transfer=TRANSFER), tmp_path / "root"
    with after_step(0, kill), pytest.raises(Killed):
        chain(loaded, root, "steps")()
    assert chain(loaded, root, "steps").checkpoint().result() == "done"
    plan = plan_study(loaded, root)
    assert [task.label for task in plan.missing()] == ["simclr, seed 0: clean"]
    assert collect(loaded, root).cells["steps", "transfer"].mean is not None


def test_a_job_says_what_failed(study, tmp_path: Path):
    gone = {"data": {"name": "cifar10", "root": str(tmp_path / "nowhere")}}
    loaded = study(
        rows__simclr__train=[{"recipe": "digits-akorn-supervised", "set": gone}],
        rows__simclr__published__knn=None,
        columns__knn=None,
        compare=None,
    )
    root = tmp_path / "root"
    with pytest.raises(UserError, match="nowhere"):
        chain(loaded, root, "simclr")()
    words = ["study", str(loaded.path), "--root", str(root), "--device", "cpu", "--slurm", "cluster=debug"]
    assert main(words) == 2


SEVERAL = """
ROOT=%s
n=$(ls $ROOT | grep -c '^sent-')
cp "$1" $ROOT/sent-$n.sh; echo Submitted batch job $((70 + n))
"""


@pytest.fixture
def sent(cluster: Path, tmp_path: Path):
    """Return what each call of sbatch was given."""
    (tmp_path / "bin" / "sbatch").write_text(f"#!/bin/sh\n{SEVERAL % tmp_path}")

    def lines() -> list[list[str]]:
        files = sorted(tmp_path.glob("sent-*.sh"))
        return [[line for line in file.read_text().splitlines() if line.startswith("#SBATCH")] for file in files]

    return lines


def test_parameters_reach_slurm_under_its_own_names_and_jobs_are_one_array(study, tmp_path: Path, sent):
    loaded = study(seeds=[0, 1], rows__steps__train=[{"recipe": "digits-akorn-supervised"}] * 2)
    plan = plan_study(loaded, tmp_path / "root")
    words = ["partition=gpu", "account=oist", "gpus_per_node=1", "cpus_per_task=8", "timeout_min=90"]
    jobs = submit(plan, [*words, "array_parallelism=3", "slurm_qos=low", "mem_gb=16"])
    (lines,) = sent()
    for line in ("partition=gpu", "account=oist", "gpus-per-node=1", "cpus-per-task=8", "time=90", "qos=low"):
        assert f"#SBATCH --{line}" in lines
    for line in ("array=0-3%3", "mem=16GB", "job-name=tiny", "open-mode=append", "requeue"):
        assert f"#SBATCH --{line}" in lines
    assert not any("dependency" in line for line in lines)
    assert [job.job_id for job in jobs] == ["70_0", "70_1", "70_2", "70_3"]
    sent_chains = [job.submission().function for job in jobs]
    assert [(each.row, each.seed) for each in sent_chains] == [("simclr", 0), ("steps", 0), ("simclr", 1), ("steps", 1)]
    assert {each.root for each in sent_chains} == {str(tmp_path / "root")}
    assert jobs[0].submission()._timeout_countdown > 50, "three times, as submitit has it, are over in a day"


def test_a_shared_pretraining_is_a_job_of_its_own_and_the_rows_begin_when_it_is_ended(study, tmp_path: Path, sent):
    plan = plan_study(study(seeds=[0, 1]), tmp_path / "root")
    jobs = submit(plan, ["timeout_min=90", "dependency=singleton"])
    waits = [[line.partition("dependency=")[2] for line in lines if "dependency" in line] for lines in sent()]
    assert waits == [["singleton"], ["singleton"], ["singleton,afterany:70"], ["singleton,afterany:71"]]
    chains = [job.submission().function for job in jobs]
    pretrainings = [plan.chains["simclr", seed][0] for seed in (0, 1)]
    assert [(each.row, each.seed, each.only) for each in chains] == [
        ("simclr", 0, pretrainings[0]),
        ("simclr", 1, pretrainings[1]),
        ("simclr", 0, None),
        ("steps", 0, None),
        ("simclr", 1, None),
        ("steps", 1, None),
    ]


def test_a_job_of_a_shared_run_makes_this_run_and_nothing_else(study, tmp_path: Path):
    loaded, root = study(), tmp_path / "root"
    first = plan_study(loaded, root).chains["simclr", 0][0]
    assert chain(loaded, root, "simclr", only=first)() == "done"
    assert [task.key for task in plan_study(loaded, root).tasks.values() if task.done()] == [first]


def test_a_job_measures_the_chosen_columns_alone(computed, tmp_path: Path, sent):
    root = shutil.copytree(computed[1], tmp_path / "root")
    for result in root.glob("runs/*/results/*.json"):
        result.unlink()
    (first, *_) = submit(plan_study(computed[0], root, columns=["clean"]), ["timeout_min=90"])
    assert first.submission().function() == "done"
    found = collect(computed[0], root)
    assert found.cells["simclr", "clean"].mean == computed[2].cells["simclr", "clean"].mean
    assert found.cells["simclr", "knn"].missing == [0]


def test_a_pretraining_that_is_there_is_no_job(computed, tmp_path: Path, sent):
    root = shutil.copytree(computed[1], tmp_path / "root")
    for result in root.glob("runs/*/results/clean-*.json"):
        result.unlink()
    jobs = submit(plan_study(computed[0], root), ["timeout_min=90"])
    assert [job.submission().function.only for job in jobs] == [None, None]
    assert len(sent()) == 1


def test_the_command_submits_does_not_wait_and_says_how_to_see_what_is_there(study, tmp_path: Path, sent, capsys):
    words = [str(study().path), "epochs=2", "--root", str(tmp_path / "root")]
    assert main(["study", *words, "--slurm", "partition=gpu", "timeout_min=90"]) == 0
    said = f"3 jobs submitted; to print the results so far: sslkuramoto report {' '.join(words)}\n"
    assert capsys.readouterr().err.endswith(said)
    assert len(sent()) == 2
    pickled = next((tmp_path / "root" / "slurm").rglob("*submitted.pkl"))
    assert submitit.core.utils.DelayedSubmission.load(pickled).function.overrides == ("epochs=2",)


def test_what_is_done_is_no_job(computed, tmp_path: Path, cluster: Path):
    assert submit(plan_study(computed[0], computed[1]), ["timeout_min=90"]) == []
    assert not cluster.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["partition=gpu"], "--slurm: needs timeout_min=MINUTES"),
        (["timeout_min=90", "particion=gpu"], "particion"),
        (["timeout_min"], "'timeout_min': changes are written key=value"),
        (["timeout_min=90", "cluster=moon"], "--slurm timeout_min=90 cluster=moon: "),
        (["timeout_min=long"], "--slurm timeout_min=long: "),
        (["timeout_min=90", "cpus_per_task=many"], "cpus_per_task=many: "),
        (["timeout_min=90", "tasks_per_node=2"], "--slurm tasks_per_node=2: each job of a study is one process"),
        (["timeout_min=90", "slurm_nodes=2"], "--slurm slurm_nodes=2: each job of a study is one process"),
        (["cluster=local", "ntasks_per_node=2"], "--slurm ntasks_per_node=2: each job of a study is one process"),
        (["timeout_min=90", "slurm_additional_parameters={ntasks: 4}"], "--slurm ntasks=4: each job of a study"),
    ],
)
def test_parameters_that_cannot_be_are_one_line(study, tmp_path: Path, cluster: Path, words, message: str):
    with pytest.raises(UserError) as caught:
        submit(plan_study(study(), tmp_path / "root"), words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not cluster.exists()


def test_what_sbatch_refuses_is_one_line(study, tmp_path: Path, cluster: Path, capsys):
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho invalid partition specified: gpuu >&2; exit 1\n")
    words = ["study", str(study().path), "--root", str(tmp_path / "root"), "--slurm", "partition=gpuu", "timeout_min=9"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "invalid partition specified: gpuu" in error.splitlines()[-1]
    assert "Traceback" not in error


def test_without_slurm_nothing_starts_by_itself_on_this_machine(study, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match='Could not detect "srun"'):
        submit(plan_study(study(), tmp_path / "root"), ["timeout_min=90"])


def test_a_job_that_dies_is_one_line_and_the_others_are_told_too():
    class Job:
        job_id = "7"
        cancelled = False

        def __init__(self, result):
            self.result = result
            self.paths = submitit.core.utils.JobPaths("logs", "7")

        def cancel(self):
            self.cancelled = True

    def died():
        raise submitit.core.utils.FailedJobError("Job failed with error:\n  File x\nMemoryError: no\n")

    endings = [ending for _, ending in wait_for([Job(died), Job(lambda: "done")])]
    assert endings[0].startswith("failed: MemoryError: no; ")
    assert endings[1] == "done"

    def stopped():
        raise KeyboardInterrupt

    jobs = [Job(stopped), Job(lambda: "done")]
    with pytest.raises(KeyboardInterrupt):
        list(wait_for(jobs))
    assert all(job.cancelled for job in jobs)


def test_a_job_whose_training_run_is_no_longer_planned_says_so(computed):
    loaded, root, _ = computed
    with pytest.raises(UserError, match="the code changed after the jobs were submitted; submit again"):
        chain(loaded, root, "simclr", only="digits-akorn-simclr-of-earlier-code")()


def test_a_job_of_a_plan_that_is_done_does_nothing(computed):
    loaded, root, _ = computed
    assert chain(loaded, root, "simclr")() == "done"
    assert run_plan(plan_study(loaded, root), jobs=0) == 0
