"""Derivatives by torch.func and in forward mode, and of second order, where steps are plain operations."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jacrev, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

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


@every_network
def test_second_derivatives_are_those_of_the_definition(name, options):
    """The drive of a step depends on its state, and a derivative by the state leaves that path to the drive."""
    network, images, initial = built(name, options, torch.float64)
    direction = torch.randn_like(images)
    leaf = images.clone().requires_grad_()
    (plain,) = torch.autograd.grad(network(leaf, initial).square().sum(), leaf)
    with sdpa_kernel(SDPBackend.MATH):  # torch's other attention has no second derivative
        (first,) = torch.autograd.grad(network(leaf, initial).square().sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad((first * direction).sum(), leaf)
    torch.testing.assert_close(first, plain, rtol=1e-7, atol=1e-9)
    gradient = grad(lambda images: network(images, initial).square().sum())
    _, wanted = jvp(gradient, (images,), (direction,))
    torch.testing.assert_close(second, wanted, rtol=1e-6, atol=1e-8)


def test_gradients_that_are_batched_are_the_single_ones():
    network, images, initial = built(*NETWORKS["convolution"], torch.float64)
    few = images[:1]
    single, batched = (
        torch.autograd.functional.jacobian(lambda x: network(x, initial[:1]), few, vectorize=vectorize)
        for vectorize in (False, True)
    )
    torch.testing.assert_close(batched, single)


def test_the_jacobian_of_the_features_is_that_of_single_gradients():
    network, images, initial = built(*NETWORKS["convolution"], torch.float64)
    found = jacrev(lambda images: network(images, initial))(images)
    leaf = images.clone().requires_grad_()
    out = network(leaf, initial)
    rows = [torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in out.flatten()]
    torch.testing.assert_close(found, torch.stack(rows).view(*out.shape, *images.shape))
