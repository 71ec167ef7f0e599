"""Measuring from Python: the protocols of the command line on images and networks that lie in memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import CLASSIFIER, after_step, press_ctrl_c, recipe_file

import sslkuramoto as sk
from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory

PGD = [{"name": "pgd", "iterations": 3}]
FEW = {"steps": [2, 3], "k": [1, 2], "queries": 100, "samples": 4, "directions": 8, "select_draws": 20}
FEW |= {"skip": ["surrogate", "restarts", "k", "logit_scale"]}


def test_importing_the_package_imports_no_torch():
    code = "import sys, sslkuramoto as sk; sk.__version__; dir(sk); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@pytest.mark.parametrize("name", sk.__all__)
def test_every_public_name_is_there(name):
    assert getattr(sk, name) is not None
    assert name in dir(sk)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'robustness_accuracy'"):
        sk.robustness_accuracy  # noqa: B018


def test_robust_accuracy_of_a_plain_network_and_its_adversarial_images(plain, some):
    images, labels = some
    network = plain()
    found = sk.robust_accuracy(network, images, labels, eps=0.1, attacks=PGD)
    assert found["clean_accuracy"].value == (network(images).argmax(1) == labels).double().mean()
    assert found["robust_accuracy"].value < found["clean_accuracy"].value
    assert found.adversarial is not None
    assert found.adversarial.dtype == torch.float32
    assert (found.adversarial - images).abs().max() <= 0.1 + 1e-6
    still = network(found.adversarial).argmax(1) == labels
    assert still.double().tolist() == found.correct
    assert found.index == list(range(40))
    assert still.double().mean() == pytest.approx(found["robust_accuracy"].value)


def test_without_a_radius_an_l2_attack_has_that_of_l2(plain, some):
    images, labels = (part[:6] for part in some)
    found = sk.robust_accuracy(plain(), images, labels, norm="l2", attacks=PGD)
    assert found.result.options["eps"] == 0.5
    moved = (found.adversarial - images).flatten(1).norm(dim=1)
    assert 0.4 < moved.max() <= 0.5 + 1e-6


def test_a_missing_list_of_images_or_a_batch_of_none_is_one_line(plain, some):
    with pytest.raises(UserError, match="images: a NoneType"):
        sk.robust_accuracy(plain(), None, some[1])  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="batch_size=0: must be >= 1"):
        sk.calibration(plain(), *some, batch_size=0)


def test_a_folder_that_is_a_file_is_one_line(plain, some, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: exists and holds no results of a network; choose another directory"):
        sk.calibration(plain(), *some, folder=tmp_path / "file")


def test_pixels_between_the_256_levels_are_attacked_as_they_are(plain, some):
    images = (some[0] + 0.3 / 255).clamp(0, 1)
    found = sk.robust_accuracy(plain(), images, some[1], eps=0, attacks=PGD)
    assert torch.equal(found.adversarial, images)


def test_the_four_ways_are_measured_unless_attacks_are_named(plain, some):
    ways = {"one": {"attacks": PGD}, "two": {"attacks": PGD, "initial": "fixed"}}
    found = sk.robust_accuracy(plain(), some[0][:6], some[1][:6], eps=0.1, ways=ways)
    assert {name.partition("/")[0] for name in found.metrics} == {"one", "two", "union"}
    assert found.correct == found.per_image["union/correct"]


def test_a_network_with_dropout_left_on_is_scored_over_draws_and_compared(plain, dropping, some):
    images, labels = (part[:12] for part in some)
    options = {"select_draws": 20}
    first = sk.robust_accuracy(dropping, images, labels, eps=0.1, attacks=PGD, options=options)
    again = sk.robust_accuracy(dropping, images, labels, eps=0.1, attacks=PGD, options=options)
    assert first["robust_accuracy"].draws == 20
    assert first.correct == again.correct
    assert any("held draws are held seeds" in note for note in first.notes)
    other = sk.robust_accuracy(plain(), images, labels, eps=0.1, attacks=PGD)
    test = sk.compare(first, other.path)
    assert test.n == 12
    assert test.difference == pytest.approx(first["robust_accuracy"].value - other["robust_accuracy"].value, abs=1e-5)


def test_a_comparison_of_different_images_is_refused(plain, some):
    one, other = (sk.robust_accuracy(plain(), some[0][a:b], some[1][a:b], attacks=PGD) for a, b in ((0, 6), (6, 12)))
    with pytest.raises(UserError, match="measured on different images"):
        sk.compare(one, other)


def test_measurements_that_take_other_images_too_share_a_folder(some, tmp_path):
    torch.manual_seed(0)  # one random network in many seems to expect another range of pixels
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(some[0][0].numel(), 10)).eval()
    folder = tmp_path / "kept"
    robust = sk.robust_accuracy(network, *some, attacks=PGD, folder=folder)
    calibrated = sk.calibration(network, *some, fit=some, folder=folder)
    assert robust.path.parent == calibrated.path.parent
    with pytest.raises(UserError, match="belongs to another network: data is"):
        sk.calibration(network, some[0][1:], some[1][1:], folder=folder)


def test_a_comparison_takes_the_same_list_of_both(tmp_path):
    """The union of all ways of one is not compared with the only way of the other."""
    for name, lists in {
        "several": {"union/correct": [0.0] * 4, "correct": [1.0] * 4},
        "one": {"correct": [1.0] * 4},
    }.items():
        result = Result({}, {}, {"fingerprint": "the same"}, "deterministic", lists, verdicts=[*lists])
        result.write(tmp_path / f"{name}.json")
    assert sk.compare(tmp_path / "several.json", tmp_path / "one.json").difference == 0
    lists = {"union/correct": [0.0] * 4}
    result = Result({}, {}, {"fingerprint": "the same"}, "deterministic", lists, verdicts=[*lists])
    result.write(tmp_path / "one.json")
    assert sk.compare(tmp_path / "several.json", tmp_path / "one.json").difference == 0
    with pytest.raises(UserError, match=r"unknown list of verdicts of compare 'correct'.*allowed: union/correct"):
        sk.compare(tmp_path / "several.json", tmp_path / "one.json", per_image="correct")


def test_a_list_that_is_no_verdict_is_not_tested_and_the_lists_that_can_be_are_named(tmp_path):
    lists = {"correct": [1.0, 0.0], "confidence": [0.9, 0.3]}
    result = Result({}, {}, {"fingerprint": "the same"}, "deterministic", lists, verdicts=["correct"])
    result.write(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"^unknown list of verdicts of compare 'confidence': .*allowed: correct$"):
        sk.compare(tmp_path / "a.json", tmp_path / "a.json", per_image="confidence")


class Turned(torch.nn.Module):
    """A head without weights: the first features are the logits, in an order of its own."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        self.order, self.out_features = order, len(order)

    def forward(self, pooled):
        return pooled[:, self.order]


def test_a_head_without_weights_is_known_by_its_options(cnn, some, tmp_path):
    """The attacks on one order of the logits are not those on another, in the directory and in a shared ledger."""
    images, labels = (part[:8] for part in some)

    def measured(order, name, **options):
        model = sk.Classifier(cnn[0], Turned(order))
        kept = {"folder": tmp_path / name, "options": options}
        return sk.robust_accuracy(model, images, labels, eps=0.1, attacks=PGD, **kept)

    first, other = [*range(10)], [*range(1, 10), 0]
    measured(first, "one")
    measured(first, "one")
    with pytest.raises(UserError, match=r"one: belongs to another network: head is \w+ there and \w+ here; choose"):
        measured(other, "one")
    shared = {"ledger": str(tmp_path / "shared")}
    measured(first, "two", **shared)
    with pytest.raises(UserError, match=r"shared: belongs to another network \(hash \w+ there, \w+ here\)"):
        measured(other, "three", **shared)
    found = measured(other, "four")
    assert found["robust_accuracy"].value <= found["clean_accuracy"].value


def test_an_audit_of_a_network_that_rounds_its_logits_finds_no_gradient(plain, some):
    network = plain()

    class Rounded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images):
            return (self.network(images) * 2).detach().round()

    found = sk.audit(Rounded().eval(), some[0][:20], some[1][:20], eps=0.1, options=FEW)
    checks = {check["name"]: check for check in found.details["audit"]["checks"]}
    assert checks["zero_gradients"]["status"] == "fail"
    assert found.details["audit"]["word"] != "no sign of masking at this budget"
    page = found.to_html("Rounded")
    assert "<h1>Rounded" in page
    assert "zero" in page


def test_attacks_that_follow_gradients_run_on_a_network_without_any(plain, some):
    network = plain()
    attacks = [{"name": "autoattack", "member": "apgd-ce", "iterations": 2}]
    found = sk.robust_accuracy(lambda x: network(x).detach(), some[0][:6], some[1][:6], eps=0.1, attacks=attacks)
    assert found["robust_accuracy"].value <= found["clean_accuracy"].value


def test_results_print_as_a_table_and_become_mappings(plain, some):
    found = sk.calibration(plain(), *some)
    assert "accuracy" in str(found).splitlines()[1]
    assert found.to_dict()["metrics"]["accuracy"]["value"] == found["accuracy"].value
    assert "temperature" not in found.metrics
    with pytest.raises(UserError, match="unknown metric of calibration 'accuracies': did you mean 'accuracy'"):
        found["accuracies"]
    fitted = sk.calibration(plain(), *some, fit=some)
    assert fitted["temperature"].value > 0


def test_corruptions_and_neighbours_of_a_plain_network(plain, some):
    images, labels = some
    found = sk.corruptions(plain(), images, labels, options={"corruptions": ["contrast"], "severities": [1]})
    assert found["clean_accuracy"].value > 0.8
    neighbours = sk.knn_accuracy(plain().encoder, (images, labels), images, labels, neighbours=1)
    assert neighbours["accuracy"].value == 1.0


def test_a_folder_keeps_the_work_of_attacks_and_refuses_another_network(plain, some, tmp_path):
    network = plain()

    def measured(model):
        return sk.robust_accuracy(model, some[0][:8], some[1][:8], eps=0.1, attacks=PGD, folder=tmp_path / "net")

    first = measured(network)
    units = sorted((tmp_path / "net" / "ledger").rglob("*.safetensors"))
    times = [unit.stat().st_mtime_ns for unit in units]
    second = measured(network)
    assert units
    assert [unit.stat().st_mtime_ns for unit in units] == times
    assert first.correct == second.correct
    torch.nn.init.ones_(network.head.bias)
    network.head.bias.data[0] = 5
    with pytest.raises(UserError, match=r"net: belongs to another network: network is \w+ there"):
        measured(network)


def test_features_of_any_module_and_of_an_encoder(plain, some):
    images, _ = some
    network = plain()
    assert torch.allclose(sk.features(network.encoder, images), network.encoder(images).pooled)
    declared = sk.as_encoder(network, images)
    assert torch.allclose(sk.features(declared, images, batch_size=7), network(images), atol=1e-5)
    akorn = sk.AKOrN(channels=4, kernel_sizes=(3,), num_steps=1).eval()
    first, second = sk.features(akorn, images[:4], draws=20)[:2]
    assert not torch.equal(first, second)
    assert torch.equal(sk.embed(akorn, images[:4]), sk.embed(akorn, images[:4]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (x * 255, y), r"images lie in \[0, 255\], pixels must lie in \[0,1\] \(images / 255\)"),
        (lambda x, y: ((x * 255).to(torch.uint8), y), r"images: torch.uint8, must be torch.float32"),
        (lambda x, y: (x.double(), y), r"images: torch.float64"),
        (lambda x, y: (x[:, :1], y), r"images: shape \[40, 1, 8, 8\], must be \[n, 3, s, s\]"),
        (lambda x, y: (x[:, :, :7], y), r"images: shape \[40, 3, 7, 8\]"),
        (lambda x, y: (x.numpy(), y), r"images: a ndarray"),
        (lambda x, y: (x, y[:30]), r"labels: 30 for 40 images"),
        (lambda x, y: (x, y.float()), r"labels: torch.float32"),
        (lambda x, y: (x, y - 1), r"labels: the smallest is -1"),
        (lambda x, y: (x, y + 1), r"labels range from 1 to 10, and the network has 10 classes"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_one_line(plain, some, change, said):
    with pytest.raises(UserError, match=said) as found:
        sk.robust_accuracy(plain(), *change(*some), attacks=PGD)
    assert "\n" not in str(found.value)


def test_arguments_that_nobody_knows_are_one_line(plain, some):
    with pytest.raises(UserError, match="unknown argument of robustness 'sed': did you mean 'seed'"):
        sk.robust_accuracy(plain(), *some, attacks=PGD, sed=1)  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match="unknown attack 'pdg'"):
        sk.robust_accuracy(plain(), *some, attacks=["pdg"])


def test_a_recipe_is_trained_loaded_and_measured(tmp_path):
    path = recipe_file(tmp_path / "small.yaml", **CLASSIFIER, epochs=1)
    run = sk.train(path, "data.limit=32", run=tmp_path / "run")
    classifier = sk.load(run)
    assert isinstance(classifier, sk.Classifier)
    assert isinstance(sk.load(run / "encoder.safetensors"), sk.Encoder)
    found = sk.evaluate(run, "clean")
    assert found.path == run / "results" / "clean.json"
    assert found["accuracy"].draws == 20
    assert sk.evaluate(run, "clean", "draws=25", seed=1).path == run / "results" / "clean+draws=25+seed=1.json"
    assert Result.read(found.path).metrics == found.metrics, "the run's own result is as it was"
    images = torch.rand(5, 3, 8, 8)
    assert sk.embed(run, images).shape == (5, classifier.encoder.num_features)
    with pytest.raises(UserError, match="no run directory"):
        sk.load(tmp_path / "nowhere")


def test_a_run_is_continued_by_its_directory_and_another_starts_from_its_encoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = recipe_file(tmp_path / "small.yaml", epochs=1)
    with after_step(1, press_ctrl_c), pytest.raises(Interrupted):
        sk.train(file)
    assert not RunDirectory(Path("runs/small")).finished
    run = sk.train("runs/small")
    assert run == Path("runs/small")
    assert RunDirectory(run).finished
    assert sorted(path.name for path in (run / "pictures").iterdir()) == ["phases.npz", "views.npz"]
    with pytest.raises(UserError, match=r"run=other: runs/small is a run directory itself; name its recipe\.yaml"):
        sk.train(run, run="other")
    second = sk.train(file, run="second", init=run)
    assert f"init: {tmp_path}/runs/small\n" in (second / "recipe.yaml").read_text()
    third = sk.train(sk.load_recipe(Path(file)), run="third", init=str(run))
    assert sk.load_recipe(third / "recipe.yaml").init == f"{tmp_path}/runs/small"
    with pytest.raises(UserError, match="no finished run"):
        sk.train(file, run="fourth", init="nowhere")


def test_an_exported_folder_is_loaded_like_its_run(tmp_path):
    from sslkuramoto.interop.export_folder import export_torch
    from sslkuramoto.interop.trained import trained

    run = sk.train(recipe_file(tmp_path / "small.yaml", **CLASSIFIER, epochs=1), "data.limit=32", run=tmp_path / "run")
    export_torch(trained(run), tmp_path / "out")
    ours, found = sk.load(run), sk.load(str(tmp_path / "out"))
    assert isinstance(ours, sk.Classifier)
    assert isinstance(found, sk.Classifier)
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(found(images, draw=sk.generator("cpu", 1)), ours(images, draw=sk.generator("cpu", 1)))
    (tmp_path / "out" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: truncated or not JSON"):
        sk.load(tmp_path / "out")


def test_a_network_may_overwrite_what_it_is_given(plain, some):
    images, labels = some
    kept = images.clone()

    class Overwriting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = plain()

        def forward(self, pixels):
            return self.network(torch.nn.functional.relu(pixels.sub_(0.1), inplace=True))

    attacks = [{"name": "pgd", "iterations": 2}]
    found = sk.robust_accuracy(Overwriting().eval(), images, labels, eps=0.1, attacks=attacks)
    assert torch.equal(images, kept)
    assert 0 <= found["robust_accuracy"].value <= found["clean_accuracy"].value


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"budget": "huge"}, "unknown budget 'huge'"),
        ({"images": lambda x: x.clone().requires_grad_()}, "images: require a gradient"),
        ({"images": lambda x: x.to_sparse()}, "images: must be a dense torch.Tensor"),
        ({"labels": lambda y: y.to(torch.uint64)}, "labels: torch.uint64"),
    ],
)
def test_odd_arguments_are_one_line(plain, some, change, line):
    images, labels = some
    images = change.pop("images", lambda x: x)(images)
    labels = change.pop("labels", lambda y: y)(labels)
    with pytest.raises(UserError, match=line):
        sk.robust_accuracy(plain(), images, labels, eps=0.1, **change)


def test_a_network_that_exits_is_one_line(some):
    class Exiting(torch.nn.Module):
        def forward(self, images):
            raise SystemExit(0)

    with pytest.raises(UserError, match="the network cannot answer images of 3 x 8 x 8: SystemExit"):
        sk.calibration(Exiting(), *some, fit=some)


def test_what_is_no_pair_of_images_and_labels_is_one_line(plain, some):
    images, labels = some
    with pytest.raises(UserError, match=r"must be a pair \(images, labels\)"):
        sk.calibration(plain(), images, labels, fit=images)
    with pytest.raises(UserError, match="the scored images are 3 x 8 x 8"):
        sk.calibration(plain(), images, labels, fit=(torch.rand(len(labels), 3, 9, 9), labels))
