"""Transfer: the source is attacked and the target never asked; what can be a source and what cannot."""

import shutil
from dataclasses import replace

import pytest
import torch
from small_attacks import said
from small_runs import CLASSIFIER, small
from torch.nn import functional as F

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.attack import ImpossibleAttackError
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.transfer import Transfer, diverse
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.encoders.timm import TimmEncoder
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS, subject_of
from sslkuramoto.evaluation.protocol import classifier_of
from sslkuramoto.evaluation.robustness import target
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.threat import Threat
from sslkuramoto.training import train

THREAT = Threat("linf", 0.1)


@pytest.fixture
def subject_in_memory(subject_of):
    """The fixture of conftest.py; the name without ending is the package's, which reads run directories."""
    return subject_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs: two classifiers (AKOrN, a network of timm) and an encoder only."""
    folder = tmp_path_factory.mktemp("runs")
    network = {"encoder": {"name": "timm", "model": "test_resnet"}}
    data = {"data": {"name": "digits", "limit": 48, "size": 8}}
    made = {
        "akorn": small(**CLASSIFIER, **data, epochs=1),
        "timm": small(**CLASSIFIER, **network, **data, epochs=1),
        "bare": small(epochs=1),
    }
    return {name: train(recipe, folder / name).path for name, recipe in made.items()}


def batch(subject, n=6):
    images = subject.data("test")
    return images.images[:n] / 255, images.labels[:n].clone()


def test_plain_it_is_momentum_ascent_on_the_source(runs):
    subject = subject_of(runs["akorn"])
    images, labels = batch(subject)
    attack = Transfer(run=str(runs["timm"]), iterations=3, step_size=0.4, diversity=0.0, momentum=0.5)
    source = classifier_of(subject_of(runs["timm"]))
    with frozen(source):
        work = Work(0, 0)
        x = THREAT.random_start(images, work.generator("cpu", "transfer", "start"))
        v = torch.zeros_like(x)
        for _ in range(3):
            leaf = x.clone().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(source(leaf), labels, reduction="sum"), leaf)
            v = 0.5 * v + g / g.abs().sum(dim=(1, 2, 3), keepdim=True)
            x = (images + (x + 0.04 * v.sign() - images).clamp(-0.1, 0.1)).clamp(0, 1)
    target = classifier_of(subject)
    ready = attack.prepared(attack_target(subject, 10))
    with counted(target.encoder) as asked, counted(ready.source.encoder) as count:
        found = ready(target, images, labels, threat=THREAT, work=work)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)
    assert asked.all == 0, "the target is never asked"
    passes = said(ready, target)
    assert (count.forward, count.backward) == (6 * passes.forward, 6 * passes.backward) == (0, 18)


@pytest.mark.parametrize(
    ("options", "k"),
    [({"encoder": {"oscillator_dim": 4}}, 1), ({"encoder": {"project": False}, "initial": "random", "k": 3}, 3),
     ({"encoder": {"step_size": 0.25, "num_steps": 2}}, 1), ({}, 1)],
)  # fmt: skip
def test_the_same_weights_fixed_or_with_other_dynamics_are_a_source(runs, options, k):
    subject = subject_of(runs["akorn"])
    images, labels = batch(subject)
    ready = Transfer(iterations=2, **options).prepared(attack_target(subject, 10))
    for key, value in options.get("encoder", {}).items():
        own = ready.source.encoder.layers[0] if key in ("oscillator_dim", "project") else ready.source.encoder
        assert getattr(own, key) == ((value, value) if key == "num_steps" else value)
    target = classifier_of(subject)
    with counted(ready.source.encoder) as count:
        found = ready(target, images, labels, threat=THREAT, work=Work(0, 0))
    assert count.backward == 6 * said(ready, target).backward == 6 * 2 * k
    THREAT.check(found, images, ready.label)
    assert not torch.equal(found, images)
    assert ready.options["source"] == subject.encoder_hash, "the ledger knows the source by its weights"


def test_adversarial_images_of_one_network_fool_another(cnn, noisy, digits, subject_in_memory):
    """The deterministic twin of a noisy network is a good source for it."""
    images, labels = digits["test"].images[:40] / 255, digits["test"].labels[:40].clone()
    target = Classifier(*cnn)
    for threat in (THREAT, Threat("l2", 1.0)):
        found = Transfer(iterations=10).prepared(attack_target(subject_in_memory(noisy), 10))(
            target, images, labels, threat=threat, work=Work(0, 0)
        )
        threat.check(found, images, "transfer")
        right = [(target(x).argmax(1) == labels).float().mean() for x in (images, found)]
        assert right[1] < right[0] - 0.2


def test_input_diversity_shrinks_and_pads_at_random_or_leaves_alone():
    draw = torch.Generator().manual_seed(0)
    images = torch.full((2, 3, 16, 16), 0.5)
    assert diverse(0.0, draw)(images) is images
    change, sizes, places = diverse(1.0, draw), set(), set()
    for _ in range(60):
        changed = change(images)
        assert changed.shape == images.shape
        inside = (changed[0, 0] > 0).nonzero()
        top, left = inside.amin(0).tolist()
        high, wide = (inside.amax(0) - inside.amin(0) + 1).tolist()
        assert high == wide
        assert torch.equal(changed[:, :, top : top + high, left : left + wide] > 0.49, torch.ones(2, 3, high, wide) > 0)
        sizes.add(high)
        places.add((top, left))
    assert sizes == {14, 15, 16}
    assert len(places) > 4
    share = sum(diverse(0.3, draw)(images) is images for _ in range(300)) / 300
    assert share == pytest.approx(0.7, abs=0.08)


def test_sources_that_cannot_be_used_are_one_line(runs, cnn, subject_in_memory, tmp_path):
    subject = subject_of(runs["akorn"])
    with pytest.raises(UserError, match=r"transfer: run=.*bare holds an encoder only; the source needs a classifier"):
        Transfer(run=str(runs["bare"])).prepared(attack_target(subject, 10))
    with pytest.raises(UserError, match=r"transfer: run=.*timm has 10 classes; these images have 7"):
        Transfer(run=str(runs["timm"])).prepared(attack_target(subject, 7))
    with pytest.raises(UserError, match=r"transfer: .*nowhere: no run directory"):
        Transfer(run=str(tmp_path / "nowhere")).prepared(attack_target(subject, 10))
    with pytest.raises(UserError, match=r"transfer: unknown key of encoder akorn 'oscilator_dim'"):
        Transfer(encoder={"oscilator_dim": 4}).prepared(attack_target(subject, 10))
    with pytest.raises(UserError, match=r"transfer: .*has shape"):
        Transfer(encoder={"channels": 8}).prepared(attack_target(subject, 10))
    with pytest.raises(
        ImpossibleAttackError, match="transfer-own-fixed skipped: its source would be the attacked network"
    ):
        Transfer().prepared(attack_target(subject_in_memory(cnn), 10))
    with pytest.raises(UserError, match=r"diversity=2.0: must be in \[0, 1\]"):
        Transfer(diversity=2.0)


def test_a_network_is_no_source_for_itself_unless_its_options_change(runs, monkeypatch):
    subject, path = subject_of(runs["akorn"]), runs["akorn"]
    monkeypatch.chdir(path.parent)
    for own in (str(path), path.name, f"{path}/../{path.name}"):
        with pytest.raises(UserError, match=r"transfer: run=.*akorn is the measured network itself; name another run"):
            Transfer(run=own).prepared(attack_target(subject, 10))
    assert Transfer(run=str(path), encoder={"step_size": 0.25}).prepared(attack_target(subject, 10)).source is not None
    changed = subject_of(path, encoder_options={"step_size": 0.25})
    assert Transfer(run=str(path)).prepared(attack_target(changed, 10)).source.encoder.step_size != 0.25
    with pytest.raises(UserError, match="is the measured network itself"):
        Transfer(run=str(path), encoder={"step_size": 0.25}).prepared(attack_target(changed, 10))


def test_a_copy_of_the_measured_run_is_no_source_for_it_in_robustness_either(runs, tmp_path):
    copied = shutil.copytree(runs["akorn"], tmp_path / "another")
    for own, words in ((runs["akorn"], "is the measured network itself"), (copied, "has the weights of the measured")):
        protocol = PROTOCOLS.build("robustness", {"attacks": [{"name": "transfer", "run": str(own)}], "images": 4})
        with pytest.raises(UserError, match=f"transfer: run=.*{words}"):
            protocol(subject_of(runs["akorn"]))


def test_the_ledger_knows_a_source_wherever_its_run_lies(runs, tmp_path):
    subject = subject_of(runs["akorn"])
    moved = shutil.copytree(runs["timm"], tmp_path / "elsewhere" / "timm")
    here, there = (Transfer(run=str(path)).prepared(attack_target(subject, 10)) for path in (runs["timm"], moved))
    assert here.label == there.label
    assert here.options == there.options
    assert here.options["source"] != subject.encoder_hash
    assert here.options != Transfer(run=str(moved), iterations=3).prepared(attack_target(subject, 10)).options
    assert Transfer(run=str(moved), k=3).prepared(attack_target(subject, 10)).options == here.options, (
        "the source draws nothing"
    )
    held = {
        k: Transfer(encoder={"step_size": 0.25}, initial="random", k=k).prepared(attack_target(subject, 10))
        for k in (2, 3)
    }
    assert held[2].options != held[3].options


def test_a_source_that_cannot_take_the_images_is_refused_before_anything_is_attacked(runs, monkeypatch):
    """A network of a fixed size says so itself; here the source's does as one of timm would."""
    subject, lines = subject_of(runs["akorn"]), []
    subject.report = lines.append

    def only_224(self, images, **options):
        raise UserError("images of 8 x 8 pixels: Input height (8) doesn't match model (224)")

    monkeypatch.setattr(TimmEncoder, "forward", only_224)
    attacks = ["gaussian", {"name": "transfer", "run": str(runs["timm"])}]
    ways = {"one": {"attacks": ["gaussian"]}, "two": {"attacks": attacks}}
    with pytest.raises(
        UserError, match=r"transfer-timm-fixed: its source cannot classify these images of 8 x 8 pixels: .*224"
    ):
        PROTOCOLS.build("robustness", {"ways": ways, "images": 4, "control": 0})(subject)
    assert lines == []


def test_a_source_trained_on_other_data_is_noted(runs, monkeypatch):
    """The data's name is all that is asked for, so the name that the loaded source states is changed."""
    subject = subject_of(runs["akorn"])
    assert Transfer(run=str(runs["timm"])).prepared(attack_target(subject, 10)).notes == []
    own = target.subject_of
    monkeypatch.setattr(target, "subject_of", lambda run, **how: replace(own(run, **how), trained_on="cifar10"))
    (note,) = Transfer(run=str(runs["timm"])).prepared(attack_target(subject, 10)).notes
    assert note.endswith("its source was trained on cifar10, this network on digits")
