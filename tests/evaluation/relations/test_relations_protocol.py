"""What the protocol counts: networks whose answers are written down here, and oscillators whose trace is known."""

from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sslkuramoto.attacks.counting import counted
from sslkuramoto.data import DATA, batches
from sslkuramoto.data.glyphs.glyph_set import GlyphSet
from sslkuramoto.earlier_trainings import Training
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.evaluation.relations.scores import accuracy_metric
from sslkuramoto.examples import Images, Pairs
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Part
from sslkuramoto.results import Result

SIZE = 16
DIMENSIONS = 4
DATA_OPTIONS = {"size": SIZE, "train_icons": 90, "pairs": 24, "pairs_test": 20}
TINY = {"size": SIZE, "channels": 4, "hidden": 8, "dimensions": DIMENSIONS, "num_steps": 3}
DRAWS = 20
TRAINED = (Training(Path("run"), Part("same-different", DATA_OPTIONS)),)


def source(name: str, **options: object):
    """Return the splits of a source."""
    made = {split: cast(GlyphSet, DATA.build(name, DATA_OPTIONS | options, split)) for split in ("val", "test")}
    return made.__getitem__


class Knowing(Encoder):
    """Logits of right answers on the named splits, elsewhere always class 0; noise flips answers if there is any."""

    num_features = 2
    reads = (Pairs,)

    def __init__(self, data, right_on: tuple[str, ...] = ("test",), flips: float = 0.0) -> None:
        super().__init__()
        self.known = [
            (data(split).pictures, data(split).labels if split in right_on else None) for split in ("val", "test")
        ]
        self.flips, self.stochastic = flips, flips > 0

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        answers = torch.tensor([self.answer((image[:, 0] * 255).round().to(torch.uint8)) for image in images])
        if self.stochastic:
            answers = answers ^ (torch.rand(len(answers), generator=draw) < self.flips)
        logits = nn.functional.one_hot(answers.long(), 2).float()
        return Features(logits, logits[:, :, None, None])

    def answer(self, grey: torch.Tensor) -> int:
        for pictures, labels in self.known:
            same = (pictures == grey).flatten(1).all(dim=1)
            if same.any():
                return 0 if labels is None else int(labels[same][0])
        raise AssertionError("an example of neither split")


@pytest.fixture
def measure(tmp_path: Path):
    def run(data, encoder: Encoder, *overrides: str, head: nn.Module | None = None, trainings=TRAINED) -> Result:
        subject = Subject(
            encoder=encoder.eval(),
            head=head or nn.Identity(),
            data=data,
            device=torch.device("cpu"),
            run_dir=tmp_path,
            encoder_hash="0",
            batch_size=8,
            trainings=trainings,
        )
        return load_protocol("relations", list(overrides)).measure(subject)

    return run


def test_right_answers_on_unseen_icons_and_always_same_on_seen_ones(measure) -> None:
    data = source("same-different")
    result = measure(data, Knowing(data), "store=0")
    assert {name: metric.value for name, metric in result.metrics.items()} == {
        **dict.fromkeys(("accuracy", "accuracy_same", "accuracy_different", "auc", "val/accuracy_same"), 1.0),
        "val/accuracy": 0.5,
        "val/accuracy_different": 0.0,
    }
    assert {metric.draws for metric in result.metrics.values()} == {1}
    lists = {"index": list(range(20)), "correct": [1.0] * 20, "same": [1, 0] * 10, "group": result.groups()}
    assert result.per_image == lists
    assert result.verdicts == ["correct"]
    assert result.initial == "deterministic"
    assert result.details == {"relations": {"images": 2}}


def test_intervals_count_the_combinations_of_icons_and_the_notes_say_how_many(measure) -> None:
    data = source("same-different", train_icons=98, pairs_test=60)  # two unseen icons: 3 combinations
    result = measure(data, Knowing(data), "store=0")
    metric = result.metrics["accuracy"]
    icons = data("test").icons
    assert metric == accuracy_metric(torch.ones(1, 60, dtype=torch.bool), icons)
    assert metric.n == 60
    assert metric.low is not None
    assert metric.low < 0.5, "60 examples of two icons say little about other icons"
    assert result.notes[0] == "test: 60 examples, 3 different combinations of 2 icons that training did not show"
    assert result.notes[1].endswith(" icons of the training set")
    groups = result.groups()
    assert groups is not None
    assert len(groups) == 60
    unordered = [tuple(sorted(pair)) for pair in icons[result.per_image["index"]].tolist()]
    alike = {(a == b) == (unordered[i] == unordered[j]) for i, a in enumerate(groups) for j, b in enumerate(groups)}
    assert alike == {True}, "one group for each combination"


def test_nothing_is_claimed_of_icons_where_a_training_is_not_known(measure) -> None:
    data = source("same-different")
    for trainings in ((), (*TRAINED, Training(Path("gone"), None))):
        notes = measure(data, Knowing(data), "store=0", trainings=trainings).notes
        assert not any("training did not show" in note or "training set" in note for note in notes)
        assert any("20 examples" in note and note.endswith("icons of the test split") for note in notes)
        assert any(note.startswith("gone: its recipe cannot be read") for note in notes) == bool(trainings)


def test_a_stochastic_network_is_scored_over_its_draws(measure) -> None:
    data = source("same-different")
    result = measure(data, Knowing(data, ("test", "val"), flips=0.3), "store=0")
    metric = result.metrics["accuracy"]
    assert metric.draws == DRAWS
    assert 0.6 < metric.value < 0.8
    assert metric.std_over_draws is not None
    assert 0.05 < metric.std_over_draws < 0.2
    assert sum(result.per_image["correct"]) / 20 == pytest.approx(metric.value)
    with pytest.raises(UserError, match="draws=19: must be at least 20"):
        measure(data, Knowing(data, flips=0.3), "draws=19")


def test_match_to_sample_is_split_by_the_relation_of_its_source(measure) -> None:
    data = source("match-to-sample")
    result = measure(data, Knowing(data, ("test",)))
    assert result.metrics["accuracy"].value == result.metrics["accuracy_different"].value == 1.0
    assert result.metrics["val/accuracy"].value == 0.5, "always the first target"
    assert result.per_image["same"] == [1, 1, 0, 0] * 5
    assert not {"auc", "rho/auc", "energy/rises"} & set(result.metrics)


def relational(**options: object) -> Encoder:
    torch.manual_seed(0)
    return ENCODERS.build("relational", TINY | options).eval()


@torch.no_grad()
def test_coherences_and_energies_are_those_of_the_trace_draw_by_draw(measure) -> None:
    data, encoder, head = source("same-different"), relational(), nn.Linear(DIMENSIONS, 2)
    result = measure(data, encoder, head=head)
    test = data("test")
    found = {"rho": torch.zeros(DRAWS, 20), "energy": torch.zeros(DRAWS, 20), "right": torch.zeros(DRAWS, 20)}
    rises, steps = 0, 0
    for i, batch in enumerate(batches(test, list(torch.arange(20).split(8)), device="cpu")):
        for k in range(DRAWS):
            draw = generator("cpu", 0, "relations", "test", k, i)
            features = encoder(batch.inputs, draw=draw, trace=True)
            (trace,) = features.trace
            last = trace.states[-1, :, :, :, 0].unflatten(1, (DIMENSIONS, 2))  # b d n p
            rho = last.sum(dim=3).norm(dim=2)
            found["rho"][k, batch.indices] = rho.mean(dim=1)
            found["energy"][k, batch.indices] = trace.energy[-1]
            found["right"][k, batch.indices] = (head(rho).argmax(dim=1) == batch.targets).float()
            rises += int((trace.energy.diff(dim=0) > 1e-3).sum())
            steps += trace.energy.diff(dim=0).numel()
    same = test.labels == 0
    for name in ("rho", "energy"):
        for kind, chosen in (("same", same), ("different", ~same)):
            metric = result.metrics[f"{name}/{kind}"]
            assert metric.value == pytest.approx(found[name][:, chosen].mean().item(), rel=1e-5)
            assert (metric.n, metric.draws) == (10, DRAWS)
    assert result.metrics["accuracy"].value == pytest.approx(found["right"].mean().item())
    assert result.metrics["energy/rises"].value == pytest.approx(rises / steps)
    for name, values in (("energy", -found["energy"]), ("rho", found["rho"])):
        means = values.mean(dim=0)
        above = (means[same][:, None] > means[~same]).double() + 0.5 * (means[same][:, None] == means[~same])
        assert result.metrics[f"{name}/auc"].value == pytest.approx(above.mean().item())
    details = result.details["relations"]
    assert len(details["energy"]["same"]["mean"]) == TINY["num_steps"] + 1
    assert sum(details["coherence"]["same"]) == 10 * DRAWS * DIMENSIONS


def test_the_energy_of_symmetric_couplings_without_frequencies_falls_at_each_of_25_steps(measure) -> None:
    encoder = relational(symmetric=True, natural_frequency=False, step_size=0.05)
    result = measure(source("same-different"), encoder, "energy_steps=25", head=nn.Linear(DIMENSIONS, 2))
    assert result.metrics["energy/rises"].value == 0
    assert len(result.details["relations"]["energy"]["same"]["mean"]) == 26
    free = relational(step_size=0.05, frequency_init=3.0)
    rising = measure(source("same-different"), free, "energy_steps=25", head=nn.Linear(DIMENSIONS, 2))
    assert rising.metrics["energy/rises"].value > 0.05


def test_energy_steps_change_no_answer(measure) -> None:
    data, encoder, head = source("same-different"), relational(), nn.Linear(DIMENSIONS, 2)
    few, many = measure(data, encoder, head=head), measure(data, encoder, "energy_steps=25", head=head)
    assert few.per_image == many.per_image
    assert few.metrics["rho/same"] == many.metrics["rho/same"]
    assert few.metrics["energy/same"] != many.metrics["energy/same"]
    longer = measure(data, encoder, "num_steps=25", head=head)
    assert longer.metrics["energy/same"] == many.metrics["energy/same"]


def test_energy_steps_of_their_own_are_passes_of_their_own(measure, tmp_path: Path) -> None:
    data, encoder, head = source("same-different"), relational(), nn.Linear(DIMENSIONS, 2)
    for options in ([], ["energy_steps=4"]):
        parts = {"encoder": encoder, "head": head, "data": data, "device": torch.device("cpu"), "run_dir": tmp_path}
        subject = Subject(**parts, encoder_hash="0", batch_size=8)
        costs = load_protocol("relations", options).measure.estimate(subject)
        with counted(encoder) as count:
            measure(data, encoder, "store=0", *options, head=head)
        assert sum(cost.forward for _, cost in costs) == count.all


def test_a_few_pairs_of_each_kind_are_stored_with_their_last_oscillators(measure, tmp_path: Path) -> None:
    data, encoder = source("same-different"), relational()
    measure(data, encoder, "store=3", head=nn.Linear(DIMENSIONS, 2))
    stored = load_file(tmp_path / "results" / "images" / "relations.relations.safetensors")
    assert stored["targets"].tolist() == [0, 0, 0, 1, 1, 1]
    assert stored["states"].shape == (6, 2, DIMENSIONS, 2)
    (batch,) = batches(data("test"), [stored["index"]], device="cpu")
    assert torch.equal(stored["images"], batch.inputs)
    features = encoder(batch.inputs, draw=generator("cpu", 0, "relations", "samples"))
    rho = stored["states"].sum(dim=1).norm(dim=2)
    assert torch.allclose(rho, features.pooled, atol=1e-5)


def test_a_part_of_the_examples_is_the_same_for_every_network(measure) -> None:
    data = source("same-different")
    few = measure(data, Knowing(data), "examples=8", "store=0")
    assert few.data["n"] == 8
    assert few.per_image["index"] == measure(data, Knowing(data, ()), "examples=8", "store=0").per_image["index"]
    assert measure(data, Knowing(data), "examples=1000", "store=0").data["n"] == 20


@pytest.mark.parametrize(
    ("name", "control", "word", "message"),
    [
        ("same-different", True, "num_steps=4", "num_steps=4: this network does not iterate; must be null"),
        ("same-different", True, "energy_steps=25", "energy_steps=25: this network has no energy; must be null"),
        ("match-to-sample", False, "energy_steps=25", "energies are of same/different; must be null"),
    ],
)
def test_options_that_the_network_cannot_take_are_one_line(
    measure, name: str, control: bool, word: str, message
) -> None:
    data = source(name)
    encoder = Knowing(data) if control else relational(pictures=6)
    with pytest.raises(UserError, match=rf"^relations: .*{message}$"):
        measure(data, encoder, word)


def test_data_that_do_not_say_which_icons_they_show_are_one_line(measure, monkeypatch: pytest.MonkeyPatch) -> None:
    data = source("same-different")
    for split in ("val", "test"):
        held = data(split)
        bare = held.batches
        monkeypatch.setattr(
            held, "batches", lambda *given, bare=bare: (batch._replace(extra={}) for batch in bare(*given))
        )
    with pytest.raises(UserError, match=r"^relations needs icons: data 'same-different', split 'test', does not give"):
        measure(data, Knowing(data))


def test_examples_of_another_number_of_images_are_one_line(measure, monkeypatch: pytest.MonkeyPatch) -> None:
    data = source("same-different")
    monkeypatch.setattr(type(data("test")), "spec", Pairs(Images(SIZE), 4))
    with pytest.raises(UserError, match=r"^relations: examples of 4 images: reads 2 \(same/different\) or 6"):
        measure(data, Knowing(data))
