"""The command: exit codes, one clear line for what the user can mend, and nothing written then."""

import pytest
from PIL import Image
from small_runs import after_step, press_ctrl_c, recipe_file

from sslkuramoto.cli import main
from sslkuramoto.data import DATA


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
        (["encoder.num_steps=100000000000000000000"], "num_steps=100000000000000000000: must be at most 10,000\n"),
        (["encoder.num_steps=[3,1000000000]"], "num_steps=[3, 1000000000]: entry 2: must be at most 10,000\n"),
        (["encoder.kernel_sizes=[3,10001]"], "kernel_sizes=[3, 10001]: entry 2: must be at most 999\n"),
        (["epochs=100000000000000000000"], "epochs=100000000000000000000: must be at most 1,000,000\n"),
        (["data.size=100000000000000000000"], "size=100000000000000000000: must be at most 100,000\n"),
        (["objective.temperature=0"], "temperature=0: must be > 0"),
        (["objective.temperature=-0.5"], "temperature=-0.5: must be > 0"),
        (["epochs=0"], "epochs=0: must be >= 1"),
        (["optimizer.lr=-1"], "lr=-1: must be > 0"),
        (["encoder=akorm"], "unknown encoder 'akorm': did you mean 'akorn'?"),
        (["objective=simcrl"], "unknown objective 'simcrl': did you mean 'simclr'?"),
        (["views=simclear"], "unknown views 'simclear': did you mean 'simclr'?"),
        (["optimizer={name: sgd, lr: 1, momentum: 0, nesterov: true}"], "nesterov=True: needs momentum > 0"),
        (["optimizer={name: lars, lr: 1, weight_decay: 0}"], "weight_decay=0: LARS scales only tensors that decay"),
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


def test_a_group_larger_than_the_grid_is_one_line_before_training(fails):
    items = ["encoder.group_size=50", "encoder.influence=sin"]
    message = "group_size=50, patch=1: takes images of at least 50 pixels; data digits gives images of 16 x 16 pixels"
    assert message in fails("train", "digits-winfree-supervised", "--run", "run", *items)
    assert message in fails("train", "digits-winfree-supervised", "--check", *items)


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


def test_a_tilde_in_any_place_is_the_home_folder(recipe, tmp_path, monkeypatch, capsys):
    """A shell reads it only where it begins a word: neither in ``--run=~/run`` nor in ``init=~/run`` nor in YAML."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["train", recipe, "--run=~/first"]) == 0
    assert main(["train", recipe, "init=~/first", "--run=~/second"]) == 0
    (tmp_path / "p.yaml").write_text("name: knn\nneighbours: 5\n")
    assert main(["evaluate", "second", "~/p.yaml"]) == 0
    assert main(["report", "~/second", "--html=~/page.html"]) == 0
    assert main(["train", "~/recipe.yaml", "--check"]) == 0
    assert (tmp_path / "page.html").is_file()
    assert not (tmp_path / "~").exists()
    unknown = ["data.name=image_folder", "data.root=~nobody-of-this-name/images"]
    assert main(["train", recipe, *unknown, "--run=~/third"]) == 2
    said = "sslkuramoto: data image_folder: root=~nobody-of-this-name/images: no such file or folder"
    assert capsys.readouterr().err.splitlines()[-1] == said
