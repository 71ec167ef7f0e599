"""The readout m_k = |U_k x| and the maps g (AKOrN Eq. 6)."""

import pytest
import torch
from torch import nn

from sslkuramoto.encoders.readout import NormReadout, Readout, ResidualMap, readout_map
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 6, 4, 3, generator=generator("cpu", "readout"), dtype=torch.float64)


def built(module: nn.Module) -> nn.Module:
    return module.double().requires_grad_(False)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_m_is_the_length_of_consecutive_outputs_plus_an_offset(dim, x):
    readout = built(NormReadout(6, 5, dim=dim, kernel_size=3, take_norm=True))
    readout.offset.copy_(torch.arange(5.0))
    outputs, m = readout.project(x), readout(x)
    for k in range(5):
        wanted = outputs[:, k * dim : (k + 1) * dim].square().sum(1).sqrt() + k
        torch.testing.assert_close(m[:, k], wanted)


def test_without_the_norm_m_is_the_plain_convolution(x):
    readout = built(NormReadout(6, 5, dim=2, kernel_size=1, take_norm=False))
    assert torch.equal(readout(x), readout.project(x))
    assert readout.project.out_channels == 5


def test_a_complex_linear_readout_without_bias_does_not_see_a_common_phase(x):
    readout = built(NormReadout(6, 4, dim=2, kernel_size=1, take_norm=True))
    re, im = readout.project.weight[0::2, 0::2].clone(), readout.project.weight[1::2, 0::2].clone()
    weight = readout.project.weight
    weight[0::2, 0::2], weight[0::2, 1::2], weight[1::2, 0::2], weight[1::2, 1::2] = re, -im, im, re
    cosine, sine = torch.cos(torch.tensor(0.8)), torch.sin(torch.tensor(0.8))
    turned = torch.empty_like(x)
    turned[:, 0::2] = cosine * x[:, 0::2] - sine * x[:, 1::2]
    turned[:, 1::2] = sine * x[:, 0::2] + cosine * x[:, 1::2]
    assert (readout(turned) - readout(x)).abs().max() > 0.01  # a bias sees it
    readout.project.bias.zero_()
    torch.testing.assert_close(readout(turned), readout(x))


def test_the_residual_map_is_two_blocks_beside_a_shortcut_and_a_third(x):
    g = built(ResidualMap(6, 3, "batch")).eval()

    def block(module, m):
        norm, _, conv = module
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        normed = (m - norm.running_mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
        return conv(normed.clamp_min(0))

    for module in g.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1, generator=generator("cpu", 1))
            module.running_var.uniform_(0.5, 2, generator=generator("cpu", 2))
    torch.testing.assert_close(g(x), block(g.last, x + block(g.inner[1], block(g.inner[0], x))))


@pytest.mark.parametrize(("kind", "convolutions"), [("residual", 3), ("single", 1), ("identity", 0)])
def test_each_map_has_its_number_of_convolutions_of_the_kernel_asked_for(kind, convolutions, x):
    g = built(readout_map(kind, 6, 5, "none"))
    kernels = [m.kernel_size for m in g.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(5, 5)] * convolutions
    assert g(x).shape == x.shape
    if kind == "identity":
        assert torch.equal(g(x), x)


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm), ("none", nn.Identity)])
def test_the_norm_of_the_map_is_the_one_asked_for(norm, kind):
    with borrowed_global(generator("cpu", 0)):
        readout = Readout(8, 16, dim=2, kernel_size=3, take_norm=True, g="residual", g_norm=norm)
    assert isinstance(readout[1].last[0], kind)
    if norm == "group":
        assert readout[1].last[0].num_groups == 8


@pytest.mark.parametrize(
    ("dim", "kernel", "line"),
    [(0, 3, "readout_dim=0"), (2, 4, "readout_kernel=4"), (2, 0, "readout_kernel=0"), (2, -3, "readout_kernel=-3")],
)
def test_readouts_that_cannot_be_built_are_an_error(dim, kernel, line):
    with pytest.raises(UserError, match=line):
        NormReadout(4, 4, dim=dim, kernel_size=kernel, take_norm=True)
