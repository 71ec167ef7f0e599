"""The attack with other derivatives on Winfree networks: what it tries, what it leaves out, and its stand-in."""

import pytest
import torch
from torch import nn

from sslkuramoto.attacks.attack import ImpossibleAttackError
from sslkuramoto.attacks.counting import stand_in_for
from sslkuramoto.attacks.surrogate_attack import Surrogate
from sslkuramoto.classifier import Classifier
from sslkuramoto.dynamics.surrogate import OF_WINFREE, surrogates_for
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.randomness import borrowed_global, generator


def winfree(**options):
    with borrowed_global(generator("cpu", "winfree to attack")):
        return ENCODERS.build("winfree", {**ENCODERS.small("winfree"), **options}).eval()


def test_the_attack_takes_all_surrogates_of_the_network_and_leaves_others_out_with_a_word(subject_of):
    def ready(encoder, **options):
        network = encoder, nn.Linear(encoder.num_features, 10)
        return Surrogate(**options).prepared(attack_target(subject_of(network), 10))

    assert ready(winfree()).surrogates == list(OF_WINFREE)
    assert ready(winfree()).notes == []
    bare = ready(winfree(rectify=False), surrogates=["open_rectifier", "no_norm", "free_phase"])
    assert bare.surrogates == ["free_phase"]
    assert bare.notes == [
        "surrogate: no_norm skipped: of another kind of step",
        "surrogate: open_rectifier skipped: the field is not rectified",
    ]
    with pytest.raises(ImpossibleAttackError, match="surrogate skipped: its surrogates need another kind of step"):
        ready(winfree(), surrogates=["no_norm"])


@pytest.mark.parametrize("rectify", [True, False])
def test_the_stand_in_that_counts_allows_the_surrogates_of_the_network(rectify):
    encoder = winfree(rectify=rectify)
    stand_in = stand_in_for(Classifier(encoder, nn.Linear(8, 10)), 10, (8, 8), "linf")
    assert surrogates_for(stand_in.encoder) == surrogates_for(encoder)
    stand_in.encoder(torch.rand(2, 3, 8, 8), trace=True)
