"""Convolution in the Fourier domain equals the direct convolution.

Shapes: b batch, c channels, h w grid.
"""

import pytest
import torch
from torch.nn import functional as F

from sslkuramoto.dynamics.coupling import ConvCoupling
from sslkuramoto.dynamics.spectral import kernel_spectrum, spectral_convolution
from sslkuramoto.encoders import AKOrN


@pytest.mark.parametrize(
    ("channels", "outputs", "side", "kernel", "tile"),
    [(3, 5, 8, 3, 4), (4, 4, 9, 5, 3), (2, 3, 6, 7, 6), (2, 2, 5, 1, 1), (1, 2, 8, 9, 2)],
)
def test_spectral_convolution_is_the_convolution(channels, outputs, side, kernel, tile):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, side, side, generator=draw, dtype=torch.float64)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=draw, dtype=torch.float64)
    found = spectral_convolution(x, kernel_spectrum(weight, tile + kernel - 1), kernel, tile)
    torch.testing.assert_close(found, F.conv2d(x, weight, padding=kernel // 2))


def test_spectral_convolution_has_the_gradients_of_the_convolution_to_second_order():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 4, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, generator=draw, dtype=torch.float64, requires_grad=True)

    def convolve(x, weight):
        return spectral_convolution(x, kernel_spectrum(weight, 4), 3, 2)

    assert torch.autograd.gradcheck(convolve, (x, weight))
    assert torch.autograd.gradgradcheck(convolve, (x, weight))


def test_training_step_agrees_with_the_direct_convolution_and_evaluation_is_direct():
    coupling = ConvCoupling(32, 7)
    x = torch.randn(2, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    fast = coupling.prepared(x)
    assert fast is not coupling
    torch.testing.assert_close(fast(x), coupling(x), rtol=1e-4, atol=1e-5)
    assert coupling.eval().prepared(x) is coupling
    with torch.no_grad():
        assert coupling.train().prepared(x) is coupling


@pytest.mark.parametrize("reason", ["kernel", "channels", "grid", "double", "autocast"])
def test_direct_convolution_is_kept_where_the_other_does_not_pay_or_fit(reason):
    coupling = ConvCoupling(16 if reason == "channels" else 32, 5 if reason == "kernel" else 7)
    x = torch.zeros(1, coupling.in_channels, 8 if reason == "grid" else 16, 16)
    x = x.double() if reason == "double" else x
    with torch.autocast("cpu", enabled=reason == "autocast", dtype=torch.bfloat16):
        assert coupling.prepared(x) is coupling


def test_training_and_evaluation_see_the_same_network():
    encoder = AKOrN(channels=32, kernel_sizes=(9,), readout_map="identity")
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    initial = encoder.sample_initial(images, torch.Generator().manual_seed(1))
    trained = encoder.train()(images, initial=initial).pooled.detach()
    torch.testing.assert_close(trained, encoder.eval()(images, initial=initial).pooled.detach(), rtol=1e-4, atol=1e-4)
