import json

import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS, evaluate, load_protocol, protocol_files
from sslkuramoto.evaluation.intervals import Metric
from sslkuramoto.evaluation.protocol import Result, write_result


@pytest.mark.parametrize("name", sorted(protocol_files()))
def test_every_protocol_file_loads_and_says_what_it_is(name):
    loaded = load_protocol(name)
    assert loaded.file == name
    assert set(loaded.options) == set(PROTOCOLS.options(loaded.name))
    assert protocol_files()[name].read_text().startswith("# ")


def test_every_protocol_has_a_file():
    assert {load_protocol(name).name for name in protocol_files()} == set(PROTOCOLS)


def test_overrides_replace_and_reach_inside():
    loaded = load_protocol("knn", ["neighbours=3", "vote=plain"])
    assert (loaded.options["neighbours"], loaded.options["vote"], loaded.options["temperature"]) == (3, "plain", 0.07)
    loaded = load_protocol("robustness-quick", ["eps=4/255", "ways.eot.eot_iter=2"])
    assert loaded.options["eps"] == "4/255"
    assert loaded.measure.ways["eot"].settings.eot_iter == 2
    assert loaded.measure.ways["fixed"].eps == 4 / 255


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("autoatack-linf", [], "unknown protocol 'autoatack-linf': did you mean 'robustness-linf'"),
        ("nowhere.yaml", [], "protocol file 'nowhere.yaml' does not exist"),
        ("knn", ["neighbors=3"], "unknown key of protocol knn 'neighbors': did you mean 'neighbours'"),
        ("knn", ["neighbours"], "override 'neighbours': must read KEY=VALUE"),
        ("knn", ["name=linear"], "name another protocol file"),
        ("knn", ["neighbours=many"], "protocol.neighbours='many'"),
        ("clean", ["initial=frozen"], "protocol.initial='frozen'.*'random', 'fixed' or 'averaged'"),
    ],
)
def test_a_wrong_name_key_or_value_is_one_clear_line(name, overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        load_protocol(name, overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("neighbours: 3", "needs the key 'name'"), ("a: [", "protocol file"), ("- knn", "must hold")]
)
def test_a_broken_file_is_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_protocol(str(path))
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_elsewhere_and_a_registered_name_load_too(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: knn\nneighbours: 4\n")
    assert load_protocol(str(path))[:2] == ("mine", "knn")
    assert load_protocol("autoattack_linf").options["images"] == 1000


def test_a_result_file_holds_everything(cnn, subject_of):
    subject = subject_of(cnn, weights="raw")
    result, path = evaluate(subject, load_protocol("clean"), {"torch": torch.__version__})
    assert path == subject.run_dir / "results" / "clean.json"
    written = json.loads(path.read_text())
    assert set(written) == {
        "protocol", "options", "metrics", "data", "encoder", "environment", "seconds", "notes", "per_image",
        "seed", "batch_size",
    }  # fmt: skip
    assert written["encoder"] == {
        "sha256": "0" * 64,
        "stochastic": False,
        "initial": "deterministic",
        "weights": "raw",
        "changed_options": {},
    }
    assert written["data"]["n"] == 360
    assert written["options"]["draws"] == 20
    accuracy = written["metrics"]["accuracy"]
    assert set(accuracy) == {"value", "low", "high", "n", "draws", "std_over_draws", "unit"}
    assert accuracy["value"] == result.metrics["accuracy"].value > 0.9
    assert set(written["per_image"]["correct"]) == {0.0, 1.0}


def test_a_result_that_cannot_be_written_leaves_the_old_one(cnn, subject_of, tmp_path, monkeypatch):
    path = tmp_path / "clean.json"
    path.write_text("old")
    result = Result({"accuracy": Metric(0.5, 0.4, 0.6, 10, 1)}, {}, {}, "deterministic")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"clean\.json: no space left on the disk; the previous file is kept"):
        write_result(path, result, protocol="clean", subject=subject_of(cnn), environment={}, seconds=1.0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clean.json"]
    assert path.read_text() == "old"


def test_clean_accuracy_counts_every_image_over_twenty_draws(noisy, subject_of):
    subject = subject_of(noisy, batch_size=50)
    random = PROTOCOLS.build("clean", {})(subject)
    assert (random.metrics["accuracy"].n, random.metrics["accuracy"].draws, random.initial) == (360, 20, "random")
    fixed = PROTOCOLS.build("clean", {"initial": "fixed"})(subject)
    assert (fixed.metrics["accuracy"].draws, fixed.initial) == (1, "fixed")
    averaged = PROTOCOLS.build("clean", {"initial": "averaged"})(subject)
    assert averaged.metrics["accuracy"].value > random.metrics["accuracy"].value, "averaging draws removes noise"
    with pytest.raises(UserError, match="draws=10"):
        PROTOCOLS.build("clean", {"draws": 10})(subject)
