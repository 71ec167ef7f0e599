"""Steps that are computed again in the backward pass change memory, and nothing else."""

import copy

import pytest
import torch

from sslkuramoto.dynamics.steps import Recomputing, set_checkpoint_steps
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

AKORN = {"channels": 8, "oscillator_dim": 2}
NETWORKS = {
    "akorn": {**AKORN, "kernel_sizes": [5, 3], "num_steps": 5},
    "akorn-attention": {**AKORN, "kernel_sizes": [3], "num_steps": 4, "coupling": "attention", "attention_heads": 2},
    "winfree": {"channels": 8, "layers": 1, "coupling": "conv", "kernel_size": 3, "num_steps": 4},
    "iterative": {"image_size": 8, "patch": 2, "channels": 8, "mixer": "conv", "kernel_size": 3, "num_steps": 4},
}


def encoder(name):
    with borrowed_global(generator("cpu", "weights")):
        return ENCODERS.build(name.partition("-")[0], NETWORKS[name])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kept_every", [1, 3, 100])
def test_losses_and_weights_are_the_same_to_the_last_bit_over_training(name, kept_every):
    plain = encoder(name).train()
    saving = copy.deepcopy(plain)
    set_checkpoint_steps(saving, kept_every)
    draw = generator("cpu", "images")
    images = torch.rand(4, 3, 8, 8, generator=draw)

    def losses(network):
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        noise, found = generator("cpu", "noise"), []
        for _ in range(50 if kept_every == 3 and name == "akorn" else 3):
            loss = network(images, draw=noise).map.square().mean() + network(images, draw=noise).pooled.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    assert losses(plain) == losses(saving)
    for (key, ours), theirs in zip(saving.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key  # running statistics of BatchNorm, too


def kept_bytes(network, steps):
    """Return the bytes that one pass keeps for its backward pass, states of checkpoints included."""
    images, seen = torch.rand(2, 3, 8, 8, generator=generator("cpu", "images")), {}

    def keep(tensor):
        seen[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images, draw=generator("cpu", "noise"), num_steps=steps).pooled.sum()
    return sum(size for size, _ in seen.values())


def test_sixteen_more_steps_of_which_one_is_kept_need_one_more_state_of_each_layer():
    network = encoder("akorn")
    states = 4 * 2 * (8 * 8 * 8 + 16 * 4 * 4)  # bytes: two images, 8 channels on 8 x 8 sites and 16 on 4 x 4
    assert kept_bytes(network, 32) - kept_bytes(network, 16) > 16 * states
    set_checkpoint_steps(network, 16)
    assert kept_bytes(network, 32) - kept_bytes(network, 16) == states


def test_passes_without_gradients_are_not_cut(monkeypatch):
    class Count(Recomputing):
        checkpoint_steps = 2

    monkeypatch.setattr("sslkuramoto.dynamics.steps.checkpoint", lambda *_, **__: pytest.fail("cut"))
    with torch.no_grad():
        assert Count().iterate(lambda x: x + 1, torch.zeros(1), 5).item() == 5


def test_an_encoder_without_steps_is_an_error():
    network = ENCODERS.build("timm", {"model": "resnet18"})
    set_checkpoint_steps(network, 0)
    with pytest.raises(UserError, match=r"engine\.checkpoint_steps=4: this encoder has no steps"):
        set_checkpoint_steps(network, 4)


def test_second_derivatives_pass_through_steps_that_are_computed_again():
    layer = Recomputing()
    layer.checkpoint_steps = 2
    x = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer.iterate(torch.sin, x, 3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    wanted = torch.func.grad(torch.func.grad(lambda y: torch.sin(torch.sin(torch.sin(y)))))(x[0])
    torch.testing.assert_close(second[0], wanted)
