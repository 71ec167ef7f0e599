"""Convolution in the Fourier domain equals the direct convolution.

Shapes: b batch, c channels, h w grid.
"""

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from sslkuramoto.dynamics.coupling import ConvCoupling, SymmetricConvCoupling
from sslkuramoto.dynamics.rounding import as_published
from sslkuramoto.dynamics.spectral import is_faster, kernel_spectrum, spectral_convolution
from sslkuramoto.encoders import AKOrN


def convolved(x, weight):
    return spectral_convolution(x, kernel_spectrum(weight, tuple(x.shape[2:])), weight.shape[-1])


@pytest.mark.parametrize(
    ("channels", "outputs", "grid", "kernel"),
    [
        (3, 5, (8, 8), 3),  # 9 points: odd
        (4, 4, (9, 9), 7),
        (2, 3, (6, 6), 5),  # 8 points: even
        (2, 2, (5, 5), 1),
        (1, 2, (2, 2), 9),  # a kernel larger than the grid
        (2, 3, (1, 7), 5),
        (3, 2, (10, 4), 3),
    ],
)
def test_spectral_convolution_is_the_convolution(channels, outputs, grid, kernel):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, *grid, generator=draw, dtype=torch.float64)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(convolved(x, weight), F.conv2d(x, weight, padding=kernel // 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_spectral_convolution_has_the_gradients_of_the_convolution_to_second_order(grid):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, *grid, generator=draw, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(convolved, (x, weight))
    assert torch.autograd.gradgradcheck(convolved, (x, weight))


@pytest.mark.parametrize(("channels", "side", "kernel"), [(64, 32, 9), (128, 16, 7), (32, 14, 9)])
def test_rounding_is_no_worse_than_twice_that_of_the_direct_convolution(channels, side, kernel):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, side, side, generator=draw)
    weight = torch.randn(channels, channels, kernel, kernel, generator=draw) / (channels * kernel**2) ** 0.5
    exact = F.conv2d(x.double(), weight.double(), padding=kernel // 2)

    def error(found):
        return ((found - exact).square().mean().sqrt() / exact.square().mean().sqrt()).item()

    direct, spectral = error(F.conv2d(x, weight, padding=kernel // 2)), error(convolved(x, weight))
    assert spectral < 2 * direct
    assert spectral < 1e-6


@pytest.mark.parametrize(
    "coupling", [ConvCoupling(32, 7), SymmetricConvCoupling(32, 7)], ids=lambda c: type(c).__name__
)
def test_direct_convolutions_agree_and_are_those_of_torch(coupling):
    x = torch.randn(16, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    fast = coupling.prepared(x)(x)
    assert "Convolution" in type(fast.grad_fn.next_functions[0][0] or fast.grad_fn).__name__
    with torch.no_grad():
        assert torch.equal(coupling.prepared(x)(x), fast)
        with as_published():
            direct = coupling.prepared(x)(x)
        bias = getattr(coupling, "bias", None)
        assert torch.equal(direct, F.conv2d(x, coupling.weight, bias, padding=3))
    torch.testing.assert_close(fast, direct, rtol=1e-4, atol=1e-5)


def test_an_attack_on_frozen_weights_has_the_gradient_of_the_direct_convolution():
    coupling = ConvCoupling(32, 7).eval().requires_grad_(False)
    x = torch.randn(16, 32, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert coupling.prepared(x) is not coupling
    (fast,) = torch.autograd.grad(coupling.prepared(x)(x).square().sum(), x)
    (direct,) = torch.autograd.grad(coupling(x).square().sum(), x)
    torch.testing.assert_close(fast, direct, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reason", ["kernel", "channels", "batch", "double", "autocast", "forbidden"])
def test_direct_convolution_is_kept_where_the_other_does_not_pay_or_fit(reason):
    coupling = ConvCoupling(2 if reason == "channels" else 32, 3 if reason == "kernel" else 7)
    x = torch.zeros(1 if reason == "batch" else 16, coupling.in_channels, 8, 8)
    x = x.double() if reason == "double" else x
    with (
        torch.autocast("cpu", enabled=reason == "autocast", dtype=torch.bfloat16),
        as_published() if reason == "forbidden" else nullcontext(),
    ):
        assert coupling.prepared(x) is coupling
    assert is_faster(torch.Size((16, 32, 8, 8)), 7)


def test_training_and_evaluation_see_the_same_network():
    encoder = AKOrN(channels=32, kernel_sizes=(9,), readout_map="identity")
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    initial = encoder.sample_initial(images, torch.Generator().manual_seed(1))
    trained = encoder.train()(images, initial=initial).pooled.detach()
    with torch.no_grad():
        tested = encoder.eval()(images, initial=initial).pooled
    torch.testing.assert_close(trained, tested, rtol=1e-4, atol=1e-4)
