import json

import pytest
import torch

from sslkuramoto.data import DataSet
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS, evaluate, load_protocol, load_protocols, protocol_files
from sslkuramoto.evaluation.protocol import Protocol
from sslkuramoto.results import FORMAT, Metric, Result


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
    loaded = load_protocol("robustness-quick", ["eps=4/255", "ways.eot.attacks[0].eot_iter=2", "ways.fixed.control=0"])
    assert loaded.options["eps"] == "4/255"
    eot = loaded.measure.ways["eot"]
    assert [attack.eot_iter for attack in eot.attacks] == [2, 8]
    assert (eot.control, loaded.measure.ways["fixed"].control) == (4, 0)
    assert loaded.measure.ways["fixed"].threat.eps == 4 / 255


def test_an_override_of_one_way_leaves_the_others_alone():
    """The file's ways share one list by an anchor; what is changed in one place is changed there only."""

    def steps(*overrides):
        ways = load_protocol("robustness-quick", overrides).measure.ways
        return {way: protocol.attacks[0].options["iterations"] for way, protocol in ways.items()}

    assert steps("ways.published.attacks[0].iterations=3") == steps() | {"published": 3}
    assert steps()["fixed"] == steps()["published"] != 3


def test_several_protocols_take_the_overrides_they_know():
    knn, clean = load_protocols(["knn", "clean"], ["neighbours=3", "draws=30", "initial=fixed"])
    assert (knn.options["neighbours"], knn.options["draws"]) == (3, 30)
    assert (clean.options["initial"], clean.options["draws"]) == ("fixed", 30)
    with pytest.raises(UserError, match="unknown key of protocol knn 'neighbors': did you mean 'neighbours'"):
        load_protocols(["knn", "clean"], ["neighbors=3"])
    assert load_protocols(["robustness-quick", "knn"], ["ways.eot.draws=40"])[0].measure.ways["eot"].draws == 40


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("robustnes-linf", [], "unknown protocol 'robustnes-linf': did you mean 'robustness-linf'"),
        ("nowhere.yaml", [], "protocol file 'nowhere.yaml' does not exist"),
        ("knn", ["neighbors=3"], "unknown key of protocol knn 'neighbors': did you mean 'neighbours'"),
        ("knn", ["neighbours"], "override 'neighbours': must read KEY=VALUE"),
        ("knn", ["name=linear"], "name another protocol file"),
        ("knn", ["neighbours=many"], "protocol.neighbours='many'"),
        ("clean", ["initial=frozen"], "protocol.initial='frozen'.*'random', 'fixed', 'fixed_per_image' or 'averaged'"),
        ("autoattack", [], "unknown protocol 'autoattack'"),
        ("robustness-linf", ["eps=8"], r"eps=8: .*did you mean 8/255\?"),
        ("robustness-quick", ["ways.eot.eot_iter=2"], "ways.eot: unknown key of protocol robustness 'eot_iter'"),
        ("robustness-quick", ["ways.eot.attacks[9].k=2"], "overrides ways.eot.attacks.9..k=2"),
        (
            "robustness-quick",
            ["ways.eot.attacks[0].label=apgd-dlr"],
            "ways.eot: attacks: two have the label 'apgd-dlr'",
        ),
    ],
)
def test_a_wrong_name_key_or_value_is_one_clear_line(name, overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        load_protocol(name, overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("neighbours: 3", "needs the key 'name'"),
        ("a: [", "protocol file"),
        ("a: " + "[" * 3000, "nested too deeply"),
        ("- knn", "must hold"),
    ],
    ids=["no name", "no YAML", "too deep", "a list"],
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
    assert load_protocol("clean")[:2] == ("clean", "clean")
    loaded = load_protocol("robustness", ["attacks=[pgd]"])
    assert (loaded.file, loaded.options["images"], loaded.options["attacks"]) == ("robustness", 1000, ["pgd"])


def test_a_result_file_holds_everything(cnn, subject_of):
    subject = subject_of(cnn, weights="raw")
    result, path = evaluate(subject, load_protocol("clean"), {"torch": torch.__version__})
    assert path == subject.run_dir / "results" / "clean.json"
    written = json.loads(path.read_text())
    assert set(written) == {
        "protocol", "options", "metrics", "data", "encoder", "environment", "seconds", "notes", "per_image",
        "details", "seed", "batch_size", "format", "kind", "described_by", "verdicts", "head",
    }  # fmt: skip
    assert (written["format"], written["kind"], written["described_by"]) == (FORMAT, "clean", "clean")
    assert written["encoder"] == {
        "sha256": "0" * 64,
        "stochastic": False,
        "initial": "deterministic",
        "weights": "raw",
        "changed_options": {},
    }
    assert written["head"] == {"sha256": subject.head_hash}
    assert written["data"]["n"] == 360
    assert written["options"]["draws"] == 20
    accuracy = written["metrics"]["accuracy"]
    assert set(accuracy) == {"value", "low", "high", "n", "draws", "std_over_draws", "unit"}
    assert accuracy["value"] == result.metrics["accuracy"].value > 0.9
    assert set(written["per_image"]["correct"]) == {0.0, 1.0}
    assert written["details"] == result.details


def test_a_result_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "clean.json"
    path.write_text("old")
    result = Result({"accuracy": Metric(0.5, 0.4, 0.6, 10, 1)}, {}, {}, "deterministic")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"clean\.json: no space left on the disk; the previous file is kept"):
        result.write(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clean.json"]
    assert path.read_text() == "old"


def test_clean_accuracy_counts_every_image_over_twenty_draws(noisy, subject_of):
    subject = subject_of(noisy, batch_size=50)
    random = PROTOCOLS.build("clean", {})(subject)
    assert (random.metrics["accuracy"].n, random.metrics["accuracy"].draws, random.initial) == (360, 20, "random")
    fixed = PROTOCOLS.build("clean", {"initial": "fixed"})(subject)
    assert (fixed.metrics["accuracy"].draws, fixed.initial) == (1, "fixed")
    own = PROTOCOLS.build("clean", {"initial": "fixed_per_image"})(subject)
    assert (own.metrics["accuracy"].draws, own.initial) == (1, "fixed_per_image")
    assert own.metrics["accuracy"].value == pytest.approx(random.metrics["accuracy"].value, abs=0.04)
    again = PROTOCOLS.build("clean", {"initial": "fixed_per_image"})(subject_of(noisy, batch_size=7))
    assert again.per_image == own.per_image, "each image keeps its state in whatever batch it stands"
    averaged = PROTOCOLS.build("clean", {"initial": "averaged"})(subject)
    assert averaged.metrics["accuracy"].value > random.metrics["accuracy"].value, "averaging draws removes noise"
    with pytest.raises(UserError, match="draws=10"):
        PROTOCOLS.build("clean", {"draws": 10})(subject)


def test_what_a_protocol_needs_is_checked_before_it_measures(cnn, subject_of, some_set):
    class Needing(Protocol):
        name = "needing"
        needs = frozenset({"masks"})

        def measure(self, subject):
            return pytest.fail("it was measured")

    with pytest.raises(UserError, match=r"^needing needs masks: the data of .*run gives none$"):
        Needing()(subject_of(cnn, data=lambda split: some_set(4)))


def test_another_packages_data_set_that_promises_images_and_is_no_image_set_is_told_so(cnn, subject_of, some_set):
    class Theirs(DataSet):
        name, split, fingerprint, spec = "theirs", "test", "abc", some_set(4).spec

        @classmethod
        def expected(cls, options):
            return cls.spec

        def __len__(self):
            return 4

        def batches(self, order, device, workers):
            yield from ()

    with pytest.raises(UserError, match=r"^data theirs, split test: Theirs gives images but is no ImageSet$"):
        PROTOCOLS.build("clean", {})(subject_of(cnn, data=lambda split: Theirs()))
