"""Derivatives by torch.func and in forward mode, and whole graphs of torch.compile."""

import subprocess
import sys

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jacrev, jvp, vmap

from sslkuramoto.encoders import ENCODERS

SMALL = {"channels": 8, "kernel_sizes": [3, 3], "num_steps": 2, "attention_heads": 2}
NETWORKS = {
    "convolution": ("akorn", SMALL),
    "large kernel": ("akorn", {**SMALL, "kernel_sizes": [9], "natural_frequency": "per_pair"}),
    "attention": ("akorn", {**SMALL, "coupling": "attention", "oscillator_dim": 4}),
    "symmetric attention": ("akorn", {**SMALL, "coupling": "attention_symmetric", "project": False}),
    "residual": ("akorn", {**SMALL, "update": "residual"}),
    "winfree": ("winfree", {"channels": 8, "attention_heads": 2}),
    "patches": ("patch_akorn", {"channels": 8, "attention_heads": 2}),
}
every_network = pytest.mark.parametrize(("name", "options"), NETWORKS.values(), ids=NETWORKS)


def built(name: str, options: dict, dtype: torch.dtype):
    """Return a network as a function of two images and their initial states, and these."""
    torch.manual_seed(0)
    network = ENCODERS.build(name, options).to(dtype).eval()
    images = torch.rand(2, 3, 16, 16, dtype=dtype)
    initial = network.sample_initial(images, torch.Generator().manual_seed(1)).to(dtype)
    return lambda images, initial: network(images, initial=initial).pooled, images, initial


@every_network
def test_transforms_and_forward_mode_give_the_gradient_of_autograd(name, options):
    network, images, initial = built(name, options, torch.float64)
    leaf = images.clone().requires_grad_()
    out = network(leaf, initial)
    weights, direction = torch.randn_like(out), torch.randn_like(images)
    (wanted,) = torch.autograd.grad((out * weights).sum(), leaf)

    def scalar(image, initial, weights):
        return (network(image[None], initial[None])[0] * weights).sum()

    each = vmap(grad(scalar))(images, initial, weights)
    torch.testing.assert_close(each, wanted, rtol=1e-7, atol=1e-9)
    _, along = jvp(lambda images: network(images, initial), (images,), (direction,))
    torch.testing.assert_close((along * weights).sum(), (wanted * direction).sum())
    with forward_ad.dual_level():
        dual = network(forward_ad.make_dual(images, direction), initial)
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, along)


def test_the_jacobian_of_the_features_is_that_of_single_gradients():
    network, images, initial = built(*NETWORKS["convolution"], torch.float64)
    found = jacrev(lambda images: network(images, initial))(images)
    leaf = images.clone().requires_grad_()
    out = network(leaf, initial)
    rows = [torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in out.flatten()]
    torch.testing.assert_close(found, torch.stack(rows).view(*out.shape, *images.shape))


def test_the_compiler_sees_a_network_as_one_graph():
    """In a process of its own: the checks of shapes in the tests are no part of a graph."""
    code = """
import torch
from sslkuramoto.encoders import ENCODERS
for coupling in ("conv", "attention"):
    options = {"channels": 8, "kernel_sizes": [3], "num_steps": 1, "attention_heads": 2, "coupling": coupling}
    network = ENCODERS.build("akorn", options).eval()
    images = torch.rand(2, 3, 8, 8)
    initial = network.sample_initial(images, torch.Generator().manual_seed(0))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    found, wanted = (each(images, initial=initial).pooled for each in (compiled, network))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
