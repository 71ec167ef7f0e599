"""The command ``evaluate``: options, names of results, dry runs, and one clear line for what the user can mend."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_runs import CLASSIFIER, after_step, press_ctrl_c, small

from sslkuramoto.cli import main
from sslkuramoto.training import train


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
