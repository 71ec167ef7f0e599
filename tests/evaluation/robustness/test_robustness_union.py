"""The headline of several readings: all candidates compete on the same draws, which are not those that score."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sslkuramoto.attacks.worst_candidate import AGAIN, SELECT
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.protocol import described
from sslkuramoto.evaluation.robustness import union
from sslkuramoto.evaluation.robustness.built_reading import BuiltReading
from sslkuramoto.results import Metric
from sslkuramoto.threat import Threat

CE = {"name": "autoattack", "member": "apgd-ce", "iterations": 6}
SQUARE = {"name": "autoattack", "member": "square", "queries": 20}
QUICK = {"images": 40, "eps": 0.05, "select_draws": 20, "control": 0, "chunk": 40}
WAYS = {
    "published": {"initial": "random", "decided_by": "one draw", "attacks": [CE, SQUARE]},
    "fixed": {"initial": "fixed", "attacks": [CE]},
    "eot": {"initial": "random", "attacks": [CE | {"eot_iter": 4}, "gaussian"]},
}


def build(**options):
    return PROTOCOLS.build("robustness", {**QUICK, **options})


class Chance(Encoder):
    """Its answer hangs on the image's smallest changes and on the noise, and has nothing to do with either."""

    stochastic = True

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 2
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        if initial is None:
            assert draw is not None
            initial = self.sample_initial(images, draw)
        weights = torch.linspace(1e3, 2e3, images[0].numel(), dtype=torch.float64)
        phase = images.double().flatten(1) @ weights * (1 + initial.double().flatten()) + self.unused.double()
        answer = torch.cos(phase).float()
        return Features(torch.stack([answer, -answer], dim=1), images)

    def sample_initial(self, images, draw):
        return torch.rand(len(images), 1, 1, 1, generator=draw)


def test_what_is_right_by_chance_stays_a_half_however_many_candidates_compete(subject_of, some_set):
    """Chosen on the draws that score, the lowest of 8 candidates over 20 draws would leave about a third."""
    data = some_set(60, classes=2)
    head = nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
        head.bias.zero_()
    samples = [{"name": "gaussian", "label": f"sample-{n}", "samples": n + 1, "draws": 1} for n in range(8)]
    ways = {"one": {"attacks": samples[:4]}, "two": {"attacks": samples[4:]}}
    result = build(images=None, chunk=60, chained=False, ways=ways)(
        subject_of((Chance(), head), data=lambda split: data)
    )
    found = result.metrics["union/robust_accuracy"]
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert (found.n, found.draws) == (60, 20)


def test_the_candidates_of_every_attack_of_every_way_compete_on_the_same_draws(noisy, subject_of, monkeypatch):
    asked, own = [], BuiltReading.predictions

    def recorded(self, candidates, index, draws=None, purpose="score"):
        asked.append((self.classifier.mode, purpose, candidates))
        return own(self, candidates, index, draws, purpose)

    monkeypatch.setattr(BuiltReading, "predictions", recorded)
    result = build(ways=WAYS)(subject_of(noisy))
    selecting = [(mode, images) for mode, purpose, images in asked if purpose == SELECT]
    assert len(selecting) == 5, "one set an attack"
    assert {mode for mode, _ in selecting} == {"random"}, "on the network of the first reading"
    again = [images for _, purpose, images in asked if purpose == AGAIN]
    assert len(again) == 5
    assert asked[-1][1] == "score"
    for image, label in zip(asked[-1][2], result.per_image["union/found_by"], strict=True):
        assert label in WAYS
        assert any(torch.equal(image, one) for images in again for one in images), "a finalist"
    assert set(result.per_image["union/found_by"]) == {*WAYS}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_union_lies_above_no_way_of_the_same_network_by_more_than_chance(noisy, subject_of, seed):
    result = build(ways=WAYS)(subject_of(noisy, seed=seed))
    value = {name: result.metrics[f"{name}/robust_accuracy"].value for name in (*WAYS, "union")}
    assert value["union"] <= min(value["published"], value["eot"]) + 0.005
    above = [name for name in ("published", "eot") if value["union"] > value[name] + 1e-9]
    said = [note.split(" points above ")[1].split(",")[0] for note in result.notes if " points above " in note]
    assert said == above


def test_a_union_above_a_way_is_said(noisy, subject_of, monkeypatch):
    own = union.worst_of

    def worse(candidates, share_right, **options):
        found = own(candidates[:1], share_right, **options)
        return found._replace(images=candidates[0])

    monkeypatch.setattr(union, "worst_of", worse)
    ways = {"weak": {"attacks": ["gaussian"]}, "strong": {"attacks": [CE]}}
    result = build(ways=ways)(subject_of(noisy))
    gap = result.metrics["union/robust_accuracy"].value - result.metrics["strong/robust_accuracy"].value
    assert gap > 0
    assert any(note.startswith(f"union: {100 * gap:.2f} points above strong, by chance") for note in result.notes)


def test_a_union_above_a_way_of_the_same_network_says_so(noisy, subject_of):
    starts = {"held": {}, "eot": {}, "fixed": {"initial": "fixed"}, "averaged": {"initial": "averaged"}}
    protocol, subject = (
        build(ways={name: start | {"attacks": ["gaussian"]} for name, start in starts.items()}),
        subject_of(noisy),
    )
    chosen = protocol._chosen(subject)
    ways = protocol._ready(subject, chosen, described(chosen.images, len(chosen.index)))
    shares = {"held": 0.41, "eot": 0.9, "fixed": 0.1, "averaged": 0.2, "union": 0.4125}
    metrics = {f"{name}/robust_accuracy": Metric(share, n=40, draws=20) for name, share in shares.items()}
    (note,) = union.above(metrics, ways, ways[0])
    assert note.startswith("union: 0.25 points above held, by chance")
    metrics["union/robust_accuracy"] = metrics["held/robust_accuracy"]
    assert union.above(metrics, ways, ways[0]) == []


def test_what_the_union_met_is_stored_beside_the_ways(noisy, subject_of):
    subject = subject_of(noisy)
    subject.file = "mine"
    result = build(ways=WAYS, store=3)(subject)
    folder = subject.run_dir / "results" / "images"
    assert {path.name for path in folder.iterdir()} == {f"mine-{name}.safetensors" for name in (*WAYS, "union")}
    stored = load_file(folder / "mine-union.safetensors")
    assert len(stored["index"]) == 3
    Threat("linf", 0.05).check(stored["adversarial"], stored["clean"], "union")
    at = [result.per_image["index"].index(int(i)) for i in stored["index"]]
    assert all(result.per_image["union/correct"][i] <= 0.5 for i in at)
    assert bool((stored["prediction"] != stored["labels"]).all())
