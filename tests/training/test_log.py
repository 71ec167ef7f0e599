import socket

import pytest
from small_runs import after_step, metrics, press_ctrl_c, small

from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.evaluation import evaluate, load_protocols, subject_of
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import log as log_module
from sslkuramoto.training import train
from sslkuramoto.training.log import log_result


def test_lines_on_something_else_than_a_terminal_say_rate_and_time_left(tmp_path, capsys):
    train(small(epochs=1), tmp_path / "run")
    captured = capsys.readouterr()
    assert captured.out == ""
    first, last = captured.err.splitlines()
    assert first.startswith("run: step 1/3  epoch 1  loss ")
    assert last.startswith("run: step 3/3  epoch 1  loss ")
    assert first.endswith("s left")
    assert " examples/s  " in first


def test_metrics_have_the_columns_of_the_report(tmp_path):
    rows = metrics(train(small(epochs=1), tmp_path / "run").path, timing=True)
    names = {"step", "epoch", "loss", "grad_norm", "lr", "images_per_second", "alignment", "feature_std"}
    assert names <= set(rows[0])
    assert [bool(row["feature_std"] and row["effective_rank"]) for row in rows] == [False, False, True]
    assert all(float(row["images_per_second"]) > 0 for row in rows)


def test_a_logger_that_is_not_installed_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"engine\.loggers: tensorboard is not installed; pip install"):
        train(small(engine={"loggers": ["tensorboard"]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_every_number_and_a_resumed_run_continues(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = small(engine={"device": "cpu", "loggers": ["tensorboard"]})
    with pytest.raises(Interrupted), after_step(3, press_ctrl_c):
        train(recipe, tmp_path / "run")
    train(recipe, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    found = {scalar.step: scalar.value for scalar in events.Scalars("loss")}
    wanted = {int(row["step"]): float(row["loss"]) for row in metrics(tmp_path / "run")}
    assert found == pytest.approx(wanted, rel=1e-6)
    assert [scalar.step for scalar in events.Scalars("feature_std")] == [2, 5]


def evaluated(path, *loggers):
    recipe = small(epochs=1, engine={"device": "cpu", "loggers": list(loggers)})
    run = train(recipe, path)
    (protocol,) = load_protocols(["rank"], ["draws=20"])
    return run, evaluate(subject_of(run.path), protocol, {})


def test_tensorboard_gets_the_numbers_of_an_evaluation(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, (result, _) = evaluated(tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    (scalar,) = events.Scalars("evaluation/rank/rankme")
    assert scalar.value == pytest.approx(result.metrics["rankme"].value, rel=1e-6)
    assert len(events.Scalars("loss")) == 3, "the curves of the training stay"


def test_a_logger_that_fails_costs_an_evaluation_one_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard")

    def broken(*_):
        raise ConnectionError("no network")

    run = train(small(epochs=1), tmp_path / "run")
    recipe = small(epochs=1, engine={"device": "cpu", "loggers": ["tensorboard"]})
    monkeypatch.setattr(log_module._TensorBoard, "write", broken)
    capsys.readouterr()
    log_result(run, recipe, "knn", {"accuracy": 0.5})
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the result is not sent to tensorboard" in error
    assert "no network" in error


@pytest.mark.parametrize("logged", [False, True])
def test_wandb_gets_an_evaluation_only_where_it_got_the_training(tmp_path, monkeypatch, capsys, logged):
    sent = []

    class Sink:
        def __init__(self, *_):
            pass

        def write(self, metrics, step):
            sent.append(metrics)

        def close(self):
            pass

    monkeypatch.setattr(log_module, "find_spec", lambda name: name)
    monkeypatch.setattr(log_module, "_WandB", Sink)
    run = RunDirectory(tmp_path / "run")
    recipe = small(epochs=1, engine={"device": "cpu", "loggers": ["wandb"]})
    if logged:
        log_module._wandb_id(run.path)
    log_result(run, recipe, "knn", {"accuracy": 0.5})
    error = capsys.readouterr().err
    assert sent == ([{"evaluation/knn/accuracy": 0.5}] if logged else [])
    assert ("the result is not sent to wandb: the run was not logged to it" in error) == (not logged)
    assert (run.path / "wandb").exists() == logged


def test_wandb_writes_into_the_run_directory_without_account_or_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    resolve = socket.getaddrinfo

    def local_only(host, *arguments, **options):
        assert host in ("localhost", "127.0.0.1", "::1"), f"it looks for {host}"
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    train(small(epochs=1, engine={"device": "cpu", "loggers": ["wandb"]}), tmp_path / "run")
    (offline,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert list(offline.glob("run-*.wandb"))
    assert len(metrics(tmp_path / "run")) == 3, "metrics.csv always"


@pytest.mark.parametrize(
    ("engine", "mode", "line"),
    [
        ({"loggers": ["wandb"], "wandb_project": "a/b c?"}, None, r"engine\.wandb_project='a/b c\?': at most 128"),
        ({"loggers": ["wandb"], "wandb_project": "a" * 129}, None, r"engine\.wandb_project='a+': at most 128"),
        ({"loggers": ["wandb"]}, "nonsense", "WANDB_MODE='nonsense': must be online, offline"),
        ({"loggers": ["tensorboard", "tensorboard"]}, None, r"engine\.loggers: names tensorboard twice"),
    ],
)
def test_a_setting_that_a_logger_does_not_take_is_one_line_before_anything_is_written(
    engine, mode, line, tmp_path, monkeypatch
):
    pytest.importorskip("wandb")
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(UserError, match=line):
        train(small(engine={"device": "cpu", **engine}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_logger_that_cannot_begin_is_one_line_and_the_run_can_begin_without_it(tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(Interrupted), after_step(1, press_ctrl_c):
        train(small(), tmp_path / "run")
    (tmp_path / "run" / "tensorboard").write_text("a file")
    with pytest.raises(UserError, match=r"engine\.loggers: tensorboard: FileExistsError"):
        train(small(engine={"device": "cpu", "loggers": ["tensorboard"]}), tmp_path / "run")
    assert train(small(), tmp_path / "run").finished


@pytest.mark.parametrize("kept", ["", "a/b c:#", "\0", "0123456789abcdef", "abc12345"])
def test_a_damaged_id_of_wandb_is_made_anew_and_told(kept, tmp_path, capsys):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "id.txt").write_text(kept)
    found = log_module._wandb_id(tmp_path)
    told = capsys.readouterr().err
    assert (found == kept) == (kept in ("0123456789abcdef", "abc12345"))
    assert bool(found == kept) == (told == "")
    assert found == kept or len(found) == 16
    assert log_module._wandb_id(tmp_path) == found
