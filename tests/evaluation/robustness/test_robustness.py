"""The protocol: what it measures, in which readings, and what it refuses."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small_attacks import NAMES, Step, few, ready
from small_runs import AKORN, CLASSIFIER, small

from sslkuramoto.classifier import Classifier
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS, evaluate, load_protocol
from sslkuramoto.evaluation import subject_of as subject_of_run
from sslkuramoto.evaluation.robustness.built_reading import BuiltReading
from sslkuramoto.evaluation.robustness.protocol import Robustness
from sslkuramoto.threat import Threat
from sslkuramoto.training import train

CE = {"name": "autoattack", "member": "apgd-ce", "iterations": 6}
DLR = {"name": "autoattack", "member": "apgd-dlr", "iterations": 6}
SQUARE = {"name": "autoattack", "member": "square", "queries": 20}
MODES = ("random", "fixed", "fixed_per_image", "averaged")
QUICK = {"attacks": [CE, SQUARE], "images": 40, "eps": 0.05, "select_draws": 20}


def build(**options):
    return PROTOCOLS.build("robustness", {**QUICK, **options})


def silent(metric):
    """Return a number without what it says of its kind."""
    return replace(metric, reading=None)


@pytest.fixture(scope="module")
def akorn(tmp_path_factory):
    """A finished run of AKOrN with a classifier, three steps old."""
    data = {"name": "digits", "size": 8, "limit": 48, "limit_test": 12}
    recipe = small(data=data, epochs=1, encoder=AKORN, **CLASSIFIER)
    return train(recipe, tmp_path_factory.mktemp("runs") / "akorn").path


@pytest.mark.parametrize("initial", MODES)
def test_eps_zero_gives_exactly_the_clean_accuracy_whatever_attacks(akorn, initial):
    """Every registered attack, every member of AutoAttack, on a real run."""
    attacks = [few(name) for name in NAMES]
    protocol = build(eps=0, initial=initial, average=2, images=6, chunk=4, attacks=attacks, chained=False)
    subject = subject_of_run(akorn)
    result = protocol(subject)
    assert set(result.details["standing_after"]) == {attack.label for attack in ready(subject, *attacks)}
    assert len(result.details["standing_after"]) >= len(NAMES) + 4, "AKOrN draws and has layers: none is left out"
    for suffix in ("", "_majority", "_all"):
        assert silent(result.metrics[f"robust_accuracy{suffix}"]) == result.metrics[f"clean_accuracy{suffix}"]
    assert result.metrics["wrapper_accuracy"].value == result.metrics["clean_accuracy"].value
    assert result.per_image["correct"] == result.per_image["clean_correct"]
    assert set(result.per_image["broken_by"]) <= {None, "clean"}


@pytest.mark.parametrize("initial", MODES)
def test_eps_zero_gives_the_clean_accuracy_of_the_protocol_clean(noisy, digits, subject_of, initial):
    """The same images, all of them, scored by another protocol: equal but for the noise of the draws."""
    test = digits["test"]
    images, labels = test.images[:120], test.labels[:120]
    few = MemorySet("few", "test", test.classes, labels, 8, "few", images)
    subject = subject_of(noisy, data=lambda split: few)
    robust = build(eps=0, initial=initial, images=None, average=2)(subject).metrics["robust_accuracy"]
    clean = PROTOCOLS.build("clean", {"initial": initial, "average": 2})(subject).metrics["accuracy"]
    assert clean.n == 120
    assert robust.value == pytest.approx(clean.value, abs=0.02 if robust.draws == 20 else 1e-12)
    assert (robust.n, robust.draws) == (clean.n, clean.draws)


def test_the_control_is_the_clean_accuracy_of_its_images(noisy, subject_of):
    result = build(control=40, chunk=40)(subject_of(noisy))
    assert result.metrics["control_accuracy"].value == result.metrics["clean_accuracy"].value
    few = build(control=7)(subject_of(noisy)).metrics
    assert few["control_accuracy"] == few["control_clean_accuracy"]
    assert few["control_accuracy"].n == 7
    assert build(control=1000)(subject_of(noisy)).metrics["control_accuracy"].n == 40
    assert "control_accuracy" not in build(control=0)(subject_of(noisy)).metrics


def test_an_attack_that_moves_images_without_room_is_caught(cnn, subject_of):
    protocol = build(attacks=[CE])
    protocol.attacks.append(Step("cheat", move=lambda candidates: (candidates - 1e-7).clamp(0, 1)))
    with pytest.raises(AssertionError, match=r"cheat left the ball: \S+ > eps 0"):
        protocol(subject_of(cnn))


@pytest.mark.parametrize(("eps", "agree"), [(0, 0), (0.05, 3)], ids=["eps 0", "control"])
def test_equal_images_that_score_differently_are_refused(noisy, subject_of, monkeypatch, eps, agree):
    """A network with a state: after a few calls every call gives other predictions."""
    calls = iter(range(1000))

    def restless(self, candidates, index, draws=None, purpose="score"):
        return torch.full((20, len(candidates)), max(0, next(calls) - agree) % 10)

    monkeypatch.setattr(BuiltReading, "predictions", restless)
    with pytest.raises(UserError, match=r"equal images with equal draws have different predictions \(100\.0 %"):
        build(eps=eps, control=5)(subject_of(noisy))


def test_a_stochastic_network_is_scored_over_twenty_draws(noisy, subject_of):
    result = build()(subject_of(noisy))
    assert {metric.draws for metric in result.metrics.values()} == {20}
    assert {metric.n for name, metric in result.metrics.items() if not name.startswith("control_")} == {40}
    robust, clean = result.metrics["robust_accuracy"], result.metrics["clean_accuracy"]
    assert robust.value < clean.value
    assert robust.low < robust.value < robust.high
    assert sum(result.per_image["correct"]) / 40 == pytest.approx(robust.value, abs=1e-6)
    assert result.metrics["robust_accuracy_all"].value <= robust.value


@pytest.mark.parametrize("option", ["draws", "select_draws"])
def test_too_few_draws_are_refused_before_anything_is_attacked(noisy, subject_of, option):
    subject, lines = subject_of(noisy), []
    subject.report = lines.append
    for draws in (1, 19):
        with pytest.raises(UserError, match=f"^{option}={draws}: .*at least 20"):
            build(**{option: draws})(subject)
        with pytest.raises(UserError, match=f"^{option}={draws}: .*at least 20"):
            build(**{option: draws}).estimate(subject)
        build(**{option: draws}, images=2, initial="fixed")(subject_of(noisy))
    assert lines == []


def test_a_large_ball_breaks_every_image(cnn, subject_of):
    result = build(eps=0.5, attacks=[CE | {"iterations": 20}, SQUARE])(subject_of(cnn))
    assert result.metrics["robust_accuracy"].value == 0.0
    assert all(result.per_image["broken_by"])


def test_robust_accuracy_is_what_the_stored_union_scores_when_nothing_is_random(cnn, subject_of, digits):
    """From the result alone: the network is asked about the stored images again."""
    subject = subject_of(cnn)
    result = build(store=40, attacks=[CE, DLR, SQUARE])(subject)
    stored = load_file(subject.run_dir / "results" / "images" / "robustness.safetensors")
    broken = [by not in (None, "clean") for by in result.per_image["broken_by"]]
    clean_wrong = [by == "clean" for by in result.per_image["broken_by"]]
    assert 0 < sum(broken) < 40
    logits = Classifier(*cnn)(stored["adversarial"])
    assert bool((logits.argmax(1) != stored["labels"]).all())
    assert torch.equal(logits.argmax(1), stored["prediction"])
    assert len(stored["labels"]) == sum(broken)
    assert result.metrics["robust_accuracy"].value == pytest.approx(1 - (sum(broken) + sum(clean_wrong)) / 40)
    clean = digits["test"].images[stored["index"]] / 255
    assert torch.equal(stored["clean"], clean)
    Threat("linf", 0.05).check(stored["adversarial"], clean, "stored")


def test_stored_images_are_broken_ones_and_no_more_than_asked_for(noisy, subject_of):
    subject = subject_of(noisy)
    ways = {"as-published": {"initial": "random"}, "held": {"initial": "fixed"}}
    subject.file = "mine"
    result = build(store=3, ways=ways)(subject)
    for name in ways:
        stored = load_file(subject.run_dir / "results" / "images" / f"mine-{name}.safetensors")
        assert set(stored) == {"index", "labels", "clean", "adversarial", "prediction"}
        assert len(stored["index"]) == 3
        at = [result.per_image["index"].index(int(i)) for i in stored["index"]]
        assert all(result.per_image[f"{name}/broken_by"][i] in ("apgd-ce", "square") for i in at)
        Threat("linf", 0.05).check(stored["adversarial"], stored["clean"], name)
        assert bool((stored["adversarial"] != stored["clean"]).flatten(1).any(dim=1).all())
    assert build(store=0)(subject_of(noisy)).metrics
    nothing = subject_of(noisy)
    nothing.file = "nothing"
    build(store=5, eps=0)(nothing)
    assert len(load_file(nothing.run_dir / "results" / "images" / "nothing.safetensors")["index"]) == 0


def test_three_ways_are_one_result(noisy, subject_of):
    ways = {
        "published": {"initial": "random", "decided_by": "one draw"},
        "fixed": {"initial": "fixed"},
        "eot": {"initial": "random", "attacks": [CE | {"eot_iter": 4}, DLR | {"eot_iter": 4}]},
    }
    result = build(ways=ways)(subject_of(noisy))
    assert {name.split("/")[0] for name in result.metrics} == {*ways, "union"}
    assert result.metrics["fixed/robust_accuracy"].draws == 1
    assert result.metrics["eot/robust_accuracy"].draws == 20
    assert len(result.per_image["index"]) == len(result.per_image["eot/correct"]) == 40
    assert result.initial == "random+fixed"
    assert set(result.details) == set(ways)
    # noise protects against attacks that take the network for deterministic
    robust = {name: result.metrics[f"{name}/robust_accuracy"].value for name in (*ways, "union")}
    assert robust["fixed"] < robust["published"]
    assert robust["eot"] < robust["published"]
    assert robust["union"] <= robust["eot"] + 0.02, "the union of the readings, on the network of the first"
    assert set(result.per_image["union/found_by"]) <= set(ways)
    assert sum(result.per_image["union/correct"]) / 40 == pytest.approx(robust["union"], abs=1e-6)


def test_the_union_of_ways_of_a_deterministic_network_is_the_union_of_attacks(cnn, subject_of):
    ways = {"one": {"attacks": [CE]}, "two": {"attacks": [DLR]}, "three": {"attacks": [SQUARE]}}
    result = build(ways=ways)(subject_of(cnn))
    each = [result.per_image[f"{name}/correct"] for name in ways]
    assert result.per_image["union/correct"] == [min(shares) for shares in zip(*each, strict=True)]
    alone = min(result.metrics[f"{name}/robust_accuracy"].value for name in ways)
    assert result.metrics["union/robust_accuracy"].value <= alone


def test_the_union_keeps_to_one_threat_model(cnn, subject_of):
    ways = {"published": {"eps": 0.01}, "wide": {"eps": 0.2}, "long": {"norm": "l2", "eps": 3.0}}
    result = build(ways=ways)(subject_of(cnn))
    assert result.metrics["wide/robust_accuracy"].value == 0.0
    assert silent(result.metrics["union/robust_accuracy"]) == silent(result.metrics["published/robust_accuracy"])
    readings = [result.metrics[f"{name}/robust_accuracy"].reading for name in ("published", "union")]
    assert readings == ["as published", None], "what leaves readings out is no union of them"
    assert "union: over readings with linf, eps 0.01 only, not over wide, long, which have" in " ".join(result.notes)


def test_ways_of_a_deterministic_network_are_measured_once(cnn, subject_of):
    ways = {"published": {"initial": "random"}, "fixed": {"initial": "fixed"}, "per": {"initial": "fixed_per_image"}}
    subject, lines = subject_of(cnn), []
    subject.report = lambda line: lines.append(line) if ": chunk " in line else None
    result = build(ways=ways, ledger=None, attacks=[CE])(subject)
    robust = [result.metrics[f"{name}/robust_accuracy"] for name in ways]
    assert silent(robust[0]) == silent(robust[1])
    assert [metric.reading for metric in robust] == ["as published", "fixed", None], "each reading states its own"
    assert result.per_image["published/broken_by"] == result.per_image["per/broken_by"]
    assert sum("identical to published, since the network is deterministic" in note for note in result.notes) == 2
    assert len(lines) == 1
    assert result.initial == "deterministic"


def test_one_state_an_image_is_kept_through_attack_and_score(noisy, subject_of):
    subject = subject_of(noisy)
    result = build(initial="fixed_per_image", chunk=9, store=40)(subject)
    stored = load_file(subject.run_dir / "results" / "images" / "robustness.safetensors")
    classifier = Classifier(*noisy, "fixed_per_image", seed=subject.seed).at(stored["index"])
    assert bool((classifier(stored["adversarial"]).argmax(1) != stored["labels"]).all())
    assert bool((classifier(stored["clean"]).argmax(1) == stored["labels"]).all())
    assert {metric.draws for metric in result.metrics.values()} == {1}
    assert 0 < result.metrics["robust_accuracy"].value < result.metrics["clean_accuracy"].value
    other = build(initial="fixed_per_image", chunk=40, attacks=[few("gaussian")])(subject_of(noisy))
    assert other.per_image["clean_correct"] == result.per_image["clean_correct"], "whatever the chunks are"


def test_a_ball_in_l2_is_another_measurement(cnn, subject_of):
    subject = subject_of(cnn)
    result = build(norm="l2", eps=0.5, store=40)(subject)
    stored = load_file(subject.run_dir / "results" / "images" / "robustness.safetensors")
    lengths = (stored["adversarial"] - stored["clean"]).flatten(1).norm(dim=1)
    assert 0.45 < float(lengths.max()) <= 0.5 + 1e-6
    assert float((stored["adversarial"] - stored["clean"]).abs().max()) > 0.05
    assert result.details["threat"] == "l2, eps 0.5"


def test_the_quick_file_runs_on_a_small_network(noisy, subject_of):
    few_steps = [f"ways.{name}.attacks[{i}].iterations=2" for name in ("published", "fixed", "eot") for i in (0, 1)]
    few_steps += [f"ways.{name}.attacks[2].queries=5" for name in ("published", "fixed")]
    few_steps += [f"ways.held.attacks[0].{item}" for item in ("iterations=2", "k=2", "max_k=2")]
    loaded = load_protocol("robustness-quick", ["images=8", "select_draws=20", *few_steps])
    result = loaded.measure(subject_of(noisy))
    assert {name for name in result.metrics if name.endswith("/robust_accuracy")} == {
        f"{name}/robust_accuracy" for name in ("published", "fixed", "eot", "held", "union")
    }


def test_the_result_file_can_be_read_by_anyone(noisy, subject_of):
    ways = {"published": {"initial": "random"}, "fixed": {"initial": "fixed"}}
    loaded = load_protocol("robustness", ["attacks=[gaussian]", f"ways={json.dumps(ways)}", "images=6"])
    _, path = evaluate(subject_of(noisy), loaded, {"torch": torch.__version__})
    written = json.loads(path.read_text())
    assert written["details"]["fixed"]["threat"] == "linf, eps 8/255"
    assert set(written["details"]["published"]["standing_after"]) == {"gaussian"}
    assert set(written["per_image"]["published/broken_by"]) <= {None, "clean", "gaussian"}
    assert written["options"]["ways"] == ways


def test_the_same_images_are_attacked_in_every_run(cnn, noisy, subject_of):
    first = build(eps=0, attacks=[SQUARE])(subject_of(cnn, seed=0)).per_image["index"]
    second = build(eps=0, attacks=[SQUARE])(subject_of(noisy, seed=5)).per_image["index"]
    assert first == second
    assert len(set(first)) == 40
    assert build(eps=0, attacks=[SQUARE], images=None)(subject_of(cnn)).per_image["index"] == list(range(360))


def test_robust_accuracy_repeats_exactly(noisy, subject_of, tmp_path):
    first, second = (build(ledger=str(tmp_path / name))(subject_of(noisy)) for name in "ab")
    assert first.metrics == second.metrics
    assert first.per_image == second.per_image
    assert first.notes == second.notes


def test_forwards_of_the_subjects_batch_size_do_not_matter(noisy, subject_of, tmp_path):
    runs = [build(ledger=str(tmp_path / str(n)))(subject_of(noisy, batch_size=n)) for n in (7, 100)]
    assert runs[0].per_image == runs[1].per_image


def test_a_run_without_a_classifier_says_what_to_do(cnn, subject_of):
    for act in (build(), build().check):
        with pytest.raises(UserError, match=r"robustness needs a classifier: .*an encoder only; finetune it first"):
            act(subject_of((cnn[0], None)))


def test_more_images_than_there_are_is_refused(cnn, subject_of):
    with pytest.raises(UserError, match=r"images=361: data 'digits', split 'test', has only 360"):
        build(images=361)(subject_of(cnn))


def test_images_without_labels_are_refused(cnn, subject_of, some_set):
    bare = some_set(12, labelled=False)
    with pytest.raises(UserError, match="robustness needs labels: data 'random', split 'test', has none"):
        build()(subject_of(cnn, data=lambda split: bare))


def test_a_network_that_returns_probabilities_is_refused(cnn, subject_of):
    encoder, head = cnn

    class Soft(torch.nn.Linear):
        def forward(self, features):
            return super().forward(features).softmax(dim=1)

    soft = Soft(24, 10)
    soft.load_state_dict(head.state_dict())
    with pytest.raises(UserError, match="the classifier returns probabilities: attacks need its logits"):
        build()(subject_of((encoder, soft)))


@pytest.mark.parametrize(
    ("classes", "words"),
    [(6, "apgd-t: 5 target classes in place of 9: there are 6 classes"), (3, "apgd-t skipped: its loss needs 4")],
)
def test_few_classes_are_noted(cnn, subject_of, some_set, classes, words):
    images = some_set(12, classes=classes)
    network = (cnn[0], torch.nn.Linear(24, classes))
    attacks = [{"name": "autoattack", "member": "apgd-t", "iterations": 2}, SQUARE]
    subject = subject_of(network, data=lambda split: images)
    result = build(attacks=attacks, images=None, eps=0.1)(subject)
    assert any(words in note for note in result.notes), result.notes


def test_attacks_that_two_classes_cannot_carry_leave_nothing(cnn, subject_of, some_set):
    two = some_set(12, classes=2)
    subject, lines = subject_of((cnn[0], torch.nn.Linear(24, 2)), data=lambda split: two), []
    subject.report = lines.append
    with pytest.raises(
        UserError, match="no attack can be run: apgd-dlr skipped: its loss needs 3 classes, there are 2"
    ):
        build(attacks=[DLR], images=None)(subject)
    with pytest.raises(UserError, match="no attack can be run"):
        build(images=None, ways={"one": {"attacks": [SQUARE]}, "two": {"attacks": [DLR]}})(subject)
    assert lines == [], "it is said before the first reading has taken hours"


def test_data_are_not_read_for_a_network_that_cannot_be_attacked(cnn, subject_of):
    with pytest.raises(UserError, match="finetune it first"):
        build()(subject_of((cnn[0], None), data=lambda split: pytest.fail("data were read")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"eps=8: .*did you mean 8/255\?"),
        ({"eps": 8.0}, r"eps=8: .*did you mean 8/255\?"),
        ({"eps": "8"}, "must be a number or a fraction"),
        ({"eps": -0.1}, "must be a finite number >= 0"),
        ({"norm": "l1"}, "protocol.norm='l1'.*'linf' or 'l2'"),
        ({"initial": "frozen"}, "'random', 'fixed', 'fixed_per_image' or 'averaged'"),
        ({"decided_by": "two draws"}, "'one draw' or 'majority'"),
        ({"attacks": []}, "attacks: name at least one"),
        ({"attacks": None}, "attacks: name at least one"),
        ({"attacks": ["pdg"]}, "unknown attack 'pdg': did you mean 'pgd'?"),
        ({"attacks": ["apgd-ce"]}, "unknown attack 'apgd-ce': did you mean 'apgd'?"),
        ({"attacks": [{"iterations": 3}]}, r"attacks\[0\]=\{'iterations': 3\}: needs the key 'name', one of "),
        ({"attacks": [{"name": "pgd", "steps": 3}]}, "unknown key of attack pgd 'steps'"),
        ({"attacks": [{"name": "pgd", "iterations": "many"}]}, "attack.iterations='many'"),
        ({"attacks": [CE, CE]}, "two have the label 'apgd-ce'; give one of them another label"),
        ({"attacks": [CE | {"iterations": 0}]}, "iterations=0: must be >= 1"),
        ({"images": 0}, "images=0: must be >= 1"),
        ({"chunk": 0}, "chunk=0: must be >= 1"),
        ({"average": 0}, "average=0: must be >= 1"),
        ({"draws": 0}, "draws=0: must be >= 1"),
        ({"control": -1}, "control=-1: must be >= 0"),
        ({"store": -1}, "store=-1: must be >= 0"),
        ({"version": "standard"}, "unknown key of protocol robustness 'version'"),
        ({"ways": {"a": {"epsilon": 1}}}, "ways.a: unknown key of protocol robustness 'epsilon'"),
        ({"ways": {"a": {"images": 3}}}, "ways.a: images must be the same for all of them"),
        ({"ways": {"a": {"ledger": "x"}}}, "ways.a: ledger must be the same for all of them"),
        ({"ways": {"a": {"ways": {}}}}, "ways.a: ways must be the same for all of them"),
        ({"ways": {"a": {"eps": 8}}}, r"ways.a: eps=8: .*did you mean 8/255\?"),
        ({"ways": {"a": {"attacks": ["pdg"]}}}, "ways.a: unknown attack 'pdg'"),
        ({"ways": {"union": {}}}, "ways.union: is the name of the union over all of them"),
    ],
)
def test_bad_options_are_named_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        build(**options)
    assert "\n" not in str(caught.value)


def test_ways_may_bring_all_the_attacks():
    protocol = PROTOCOLS.build("robustness", {"ways": {"a": {"attacks": ["gaussian"]}, "b": {"attacks": ["pgd"]}}})
    assert isinstance(protocol, Robustness)
    with pytest.raises(UserError, match=r"ways\.b: attacks: name at least one"):
        PROTOCOLS.build("robustness", {"ways": {"a": {"attacks": ["gaussian"]}, "b": {}}})
