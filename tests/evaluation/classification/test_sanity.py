"""What is wrong with a classifier or its data is said in one line before anything is measured."""

import pytest
import torch
from torch import nn

from sslkuramoto.classifier import Classifier
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.calibration.protocol import Calibration
from sslkuramoto.evaluation.classification.clean import Clean
from sslkuramoto.evaluation.classification.noise import NoiseAccuracy
from sslkuramoto.evaluation.classification.sanity import check_first_chunk
from sslkuramoto.evaluation.corruptions import Corruptions

MEASURES = {
    "corruptions": Corruptions(corruptions=("fog",), images=20),
    "noise": NoiseAccuracy(images=20, samples=1),
    "calibration": Calibration(images=20, temperature=False),
}
every_measure = pytest.mark.parametrize("name", MEASURES)


def refused(name, subject, message):
    lines = []
    subject.report = lines.append
    with pytest.raises(UserError, match=message) as caught:
        MEASURES[name](subject)
    assert "\n" not in str(caught.value)
    assert "attack" not in str(caught.value), "these protocols attack nothing"
    assert lines == [], "nothing was measured"


class Bent(nn.Linear):
    """A head whose logits something is done to."""

    def __init__(self, head: nn.Linear, change) -> None:
        super().__init__(head.in_features, head.out_features)
        self.load_state_dict(head.state_dict())
        self.change = change

    def forward(self, input):
        return self.change(super().forward(input))


@every_measure
def test_probabilities_are_no_logits(name, cnn, subject_of):
    encoder, head = cnn
    bent = Bent(head, lambda logits: logits.softmax(dim=1))
    refused(name, subject_of((encoder, bent)), f"returns probabilities: {name} needs its logits")


@every_measure
def test_logits_are_finite(name, cnn, subject_of):
    encoder, head = cnn
    broken = Bent(head, lambda logits: logits.masked_fill(torch.arange(10) == 3, float("nan")))
    refused(name, subject_of((encoder, broken)), "NaN or infinite, on 20 of 20 images")


@every_measure
def test_a_network_that_says_it_is_deterministic_is(name, cnn, subject_of):
    encoder, head = cnn
    shaky = Bent(head, lambda logits: logits + 0.1 * torch.rand_like(logits))
    refused(name, subject_of((encoder, shaky)), "deterministic.*but two calls on the same images differ")


@pytest.mark.parametrize("name", [*MEASURES, "clean"])
def test_data_and_head_tell_the_same_number_of_classes_apart(name, cnn, subject_of, some_set):
    encoder, head = cnn
    for classes in (7, 12):
        subject = subject_of((encoder, head), data=lambda split, n=classes: some_set(30, n))
        wanted = rf"data 'random', split 'test', has {classes} classes, the classifier of the run has 10: must be"
        with pytest.raises(UserError, match=wanted):
            (MEASURES.get(name) or Clean())(subject)


def test_pixels_lie_in_the_unit_interval(cnn):
    with pytest.raises(UserError, match=r"images lie in \[0, 255\]: noise needs pixels in \[0,1\]"):
        check_first_chunk(Classifier(*cnn), torch.tensor([0.0, 255.0]).expand(1, 3, 2, 2), torch.arange(1), "noise")
