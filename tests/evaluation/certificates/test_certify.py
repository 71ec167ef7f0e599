"""The protocol ``certify``: its numbers, its bracket, that it resumes, and what it refuses."""

import json
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from linear_network import Linear, classifier_of, some_images

from sslkuramoto.any_network import Logits
from sslkuramoto.attacks.counting import counted as counted_passes
from sslkuramoto.classifier import Classifier
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS, evaluate, load_protocol
from sslkuramoto.evaluation.certificates.bound import Plan
from sslkuramoto.evaluation.certificates.bracket import Bracket
from sslkuramoto.evaluation.certificates.protocol import Certify
from sslkuramoto.evaluation.certificates.scores import scored
from sslkuramoto.evaluation.certificates.smoothed import Smoothed, smoothed
from sslkuramoto.study import load_study
from sslkuramoto.study.table import value_of

QUICK = {
    "sigma": [0.2],
    "n0": 30,
    "n": 200,
    "radii": [0.1, 0.3],
    "images": 12,
    "chunk": 5,
    "draws": 100,
    "select_draws": 20,
    "attacks": [{"name": "pgd", "k": 4, "iterations": 4, "loss": "log_margin", "noise": "held"}],
}


def build(**options) -> Certify:
    protocol = PROTOCOLS.build("certify", {**QUICK, **options})
    assert isinstance(protocol, Certify)
    return protocol


@pytest.mark.parametrize("network", ["cnn", "noisy"])
@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_the_bracket_is_never_crossed_and_both_ends_fall_with_the_radius(network, sigma, subject_of, request) -> None:
    result = build(sigma=[sigma], radii=[0.05, 0.1, 0.15])(subject_of(request.getfixturevalue(network)))
    per_image, values = result.per_image, {name: metric.value for name, metric in result.metrics.items()}
    before = None
    for radius in ("0", "0.05", "0.1", "0.15"):
        ends = per_image[f"certified_correct_{radius}"], per_image[f"attacked_correct_{radius}"]
        assert all(low <= high for low, high in zip(*ends, strict=True)), radius
        assert values[f"certified_accuracy_{radius}"] <= values[f"attacked_accuracy_{radius}"]
        if before:
            assert all(
                now <= then for end, old in zip(ends, before, strict=True) for now, then in zip(end, old, strict=True)
            )
        before = ends
    assert result.details["brackets"][0]["void"] == ""
    assert values["smoothed_accuracy"] > 0.5
    assert values["smoothed_accuracy"] == fmean(per_image["smoothed_correct"])  # of the vote
    shares = [share > 0.5 for share in per_image["correct"]]
    assert all(led >= most for led, most in zip(per_image["smoothed_correct"], shares, strict=True))
    assert {metric.reading for metric in result.metrics.values()} == {None}, "no column of robust accuracy takes them"


def test_a_linear_network_is_attacked_beyond_its_distance_and_certified_within_it() -> None:
    """The bracket closes on the exact robust accuracy: both ends lie on their own side of the known distance."""
    linear, sigma = Linear(), 0.3
    linear.threshold = float(linear.margin(torch.full((1, 3, 3, 3), 0.5)))  # images on both sides
    images = some_images(24)
    labels = (linear.margin(images) > 0).long()
    distances = (linear.margin(images).abs() / linear.weights.norm()).tolist()
    plan = Plan(sigma, n0=200, n=2000, alpha=0.001, stages=1, target=9.0)
    bracket = Bracket(smoothed(classifier_of(linear), sigma), images, labels, torch.arange(24), plan, 2000, 24, 500)
    radii = [0.05, 0.1, 0.2, 0.4, 0.8]
    attacks = build(attacks=[{"name": "held_noise", "k": 8, "max_k": 8, "iterations": 20}]).attacks
    at, worst = bracket.attacked(radii, attacks, 20, lambda radius, index: None)
    certificates = bracket.certificates()
    assert bracket.examined(certificates, at, worst) == ([], [])
    found = 0
    for certificate, reached, distance in zip(certificates, at, distances, strict=True):
        assert certificate.radius <= distance
        assert reached is None or reached >= distance
        if min(abs(distance - radius) for radius in radii) > 0.03:  # a vote tells the two sides apart
            expected = next((radius for radius in radii if radius > distance), None)
            found += reached == expected and reached is not None
    assert found >= 8, "the attack finds the boundary"
    assert torch.all((worst - images).flatten(1).norm(dim=1) <= 0.8 + 1e-5)


class TwoFaced(Encoder):
    """It answers 1 to passes of one image repeated, as a certificate asks, and 0 to every other pass.

    So its certificates say 1 everywhere and its attacks find 0: what the void rule is for.
    """

    gives = "logits"

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 2

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        certified = len(images) == 25
        answer = torch.tensor([0.0, 5.0] if certified else [5.0, 0.0]) + 0 * images.mean((1, 2, 3))[:, None]
        return Features(answer, answer[:, :, None, None])


def two_faced(n: int = 4, **changed) -> tuple[Bracket, list]:
    """Return a bracket whose certificates are made by passes of 25 images, and its attacks by others."""
    classifier = smoothed(Classifier(TwoFaced(), Logits(2)), 0.2)
    plan = Plan(0.2, n0=25, n=100, alpha=0.001, stages=1, target=9.0)
    parts = some_images(n), torch.ones(n).long(), torch.arange(n)
    bracket = Bracket(classifier, *parts, plan, changed.pop("draws", 60), n, 25)
    return bracket, build(attacks=[{"name": "pgd", "k": 2, "iterations": 1}]).attacks


def test_a_planted_contradiction_makes_the_result_void(monkeypatch) -> None:
    bracket, attacks = two_faced()
    certificates = bracket.certificates()
    assert all(each.holds_at(0.1, 1) for each in certificates)
    other = Bracket(**{**vars(bracket), "batch": 7})  # candidates are judged by passes of another size
    monkeypatch.setattr(Bracket, "confirmed", lambda self, *key: _CONFIRMED(other, *key))
    at, worst = bracket.attacked([0.1], attacks, 20, lambda radius, index: None)
    assert at == [0.0] * 4, "each image itself is answered wrongly"
    crossed = bracket.examined(certificates, at, worst)
    assert crossed == ([0, 1, 2, 3], [])
    found = scored(bracket.plan, certificates, at, torch.ones(4).long(), [0.1], "", 60, crossed, [])
    assert found.details["void"].startswith(
        "void at sigma 0.2: a certificate and an attack contradict one another on 4"
    )
    assert found.lines == [found.details["void"]]
    assert found.verdicts == []
    assert all(metric.value != metric.value for metric in found.metrics.values()), "no number is left"


_CONFIRMED = Bracket.confirmed


class OfTheBatch(Linear):
    """It answers for the mean of a large batch, as a network with statistics of the batch does.

    Many noisy copies of one image have hardly any noise in their mean. Their answers agree, and prove nothing. In
    batches of a few images it answers each alone, so that the first look does not find it.
    """

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        if len(images) < 20:
            return super().forward(images)
        return super().forward(images.mean(dim=0, keepdim=True).expand(len(images), -1, -1, -1))


def test_a_network_whose_answers_depend_on_a_large_batch_is_found_by_its_contradiction(subject_of, tmp_path) -> None:
    linear = OfTheBatch(side=8)
    pixels = (255 * some_images(80, side=8)).round().to(torch.uint8)
    linear.threshold = float(linear.margin(pixels / 255).median())
    near = linear.margin(pixels / 255) / linear.weights.norm()
    chosen = pixels[(near > 0.02) & (near < 0.2)][:3]
    assert len(chosen) == 3
    images = MemorySet("near", "test", ("no", "yes"), torch.ones(3).long(), 8, "near", chosen)
    subject = subject_of((linear, Logits(2)), data=lambda split: images)
    attacks = [{"name": "held_noise", "k": 16, "max_k": 16, "iterations": 10}]
    result = build(images=3, chunk=1, batch=100, radii=[0.3], attacks=attacks)(subject)
    assert any(note.startswith("void at sigma 0.2: a certificate and an attack contradict") for note in result.notes)
    assert not result.verdicts
    assert all(metric.value != metric.value for metric in result.metrics.values())
    result.write(tmp_path / "certify.json")
    column = load_study("certified-digits").columns["certified_02"]
    with pytest.raises(UserError, match=r"certify\.json: void at sigma 0\.2: a certificate and an attack contradict"):
        value_of(tmp_path / "certify.json", replace(column, metric="certified_accuracy_0.3"), 0)
    honest = Linear(side=8, threshold=linear.threshold), Logits(2)
    subject = subject_of(honest, data=lambda split: images, run_dir=tmp_path / "honest")
    result = build(images=3, chunk=1, batch=100, radii=[0.3], attacks=attacks)(subject)
    assert result.details["brackets"][0]["void"] == ""


def test_a_crossing_that_fresh_draws_do_not_confirm_widens_the_bracket() -> None:
    bracket, _ = two_faced()
    certificates = bracket.certificates()
    at: list[float | None] = [None, 0.1, None, None]  # an attack that was confirmed by luck
    again, gone = bracket.examined(certificates, at, bracket.images)
    assert (again, gone) == ([], [1])
    assert at == [None] * 4, "the attack is given up"
    assert all(each.holds_at(0.1, 1) for each in certificates), "and the certificate, found again, is not"


def test_a_certificate_that_fresh_draws_do_not_confirm_is_given_up(monkeypatch) -> None:
    bracket, _ = two_faced()
    lucky = bracket.certificates()
    unlucky = bracket.plan.of(1, torch.tensor([50, 50, 0]))
    monkeypatch.setattr(Bracket, "certificate", lambda self, row, *again: unlucky)
    monkeypatch.setattr(Bracket, "confirmed", lambda self, *key: True)
    at: list[float | None] = [0.1, None, None, None]
    assert bracket.examined(lucky, at, bracket.images) == ([], [0])
    assert lucky[0].abstains
    assert at[0] == 0.1


def test_a_command_that_was_killed_resumes_and_gives_the_same_numbers(noisy, subject_of, tmp_path, monkeypatch) -> None:
    whole = build()(subject_of(noisy, run_dir=tmp_path / "whole"))
    calls, forward = [0], Smoothed.forward

    def counted(self, *given, **options):
        calls[0] += 1
        return forward(self, *given, **options)

    monkeypatch.setattr(Smoothed, "forward", counted)
    build()(subject_of(noisy, run_dir=tmp_path / "counted"))
    needed = calls[0]

    for share in (0.3, 0.9):
        stop = int(share * needed)

        def killed(self, *given, stop=stop, **options):
            calls[0] += 1
            if calls[0] == stop:
                raise KeyboardInterrupt
            return forward(self, *given, **options)

        calls[0] = 0
        monkeypatch.setattr(Smoothed, "forward", killed)
        subject = subject_of(noisy, run_dir=tmp_path / f"killed{share}")
        with pytest.raises(KeyboardInterrupt):
            build()(subject)
        monkeypatch.setattr(Smoothed, "forward", counted)
        calls[0] = 0
        again = build()(subject)
        assert json.dumps(again.to_dict()) == json.dumps(whole.to_dict())
        assert calls[0] < needed
    calls[0] = 0
    build()(subject)
    looks = len(QUICK["radii"]) + 3  # each battery's at the first chunk, and three at images in other company
    assert calls[0] <= looks, "all else is in the ledger"


def test_the_certificate_of_an_image_depends_neither_on_the_chunk_nor_on_the_other_images(noisy, subject_of) -> None:
    """Its draws are keyed by its place in the data set."""
    subject = subject_of(noisy)
    first, other = (build(attacks=[], images=12, chunk=chunk)(subject) for chunk in (5, 12))
    assert first.per_image == other.per_image


def test_several_sigma_are_networks_of_their_own_with_names_of_their_own(cnn, subject_of) -> None:
    subject = subject_of(cnn)
    both = build(sigma=[0.1, 0.2], radii=[0.1], attacks=[])(subject)
    for sigma in (0.1, 0.2):
        alone = build(sigma=[sigma], radii=[0.1], attacks=[])(subject)
        for name, metric in alone.metrics.items():
            assert both.metrics[f"sigma_{sigma:g}/{name}"] == metric
    assert len(both.details["brackets"]) == 2


def test_a_radius_that_one_sigma_cannot_show_has_no_number_there_and_a_note(cnn, subject_of) -> None:
    result = build(sigma=[0.05, 0.2], radii=[0.1, 0.3], attacks=[])(subject_of(cnn))
    assert "sigma_0.2/certified_accuracy_0.3" in result.metrics
    assert "sigma_0.05/certified_accuracy_0.3" not in result.metrics
    assert any("sigma 0.05 shows at most" in note and "no number at 0.1, 0.3" in note for note in result.notes)


def test_the_line_of_the_bracket_says_both_ends_the_radius_and_the_noise(cnn, subject_of) -> None:
    lines: list[str] = []
    result = build()(subject_of(cnn, report=lines.append))
    low, high = (100 * result.metrics[f"{end}_accuracy_0.1"].value for end in ("certified", "attacked"))
    line = f"between {low:.1f} and {high:.1f} % at l2 0.1, sigma 0.2 (12 images, n 200, alpha 0.001)"
    assert line in result.notes
    assert line in lines


def test_without_attacks_there_is_a_certificate_and_no_bracket(cnn, subject_of) -> None:
    result = build(attacks=[])(subject_of(cnn))
    assert "certified_accuracy_0.1" in result.metrics
    assert not [name for name in result.metrics if name.startswith("attacked")]
    assert result.details["brackets"][0]["lines"] == []
    assert set(result.details["brackets"][0]["attacked"]) == {None}
    assert not any("not finite" in note for note in result.to_dict()["notes"])


def test_the_estimate_is_an_upper_bound_of_the_passes_that_are_made(noisy, subject_of, monkeypatch) -> None:
    subject = subject_of(noisy)
    protocol = build(stages=2, images=6)
    ((_, cost),) = protocol.estimate(subject)
    made, forward = [0], Smoothed.forward

    def counted(self, images, **options):
        made[0] += len(images)
        return forward(self, images, **options)

    monkeypatch.setattr(Smoothed, "forward", counted)
    protocol(subject)
    assert 0 < made[0] <= cost.forward + cost.backward
    assert cost.passes["certificates"].forward == 6 * 230


@pytest.mark.parametrize("name", ["cnn", "noisy"])
@pytest.mark.parametrize("images", [1, 6])
def test_certificates_alone_take_what_the_estimate_says(request, subject_of, name, images) -> None:
    subject = subject_of(request.getfixturevalue(name))
    protocol = build(images=images, attacks=[], stages=1)
    ((_, cost),) = protocol.estimate(subject)
    with counted_passes(subject.encoder) as count:
        protocol(subject)
    assert count.all <= cost.forward <= count.all + 2 * images, "a deterministic network is looked at twice more"


def test_fixed_oscillators_are_a_base_classifier_of_their_own(noisy, subject_of) -> None:
    subject = subject_of(noisy)
    random, fixed = (build(initial=initial, attacks=[])(subject) for initial in ("random", "fixed"))
    assert (random.initial, fixed.initial) == ("random", "fixed")
    assert random.per_image["correct"] != fixed.per_image["correct"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sigma": [0.0]}, "sigma"),
        ({"sigma": [-0.1]}, "sigma"),
        ({"sigma": []}, "sigma=[]: must name at least one"),
        ({"sigma": [0.2, 0.2]}, "two are shown as the same number"),
        ({"radii": []}, "radii=[]: must name at least one"),
        ({"radii": [0.0]}, "radii"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": 1.0}, "alpha=1.0"),
        ({"n": 20}, "n=20: must be at least n0=30"),
        ({"n": 0}, "n=0"),
        ({"stages": 0}, "stages=0"),
        ({"radii": [0.1, 0.9]}, "radii=0.9: n=200 draws at alpha=0.001 show at most"),
        ({"n": 40, "n0": 30, "alpha": 1e-9, "radii": [0.2]}, "show at most"),
        ({"draws": 20, "alpha": 1e-7, "radii": [0.1]}, "draws=20: no vote of so few confirms"),
        ({"attacks": ["nothing"]}, "nothing"),
        ({"initial": "averaged"}, "initial='averaged'"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, said) -> None:
    with pytest.raises(UserError) as error:
        build(**options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_result_is_written_and_read_with_all_its_lists(cnn, subject_of, tmp_path) -> None:
    subject = subject_of(cnn, run_dir=tmp_path / "run")
    loaded = load_protocol("certify-quick", [f"{key}={json.dumps(value)}" for key, value in QUICK.items()])
    result, path = evaluate(subject, loaded, {"python": "test"})
    written = json.loads(path.read_text())
    for name in ("class", "lower", "radius", "draws", "correct", "certified_correct_0.3", "attacked_correct_0.3"):
        assert len(written["per_image"][name]) == 12
    assert {*written["verdicts"]} >= {"correct", "certified_correct_0.1", "attacked_correct_0.1"}
    assert result.metrics["mean_certified_radius"].unit == "pixels"


def test_a_ledger_of_other_options_is_not_used(cnn, subject_of) -> None:
    subject = subject_of(cnn)
    few = build(attacks=[], n=100, radii=[0.1])(subject)
    many = build(attacks=[], n=200, radii=[0.1])(subject)
    assert set(few.per_image["draws"]) == {100}
    assert set(many.per_image["draws"]) == {200}
