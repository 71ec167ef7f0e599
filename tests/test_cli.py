"""The command: exit codes, one clear line for what the user can mend, and nothing written then."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_runs import CLASSIFIER, after_step, press_ctrl_c, recipe_file, small

from sslkuramoto.cli import main
from sslkuramoto.data import DATA
from sslkuramoto.training import train


@pytest.fixture
def recipe(tmp_path) -> str:
    return recipe_file(tmp_path / "recipe.yaml")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished pretraining run."""
    data = {"name": "digits", "limit": 48, "limit_test": 30}
    return train(small(epochs=1, data=data), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture
def fails(tmp_path, capsys, monkeypatch):
    """Assert that a command fails with one line and leaves no file; return the line."""
    monkeypatch.chdir(tmp_path)

    def check(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert main(list(arguments)) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("sslkuramoto: ")
        assert captured.err.count("\n") == 1, captured.err
        assert sorted(tmp_path.rglob("*")) == before
        return captured.err

    return check


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["epocs=3"], "unknown key 'epocs': did you mean 'epochs'?"),
        (["encoder.chanels=8"], "unknown key of encoder akorn 'chanels': did you mean 'channels'?"),
        (["objective.temprature=1"], "unknown key of objective simclr 'temprature': did you mean 'temperature'?"),
        (["epochs=many"], "epochs='many': "),
        (["encoder.channels=big"], "encoder.channels='big': "),
        (["optimizer.lr='1e-3'"], "optimizer.lr='1e-3': must be a number; it was read as text"),
        (["encoder.channels=5"], "channels=5: must be divisible by oscillator_dim=2"),
        (["encoder.kernel_sizes=[4,3]"], "kernel_sizes=[4, 3]: entry 1 must be odd"),
        (["encoder.num_steps=[1,1,1]"], "num_steps=[1, 1, 1]: has 3 entries for 2 layers; give one value"),
        (["encoder.kernel_sizes=[3,x]"], "encoder.kernel_sizes=[3, 'x']: entry 2: must be a whole number"),
        (["encoder.kernel_sizes=3"], "encoder.kernel_sizes=3: must be a list"),
        (["encoder.channels=1000000000000"], "encoder akorn: out of memory; smaller images, batches or networks"),
        (["optimizer.betas=[0.9]"], "optimizer.betas=[0.9]: lacks entry 2"),
        (["optimizer.betas=[0.9,0.9,0.9]"], "has 3 entries, must have 2"),
        (["optimizer.lr=1e400"], "lr=inf: must be finite and > 0"),
        (["epochs=${nope}"], "epochs=${nope}: no YAML: Interpolation key 'nope' not found\n"),
        (["epochs=" + 500 * "["], "epochs: nested too deeply"),
        (['init="a\\0b"'], "init='a\\x00b': holds a null character"),
        (["encoder.num_steps=0"], "num_steps=0: must be >= 1"),
        (["objective.temperature=0"], "temperature=0: must be > 0"),
        (["objective.temperature=-0.5"], "temperature=-0.5: must be > 0"),
        (["epochs=0"], "epochs=0: must be >= 1"),
        (["optimizer.lr=-1"], "lr=-1: must be > 0"),
        (["encoder=akorm"], "unknown encoder 'akorm': did you mean 'akorn'?"),
        (["objective=simcrl"], "unknown objective 'simcrl': did you mean 'simclr'?"),
        (["views=simclear"], "unknown views 'simclear': did you mean 'simclr'?"),
        (["optimizer={name: adan, lr: 1}"], "unknown optimizer 'adan': did you mean 'adam'?"),
        (["schedule=cosin"], "unknown schedule 'cosin'"),
        (["data=digit"], "unknown data 'digit': did you mean 'digits'?"),
        (["data.sise=8"], "unknown key of data digits 'sise': did you mean 'size'?"),
        (["objective=phinet"], "objective phinet needs the views a, b, clean; the policy gives a, b"),
        (["views=plain"], "objective simclr needs the views a, b; the policy gives a"),
        (["batch_size=15", "accumulate=2"], "accumulate=2: must divide batch_size=15"),
        (["engine.device=tpu"], "engine.device='tpu': allowed: auto, cpu, cuda"),
        (["engine.device=cuda:99"], "engine.device='cuda:99': this machine has"),
        (["init=nowhere"], "nowhere': no finished run"),
    ],
)
def test_a_bad_recipe_is_one_line_before_data_are_read(recipe, fails, items, message, monkeypatch):
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    assert message in fails("train", recipe, "--run", "run", *items)
    assert message in fails("train", recipe, "--check", *items)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["batch_size=64"], "batch_size=64 is larger than the training set (48 images); write batch_size=48 or less"),
        (["data.limit=0"], "limit=0: must be >= 1"),
        (["data={name: image_folder, root: nowhere}"], "root=nowhere: no such file or folder"),
        (["data={name: image_folder, root: empty}"], "root=empty: holds no images"),
        (["data={name: image_folder, root: broken}"], "broken/train/cat/torn.png"),
        (
            # the images are nearly equal, as are their features
            ["data={name: image_folder, root: broken, device_resident: false}", "measure.stop_on_collapse=0"],
            "broken/train/cat/torn.png",
        ),
        (
            [
                "data={name: image_folder, root: loose, labels: false, size: 8}",
                "batch_size=2",
                "views=plain",
                "objective={name: classification}",
            ],
            "needs labels",
        ),
    ],
)
def test_bad_data_are_one_line(recipe, fails, items, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for folder in ("broken/train/cat", "loose"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / folder / f"{number:02}.png")
    torn = (tmp_path / "broken/train/cat/07.png").read_bytes()
    (tmp_path / "broken/train/cat/torn.png").write_bytes(torn[: len(torn) // 2])
    if "device_resident: false" in items[0]:
        # found while it streams, after the run has begun
        assert main(["train", recipe, "--run", "run", "engine.workers=0", *items]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert message in error
        assert error.startswith("sslkuramoto: ")
    else:
        assert message in fails("train", recipe, "--run", "run", *items)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "the following arguments are required: recipe (see"),
        (["train", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["train", ""], "unknown recipe ''"),
        (["train", "\udcff.yaml"], "'\\udcff.yaml': is no UTF-8; rename the file or folder"),
        (["train", "\x1b[31mred"], r"unknown recipe '\x1b[31mred'"),
        (["evaluate", "\x1b[31mred", "knn"], "sslkuramoto: ?[31mred: no run directory"),
        (["train", "digits-akron"], "unknown recipe 'digits-akron'"),
        (["train", "recipe.yaml", "--rum", "x"], "--rum"),
        (["train", "recipe.yaml", "epochs"], "'epochs': overrides are written key=value"),
        (["evaluate", "nowhere", "knn"], "nowhere: no run directory"),
        (["report", "nowhere"], "run='nowhere': is not a directory"),
        (["list", "encoder"], "unknown kind of thing to list 'encoder': did you mean 'encoders'?"),
        (["report", "nowhere", "--html", ""], "--html=.: must name a file"),
        (["report", "nowhere", "--csv", "/"], "--csv=/: must name a file"),
        (["list", "studies", "nope"], "unknown study 'nope'"),
        (["list", "encoders", "akorm"], "unknown encoder 'akorm': did you mean 'akorn'?"),
        (["list", "encoders", "akorn", "more"], "unrecognized argument 'more'"),
    ],
)
def test_a_bad_command_line_is_one_line(recipe, fails, arguments, message):
    assert message in fails(*arguments)


def test_a_recipe_that_leaves_its_start_open_asks_for_it(fails, tmp_path):
    file = recipe_file(tmp_path / "finetune.yaml", init="???")
    assert "init='???': no finished run; name the one to start from, for example --init" in fails("train", file)


def test_a_good_recipe_is_only_checked_when_asked(recipe, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    monkeypatch.chdir(tmp_path)
    assert main(["train", recipe, "--check"]) == 0
    assert capsys.readouterr().out == f"{recipe}: a valid recipe\n"
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_a_run_lies_in_runs_by_the_name_of_its_recipe_and_overrides_may_follow_options(
    recipe, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["train", recipe, "epochs=2"]) == 0
    assert capsys.readouterr().out == "runs/recipe: finished\n"
    assert main(["train", recipe, "--init", "runs/recipe", "--run", "second", "epochs=1"]) == 0
    saved = (tmp_path / "second" / "recipe.yaml").read_text()
    assert "epochs: 1\n" in saved
    assert f"init: {tmp_path}/runs/recipe\n" in saved
    assert sorted(path.name for path in (tmp_path / "second" / "pictures").iterdir()) == ["phases.npz", "views.npz"]


def test_a_fault_of_ours_is_not_called_the_users(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("sslkuramoto.training.loop.shuffled", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train", recipe, "--run", str(tmp_path / "run")])


def test_ctrl_c_before_the_first_step_is_one_line(recipe, capsys, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(DATA, "build", interrupted)
    assert main(["train", recipe, "--run", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err == "sslkuramoto: interrupted\n"


def test_a_second_ctrl_c_does_not_wait(recipe, capsys, tmp_path):
    with after_step(1, lambda: (press_ctrl_c(), press_ctrl_c())):
        assert main(["train", recipe, "--run", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "sslkuramoto: interrupted"


KINDS = ["encoders", "objectives", "data", "views", "optimizers", "schedules", "attacks", "recipes", "protocols"]


@pytest.mark.parametrize("what", KINDS)
def test_list_names_every_member_with_a_line_about_it(what, capsys):
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(len(line.split()) > 2 for line in lines)
    for line in lines:
        assert main(["list", what, line.split()[0]]) == 0
    assert capsys.readouterr().out


def test_list_shows_options_with_defaults_and_types(capsys):
    assert main(["list", "encoders", "akorn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {
        line.split()[0]: (line.strip(), meaning.strip()) for line, meaning in zip(lines[::2], lines[1::2], strict=True)
    }
    assert rows["channels"][0] == "channels = 64  (whole number >= 1)"
    assert "(random | fixed | stimulus | learned)" in rows["initial"][0]
    assert all(len(meaning) > 3 for _, meaning in rows.values())
    assert main(["list", "optimizers", "sgd"]) == 0
    assert "required" in capsys.readouterr().out


def test_evaluate_takes_options_of_protocol_encoder_and_data(run, capsys):
    items = ["knn", "neighbours=3", "encoder.num_steps=5", "encoder.initial=fixed", "data.limit_test=20"]
    assert main(["evaluate", str(run), *items, "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert "features of test: 20 images, 1 draw" in captured.err
    file = run / "results" / f"{'+'.join(items)}.json"
    assert f"({file})" in captured.out  # never in place of what was measured as the run was trained
    result = json.loads(file.read_text())
    assert result["options"]["neighbours"] == 3
    assert result["data"]["n"] == 20
    assert result["encoder"]["changed_options"] == {"num_steps": 5, "initial": "fixed"}
    assert f"{result['metrics']['accuracy']['value'] * 100:.2f} %" in captured.out


def test_evaluate_with_other_draws_writes_beside_the_result_of_the_runs_own(run):
    items = ["knn", "data.limit_test=20", "--device", "cpu"]
    assert main(["evaluate", str(run), *items, "--seed", "3"]) == 0
    assert json.loads((run / "results" / "knn+data.limit_test=20+seed=3.json").read_text())["seed"] == 3


@pytest.fixture(scope="module")
def classified(tmp_path_factory) -> Path:
    """A finished run with a classifier that gets some images right."""
    data = {"name": "digits", "size": 8, "limit": 200, "limit_test": 12}
    recipe = small(epochs=8, data=data, optimizer={"name": "adam", "lr": 2e-2}, **CLASSIFIER)
    return train(recipe, tmp_path_factory.mktemp("runs") / "classified").path


FEW = ["images=12", "eps=0.01", "select_draws=20", "control=0", "attacks=[{name: pgd, iterations: 2, k: 2}, gaussian]"]


def test_a_dry_run_says_what_an_attack_would_cost_and_does_nothing(classified, capsys):
    before = sorted(classified.rglob("*"))
    assert main(["evaluate", str(classified), "robustness-quick", "knn", "clustering", "--dry-run", "images=12"]) == 0
    out = capsys.readouterr().out
    assert "robustness-quick, 12 images:" in out
    for way in ("published", "fixed", "eot"):
        assert f"  {way}: apgd-ce: " in out
    assert out.count("on this device (from timed passes; images that are broken early cost less)") == 1
    assert "knn, test, 12 images:" in out
    assert "clustering: no estimate" in out
    assert sorted(classified.rglob("*")) == before


def test_an_attack_continues_where_it_was_interrupted(classified, capsys, monkeypatch, tmp_path):
    from sslkuramoto.attacks import Ledger

    written = Ledger.write

    def stop(ledger, label, *arguments):
        written(ledger, label, *arguments)
        if label != "clean":
            raise KeyboardInterrupt

    command = ["evaluate", str(classified), "--as", "attacked", "robustness", *FEW, f"ledger={tmp_path / 'ledger'}"]
    monkeypatch.setattr(Ledger, "write", stop)
    assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "sslkuramoto: interrupted"
    assert not (classified / "results" / "attacked.json").exists()
    monkeypatch.setattr(Ledger, "write", written)
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "gaussian: chunk 1 of 1" in captured.err
    assert "pgd" not in captured.err
    result = json.loads((classified / "results" / "attacked.json").read_text())
    assert set(result["details"]["standing_after"]) == {"pgd-2-ce-fresh", "gaussian"}
    assert f"robust_accuracy {' ' * 17}" in captured.out
    assert "note: share of images still robust after each attack" in captured.out


def test_a_result_with_many_overrides_has_a_name_that_a_file_may_have(classified, capsys):
    for n in (20, 21):
        long = [*FEW, f"draws={n}", *(f"ways.way-number-{i}.initial=fixed" for i in range(12))]
        assert main(["evaluate", str(classified), "robustness", *long]) == 0
    files = [path for path in (classified / "results").iterdir() if path.name.startswith("robustness+images=12")]
    assert len(files) == 2, "other options, another file"
    assert all(len(path.name) < 200 for path in files)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["robustness-linf", "eps=8"], "eps=8: pixels lie in [0,1]: did you mean 8/255?"),
        (["robustness", "attacks=[pdg]"], "unknown attack 'pdg': did you mean 'pgd'?"),
        (["robustness", *FEW, "images=13"], "images=13: data 'digits', split 'test', has only 12"),
        (["robustness", *FEW, "draws=10"], "draws=10: must be at least 20, since this network draws new oscillators"),
        (["robustness", *FEW, "ledger=photos"], "ledger photos: is a folder with other files"),
        (["robustness", *FEW, "ledger=theirs"], "ledger theirs: belongs to another network (hash 123456789abc there"),
        (["robustness", *FEW, "attacks=[{name: transfer, run: nowhere}]"], "nowhere: no run directory"),
    ],
)
def test_an_attack_that_cannot_be_carried_out_is_one_line(classified, fails, tmp_path, items, message):
    for folder in ("photos", "theirs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "photos" / "holiday.jpg").touch()
    (tmp_path / "theirs" / "ledger.json").write_text('{"model": "123456789abcdef"}')
    assert message in fails("evaluate", str(classified), *items)


def test_evaluate_writes_under_another_name_and_the_report_shows_it(run, capsys, tmp_path):
    assert main(["evaluate", str(run), "--as", "knn-5", "knn", "neighbours=5", "--seed", "3"]) == 0
    assert json.loads((run / "results" / "knn-5.json").read_text())["options"]["neighbours"] == 5
    files = [str(tmp_path / name) for name in ("r.html", "r.md", "r.csv")]
    assert main(["report", str(run), "--html", files[0], "--markdown", files[1], "--csv", files[2]]) == 0
    assert [f"wrote {file}" for file in files] == capsys.readouterr().out.splitlines()[-3:]
    assert all(Path(file).stat().st_size for file in files)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["knm"], "unknown protocol 'knm': did you mean 'knn'?"),
        (["knn", "neighbors=3"], "did you mean 'neighbours'?"),
        (["knn", "encoder.num_step=3"], "unknown key of encoder akorn 'num_step': did you mean 'num_steps'?"),
        (["knn", "encoder.channels=8"], "has shape (4,), here (8,)"),
        (["knn", "data.sise=3"], "did you mean 'size'?"),
        (["neighbours=3"], "name at least one protocol"),
        (["knn", "--as", ""], "--as='': must be a plain name"),
        (["knn", "--as", "x" * 161], "is longer than 160 bytes"),
        (["knn", "--seed", "-1"], "--seed=-1: must be >= 0"),
        (["knn", "--device", "meta"], "--device=meta: not usable here"),
        (["knn", "linear", "--as", "x"], "--as names the result of one protocol"),
        (["knn", "--device", "tpu"], "--device=tpu: not usable here"),
        (["knn", "--batch-size", "0"], "--batch-size=0: must be >= 1"),
        (["knn", "--weights", "raw"], "weights='raw': "),
        (["clean"], "holds an encoder only; finetune it first"),
        (["robustness-quick"], "holds an encoder only; finetune it first"),
        (["robustness-quick", "--dry-run"], "holds an encoder only; finetune it first"),
    ],
)
def test_a_bad_evaluation_is_one_line(run, fails, items, message):
    assert message in fails("evaluate", str(run), *items)


def test_where_no_result_can_be_written_nothing_is_measured(run, fails, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("results"))
    (tmp_path / "run" / "results").write_text("in the way")
    monkeypatch.setattr("sslkuramoto.evaluation.evaluate", lambda *_: pytest.fail("it was measured"))
    assert "run/results: cannot be written: Not a directory" in fails("evaluate", str(tmp_path / "run"), "knn")


def test_of_two_protocols_the_one_that_fails_is_named_and_the_other_is_kept(run, capsys):
    assert main(["evaluate", str(run), "knn", "knn", "corruptions", "data.limit_test=15"]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("accuracy ") == 1, "what is named twice is measured once"
    assert captured.err.splitlines()[-1].startswith("sslkuramoto: corruptions: ")
    assert (run / "results" / "knn+data.limit_test=15.json").is_file()


def test_an_unfinished_run_is_not_measured(recipe, fails, capsys, tmp_path):
    with after_step(1, press_ctrl_c):
        main(["train", recipe, "--run", str(tmp_path / "run")])
    capsys.readouterr()
    assert "the run is not finished (no encoder.safetensors)" in fails("evaluate", str(tmp_path / "run"), "knn")


def test_the_global_generator_is_of_no_account_to_any_command(run, capsys):
    state = torch.get_rng_state()
    assert main(["evaluate", str(run), "knn"]) == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_changed_option_names_the_results_of_the_protocols_that_have_it_only(classified):
    assert main(["evaluate", str(classified), "clean", "knn", "neighbours=3"]) == 0
    assert {path.name for path in (classified / "results").iterdir()} >= {"clean.json", "knn+neighbours=3.json"}
    assert not (classified / "results" / "clean+neighbours=3.json").exists()
