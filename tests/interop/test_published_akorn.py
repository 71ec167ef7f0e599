"""Published weights in our encoder: what the arguments say, what the shapes say, and what cannot be read."""

import pytest
import torch
from published_akorn import network, state

from sslkuramoto.errors import UserError
from sslkuramoto.interop.akorn import encoder_options, from_published
from sslkuramoto.interop.published import published


def test_weights_come_back_as_they_were_under_their_published_names():
    encoder, head = network(kernel_sizes=(5, 3, 3), oscillator_dim=2)
    found, _, found_head, _ = from_published({"n": 2}, state(encoder, head))
    assert found.state_dict().keys() == encoder.state_dict().keys()
    for name, value in encoder.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    assert torch.equal(found_head.weight, head.weight)
    assert not found.training
    assert not found_head.training


def test_arguments_that_are_not_named_have_the_published_default():
    options = encoder_options({}, state(*network(kernel_sizes=(9, 7, 5), oscillator_dim=4)))
    assert options["oscillator_dim"] == 4
    assert options["num_steps"] == (3, 3, 3)
    assert options["step_size"] == 1.0
    assert options["natural_frequency"] == "shared"
    assert options["project"] is True


@pytest.mark.parametrize(("given", "wanted"), [(5, (5, 5)), ([4, 2], (4, 2)), ([3, 2, 1], (3, 3)), ([6], (6, 6))])
def test_a_list_of_another_length_than_the_layers_counts_by_its_first_entry(given, wanted):
    assert encoder_options({"n": 2, "T": given}, state(*network(kernel_sizes=(3, 3))))["num_steps"] == wanted


def test_arguments_that_nothing_reads_are_told():
    config = {"n": 2, "ch": 8, "T": 3, "L": 3, "J": "conv", "use_omega": True, "project": True, "norm": "bn"}
    arguments = {**config, "drop_path": 0.1, "alpha": 2}
    assert published(arguments, state(*network(kernel_sizes=(3, 3, 3)))).not_read == ["alpha", "drop_path"]


def broken(change) -> tuple[dict, dict]:
    config, weights = {"n": 2}, state(*network(kernel_sizes=(3, 3)))
    change(config, weights)
    return config, weights


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda c, w: c.update(ensemble=4), "ensemble=4: only networks that answer from one draw"),
        (lambda c, w: c.update(n=[2, 4]), r"n=\[2, 4\]: no option describes"),
        (lambda c, w: w.clear(), "holds no weights of layers"),
        (lambda c, w: w.pop("conv0.weight"), "holds no weight 'conv0.weight'"),
        (lambda c, w: w.pop("out.weight"), "holds no weight 'out.weight'"),
        (lambda c, w: w.pop("layers.0.3.0.bias"), "holds no weight 'layers.0.3.0.bias'"),
        (lambda c, w: w.pop("layers.1.3.2.fn.2.bias"), r"missing \['readouts.1.1.last.2.bias'\]"),
        (lambda c, w: w.update({"layers.1.2.extra": torch.ones(1)}), "weight 'layers.1.2.extra': no part of"),
        (lambda c, w: w.update({"pemb_x": torch.ones(1)}), "weight 'pemb_x': no part of"),
        (lambda c, w: w.update({"layers.1.0.1.bias": torch.ones(16)}), "differs from 'layers.1.0.0.bias'"),
        (lambda c, w: w.update({"layers.1.2.c_norm.bias": torch.ones(3)}), r"recorded shape \(3,\), ours \(16,\)"),
        (lambda c, w: w.update({"out.weight": torch.ones(10, 3)}), r"out.weight of shape \(10, 3\)"),
        (lambda c, w: w.pop("layers.1.2.omg.omg_param"), "natural frequencies differ between layers"),
        (lambda c, w: c.update(n=3), "must be divisible by oscillator_dim=3"),
        (lambda c, w: c.update(T=0), "num_steps="),
    ],
)
def test_what_is_no_published_classification_network_is_one_clear_line(change, line):
    with pytest.raises(UserError, match=line):
        from_published(*broken(change))
