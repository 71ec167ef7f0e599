import json
import platform
import shlex
import shutil
from pathlib import Path

import pytest
from small_runs import AKORN, CLASSIFIER, Killed, after_step, assert_same_run, kill, press_ctrl_c, recipe_file, small

from sslkuramoto import data
from sslkuramoto.checkpoint import load, load_encoder, weights_hash
from sslkuramoto.cli import main
from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.recipe import load_recipe
from sslkuramoto.run_directory import MetricsFile, RunDirectory, impersonal
from sslkuramoto.training import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunDirectory:
    """A finished run; tests only read it."""
    return train(small(epochs=1), tmp_path_factory.mktemp("runs") / "run")


def test_a_run_directory_is_complete(finished):
    names = {str(path.relative_to(finished.path)) for path in finished.path.rglob("*") if path.is_file()}
    assert names == {
        ".lock",
        "recipe.yaml",
        "environment.json",
        "data.json",
        "metrics.csv",
        "checkpoints/last.safetensors",
        "encoder.safetensors",
    }
    assert load(finished.last_checkpoint)["step"] == 3


def test_the_recipe_in_it_is_resolved(finished):
    recipe = load_recipe(finished.recipe_file)
    assert recipe.encoder.options["natural_frequency"] == "shared"
    assert recipe.optimizer.options["betas"] == [0.9, 0.999]
    assert {"holdout", "split_seed"} <= set(recipe.data.options)
    assert json.dumps(load(finished.encoder_file())["encoder"]) == json.dumps(recipe.encoder.to_dict())


def test_the_environment_says_what_ran_where(finished):
    (session,) = json.loads(finished.environment_file.read_text())["sessions"]
    assert session["versions"]["torch"]
    assert session["hardware"]
    assert (session["device"], session["processes"]) == ("cpu", 1)


def test_the_same_command_on_a_finished_run_says_so_and_changes_nothing_but_pictures_that_are_missing(
    finished, tmp_path, capsys
):
    run = Path(shutil.copytree(finished.path, tmp_path / "run"))
    (run / "pictures").mkdir()
    (run / "pictures/.phases.npz.1-ab.part").write_bytes(b"killed")
    file = recipe_file(tmp_path / "r.yaml", epochs=1, measure={"log_every": 5})
    command = ["train", file, "--run", str(run), "encoder.num_steps=1"]
    weights = (run / "encoder.safetensors").stat().st_mtime_ns
    assert main(command) == 0
    assert capsys.readouterr().out == f"{run}: was finished already\n"
    assert sorted(path.name for path in (run / "pictures").iterdir()) == ["phases.npz", "views.npz"]
    assert (run / "encoder.safetensors").stat().st_mtime_ns == weights
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert main(command) == 0
    assert main(["train", str(run)]) == 0, "a run directory is a recipe too"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_run_directory_is_continued_by_its_name(tmp_path, capsys):
    file = recipe_file(tmp_path / "r.yaml", epochs=2)
    with after_step(2, press_ctrl_c):
        assert main(["train", file, "--run", str(tmp_path / "run")]) == 130
    assert main(["train", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run'}: finished\n"
    assert main(["train", str(tmp_path / "run"), "--run", str(tmp_path / "other")]) == 2
    assert "is a run directory itself; name its recipe.yaml" in capsys.readouterr().err


def test_a_first_start_that_failed_claims_nothing(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match="loss is nan"):
        train(small(optimizer={"name": "sgd", "lr": 1e30}), run)
    assert train(small(epochs=1), run).finished
    assert RunDirectory(run).recipe().optimizer.name == "adam"


def test_training_longer_is_another_run_and_the_line_says_how(finished):
    with pytest.raises(UserError, match="epochs is 1 there and 2 here; choose another run directory; to train longer"):
        train(small(epochs=2), finished.path)


def test_writing_out_a_default_does_not_make_another_recipe(finished):
    assert train(small(epochs=1, encoder={**AKORN, "oscillator_dim": 2}), finished.path).finished


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epochs": 2}, "epochs is 1 there and 2 here"),
        ({"seed": 3}, "seed is 0 there and 3 here"),
        ({"encoder": {**AKORN, "channels": 6}}, "encoder.channels is 4 there and 6 here"),
        ({"views": "byol"}, "views.name is 'simclr' there and 'byol' here"),
        ({"weight_ema": {}}, "weight_ema is None there and "),
    ],
)
@pytest.mark.parametrize("done", [True, False])
def test_another_recipe_is_refused_by_the_first_difference(
    finished, changes, difference, done, tmp_path, capsys, monkeypatch
):
    run = finished
    if not done:
        run = RunDirectory(tmp_path / "unfinished")
        run.path.mkdir()
        run.recipe_file.write_bytes(finished.recipe_file.read_bytes())
        run.last_checkpoint.parent.mkdir()
        run.last_checkpoint.write_bytes(finished.last_checkpoint.read_bytes())
    monkeypatch.setattr(data.DATA, "build", lambda *_: pytest.fail("data were read"))
    file = recipe_file(tmp_path / "r.yaml", **{"epochs": 1, **changes})
    assert main(["train", file, "--run", str(run.path)]) == 2
    error = capsys.readouterr().err
    assert f"belongs to another recipe: {difference}" in error
    assert error.count("\n") == 1


def test_a_foreign_directory_or_file_is_refused_and_left_alone(tmp_path, capsys):
    file = recipe_file(tmp_path / "r.yaml")
    for name in ("thesis", "note"):
        path = tmp_path / name
        if name == "thesis":
            path.mkdir()
            (path / "chapter").write_text("1")
        else:
            path.write_text("1")
        assert main(["train", file, "--run", str(path)]) == 2
        assert f"{name}: exists and is no run directory" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter"]


def test_what_a_killed_first_write_left_does_not_stand_in_the_way(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    (run.path / ".recipe.yaml.4711.part").write_text("da")
    run.claim(small())
    assert [path.name for path in run.path.iterdir()] == ["recipe.yaml"]


def test_a_damaged_recipe_or_environment_in_it_is_named(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("data: [")
    assert main(["train", recipe_file(tmp_path / "r.yaml"), "--run", str(run)]) == 2
    assert "run/recipe.yaml: no valid YAML" in capsys.readouterr().err
    for text in ("{", "[]", "{}", '{"sessions": 3}'):
        (run / "environment.json").write_text(text)
        with pytest.raises(UserError, match=r"environment\.json: .*damaged"):
            RunDirectory(run).record_session("cpu", 1)


def test_a_truncated_or_foreign_checkpoint_stops_the_same_command(tmp_path, finished, capsys):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "recipe.yaml").write_bytes(finished.recipe_file.read_bytes())
    file = recipe_file(tmp_path / "r.yaml", epochs=1)
    whole = finished.last_checkpoint.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "last.safetensors: truncated, or no checkpoint"),
        (finished.encoder_file().read_bytes(), "kind 'encoder', not 'training'"),
    ):
        (run / "checkpoints" / "last.safetensors").write_bytes(content)
        assert main(["train", file, "--run", str(run)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert (run / "checkpoints" / "last.safetensors").read_bytes() == content


def test_a_place_that_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.replace", read_only)
    assert main(["train", recipe_file(tmp_path / "r.yaml"), "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "run/recipe.yaml: Read-only file system; nothing was written" in error
    assert error.count("\n") == 1


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_metrics_grow_line_by_line_and_a_new_column_rewrites_them(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv", 0)
    file.add({"step": 0, "loss": 1.5})
    assert lines(file.path) == ["step,loss", "0,1.5"]
    file.add({"step": 1, "loss": 1.25, "knn": 0.5})
    file.add({"step": 2, "loss": 1.0})
    assert lines(file.path) == ["step,loss,knn", "0,1.5,", "1,1.25,0.5", "2,1.0,"]


@pytest.mark.parametrize("tail", ["", "4,0.1\n", "4,0", "x,1,2\n", "4,1,2,3,4\n", "\0\xff"])
def test_lines_after_the_checkpoint_and_broken_ones_are_dropped(tmp_path, tail):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,knn\n0,3,\n1,2,0.5\n2,1,\n" + tail, encoding="latin-1")
    MetricsFile(path, 2).add({"step": 2, "loss": 9})
    assert lines(path) == ["step,loss,knn", "0,3,", "1,2,0.5", "2,9,"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_while_logging_is_one_line(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv", 0)
    file.add({"step": 0, "loss": 1})
    file.path = Path("/dev/full")
    with pytest.raises(UserError, match=r"cannot be written: No space left on device; the last checkpoint is kept"):
        file.add({"step": 1, "loss": 1})


def test_two_processes_never_train_in_one_directory(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with run.locked(), pytest.raises(UserError, match="another process is training here"), run.locked():
        pass
    with run.locked():  # free again
        assert run.path.is_dir()


SLASH = "/"  # no file of this repository names a folder of a machine


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("data.root={home}/data/cifar", "data.root=~/data/cifar"),
        ("--init={home}", "--init=~"),
        (f"data.root={SLASH}home/alice/data", "data.root=~/data"),
        (f"data.root={SLASH}Users/alice", "data.root=~"),
        (f"data.root={SLASH}scratch/alice/set", f"data.root={SLASH}scratch/USER/set"),
        ("data.root=/data/homework/home", "data.root=/data/homework/home"),
        ("remote=https://alice:hunter2@example.org/x", "remote=https://example.org/x"),
        ("hub_token=abc", "hub_token=***"),
        ("WANDB_API_KEY=0123456789", "WANDB_API_KEY=***"),
        ("note=hf_abcdefghijklmnopqrst", "note=***"),
        ("note=the-value-of-a-variable", "note=***"),
        ("data={{name: cifar10, token: hunter2}}", "data={{name: cifar10, token: ***}}"),
        ("data={{password: hunter, 2, name: a}}", "data={{password: ***, 2, name: a}}"),
        ("data={{a: {{apiKey: 'hun, ter2'}}, b: 1}}", "data={{a: {{apiKey: ***}}, b: 1}}"),
        ('data={{"token":"hun\\"ter2", "b": 1}}', 'data={{"token":"***", "b": 1}}'),
        ("data={{credentials: {{user: me, key: [a, b]}}, b: 1}}", "data={{credentials: ***, b: 1}}"),
        ("{{password: a=b}}", "{{password: ***}}"),
        ("note=see https://a.example/?token=abc", "note=see https://a.example/?token=***"),
        ("--hub-token=abc", "--hub-token=***"),
        ("PGPASSWORD=a, b", "PGPASSWORD=***"),
        ("auth=me", "auth=***"),
        ("author=me", "author=me"),
        ("authority={{authors: [me]}}", "authority={{authors: [me]}}"),
        ("num_tokens=196", "num_tokens=196"),
        ("tokenizer=word", "tokenizer=word"),
        (
            "encoder.arguments={{class_token: false, token_dim: 8}}",
            "encoder.arguments={{class_token: false, token_dim: 8}}",
        ),
        ("optimizer.lr=1e-3", "optimizer.lr=1e-3"),
        ("encoder.kernel_sizes=[3,3]", "encoder.kernel_sizes=[3,3]"),
    ],
)
def test_what_a_run_keeps_of_its_command_names_no_person_and_no_secret(word, kept, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "bob"))
    monkeypatch.setenv("SOME_TOKEN", "the-value-of-a-variable")
    monkeypatch.setattr("sslkuramoto.run_directory.getuser", lambda: "alice")
    assert impersonal(word.format(home=tmp_path / "bob")) == kept.format()


@pytest.mark.parametrize("indent", [None, 1])
def test_json_whose_secrets_are_masked_is_json_and_keeps_all_else(indent):
    said = {"b": [1, {"c": "author: me, 2"}], "flags": {"class_token": True}, "size": {"in": 3}}
    secrets = {"token": "hunter2", "password": 12345678, "secret": ["hunter2"], "note": "x, token: hunter2", "last": 1}
    text = impersonal(json.dumps({**secrets, **said}, indent=indent))
    read = json.loads(text)
    assert "hunter2" not in text
    assert "12345678" not in text
    assert {key: read[key] for key in said} == said
    assert read["last"] == 1


def test_the_environment_of_a_session_holds_no_host_no_user_and_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "bob"))
    monkeypatch.setenv("HF_TOKEN", "value-of-the-token")
    monkeypatch.setattr("sslkuramoto.run_directory.getuser", lambda: "bob")
    words = ["/opt/venv/bin/sslkuramoto", "train", f"{tmp_path}/bob/a.yaml", "engine.wandb_project=value-of-the-token"]
    monkeypatch.setattr("sys.argv", words)
    RunDirectory(tmp_path / "run").record_session("cpu", 1)
    text = (tmp_path / "run" / "environment.json").read_text()
    assert json.loads(text)["sessions"][0]["command"] == [
        "sslkuramoto",
        "train",
        "~/a.yaml",
        "engine.wandb_project=***",
    ]
    for secret in ("bob", "value-of-the-token", platform.node()):
        assert secret not in text


def begun(path: Path, **engine: object) -> RunDirectory:
    """Return a directory in which a training has begun."""
    run = RunDirectory(path)
    run.claim(small(engine={"device": "cpu", **engine}))
    run.last_checkpoint.parent.mkdir(parents=True)
    run.last_checkpoint.write_bytes(b"")
    return run


def test_every_word_of_the_engine_but_the_precision_may_change_when_a_run_continues(tmp_path):
    run = begun(tmp_path / "run")
    for name, value in {"device": "auto", "compile": True, "workers": 1, "loggers": ["wandb"]}.items():
        run.check(small(engine={name: value}))
    for _ in ("begun", "finished"):
        with pytest.raises(UserError, match=r"engine\.precision is '32' there and '64' here; .* keeps the precision"):
            run.check(small(engine={"precision": "64"}))
        run.encoder_file().write_bytes(b"")


def test_training_longer_is_refused_with_a_command_that_can_be_typed(tmp_path):
    run = begun(tmp_path / "a run")
    with pytest.raises(UserError, match=r"epochs is 2 there and 9 here; .* finish it first: sslkuramoto train '.*'"):
        run.check(small(epochs=9))
    run.encoder_file().write_bytes(b"")
    with pytest.raises(UserError) as caught:
        run.check(small(epochs=9))
    command = str(caught.value).partition("sslkuramoto train ")[2]
    where = tmp_path / "a run"
    assert shlex.split(command) == [f"{where}/recipe.yaml", "--init", f"{where}", "--run", f"{where}-longer"]


def test_a_run_whose_first_start_left_nothing_states_what_the_next_one_does(tmp_path):
    first = small(engine={"device": "cpu", "precision": "bf16"}, measure={"keep_checkpoints": [2]})
    with pytest.raises(Killed), after_step(1, kill):
        train(first, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    assert not run.begun
    with pytest.raises(Interrupted), after_step(3, press_ctrl_c):
        train(small(), run.path)
    assert (run.recipe().engine.precision, run.recipe().measure.keep_checkpoints) == ("32", ())
    assert train(small(), run.path).finished
    with pytest.raises(UserError, match=r"engine\.precision is '32' there and '64' here"):
        train(small(engine={"device": "cpu", "precision": "64"}), run.path)


def test_a_run_does_not_continue_nor_count_as_finished_where_the_weights_it_began_from_were_replaced(tmp_path):
    start, other = (train(small(epochs=1, seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    recipe = small(epochs=1, init=str(start.path))
    with pytest.raises(Interrupted), after_step(0, press_ctrl_c):
        train(recipe, tmp_path / "run")
    kept = start.encoder_file().read_bytes()
    for _ in ("stopped", "finished"):
        start.encoder_file().write_bytes(other.encoder_file().read_bytes())
        with pytest.raises(UserError, match=r"run: began from other weights than init=.*0 holds now; choose another"):
            train(recipe, tmp_path / "run")
        start.encoder_file().write_bytes(kept)
        assert train(recipe, tmp_path / "run").finished


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_that_has_a_checkpoint_continues_without_the_run_it_began_from(frozen, tmp_path):
    start = train(small(epochs=1), tmp_path / "start")
    changes = {**CLASSIFIER, "objective": {"name": "classification", "freeze": True}} if frozen else {}
    recipe = small(init=str(start.path), **changes)
    whole = train(recipe, tmp_path / "whole")
    for name in ("run", "new"):
        with pytest.raises(Interrupted), after_step(1, press_ctrl_c):
            train(recipe, tmp_path / name)
    start.path.rename(tmp_path / "elsewhere")
    assert main(["train", str(tmp_path / "run"), "--check"]) == 0
    assert_same_run(train(recipe, tmp_path / "run").path, whole.path)
    RunDirectory(tmp_path / "new").last_checkpoint.unlink()
    with pytest.raises(UserError, match="no finished run"):  # nothing else has its weights
        train(recipe, tmp_path / "new")


def test_a_run_that_did_not_record_the_weights_it_began_from_never_names_others(tmp_path):
    start, other = (train(small(epochs=1, seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    recipe, run = small(epochs=1, init=str(start.path)), RunDirectory(tmp_path / "run")
    with pytest.raises(Interrupted), after_step(0, press_ctrl_c):
        train(recipe, run.path)
    assert run.start() == weights_hash(load_encoder(start.encoder_file()))
    sessions = json.loads(run.environment_file.read_text())
    del sessions["sessions"][0]["start"]  # as a run of an older version
    run.environment_file.write_text(json.dumps(sessions))
    start.encoder_file().write_bytes(other.encoder_file().read_bytes())
    assert train(recipe, run.path).finished
    assert run.start() is None
