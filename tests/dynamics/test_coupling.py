"""Couplings: the convolution as a matrix, attention as a sum over sites."""

import math

import pytest
import torch

from sslkuramoto.dynamics.coupling import AttentionCoupling, ConvCoupling
from sslkuramoto.errors import UserError


def test_a_convolution_couples_sites_by_their_offset_and_nothing_lies_beyond_the_edge(normal, matrix_of):
    conv = ConvCoupling(2, 3).double().requires_grad_(False)
    h, w = 3, 4
    matrix = matrix_of(conv, (2, h, w)).view(2, h, w, 2, h, w)
    for y in range(h):
        for x in range(w):
            for v in range(h):
                for u in range(w):
                    near = abs(v - y) <= 1 and abs(u - x) <= 1
                    block = conv.weight[:, :, v - y + 1, u - x + 1] if near else torch.zeros(2, 2, dtype=torch.float64)
                    torch.testing.assert_close(matrix[:, y, x, :, v, u], block)


def test_attention_equals_a_loop_over_heads_and_sites_with_heads_interleaved_over_channels(normal):
    c, heads, h, w = 6, 3, 2, 3
    attention = AttentionCoupling(c, heads).double().requires_grad_(False)
    x = normal(1, c, h, w)
    tokens = x[0].flatten(1)  # c s
    qkv = attention.to_qkv.weight[:, :, 0, 0] @ tokens + attention.to_qkv.bias[:, None]
    mixed = torch.zeros(c, h * w, dtype=torch.float64)
    for head in range(heads):
        mine = torch.arange(head, c, heads)  # the head of a channel is its index modulo the number of heads
        q, k, v = qkv[mine], qkv[c + mine], qkv[2 * c + mine]
        for s in range(h * w):
            weights = torch.softmax(torch.stack([q[:, s] @ k[:, t] for t in range(h * w)]) / math.sqrt(c / heads), 0)
            mixed[mine, s] = v @ weights
    wanted = attention.to_out.weight[:, :, 0, 0] @ mixed + attention.to_out.bias[:, None]
    torch.testing.assert_close(attention(x)[0].flatten(1), wanted)


def test_symmetric_attention_equals_a_loop_with_one_weight_for_queries_and_keys_and_a_symmetric_one_for_values(normal):
    c, heads, h, w = 6, 3, 2, 3
    attention = AttentionCoupling(c, heads, symmetric=True).double().requires_grad_(False)
    x = normal(1, c, h, w)
    tokens, free = x[0].flatten(1), attention.to_value.weight[:, :, 0, 0]
    query = attention.to_query.weight[:, :, 0, 0] @ tokens + attention.to_query.bias[:, None]
    symmetric = torch.tensor([[(free[i, j] + free[j, i]) / 2 for j in range(c)] for i in range(c)])
    value = symmetric @ tokens + attention.to_value.bias[:, None]
    mixed = torch.zeros(c, h * w, dtype=torch.float64)
    for head in range(heads):
        mine = torch.arange(head, c, heads)
        scores = query[mine].T @ query[mine] / math.sqrt(c / heads)
        assert torch.equal(scores, scores.T)
        for s in range(h * w):
            mixed[mine, s] = value[mine] @ torch.softmax(scores[s], 0)
    wanted = attention.to_out.weight[:, :, 0, 0] @ mixed + attention.to_out.bias[:, None]
    torch.testing.assert_close(attention(x)[0].flatten(1), wanted)


@pytest.mark.parametrize("positions", ["none", "rope", "gta"])
def test_symmetric_attention_has_the_parameters_of_attention_without_those_of_keys(positions):
    """Biases included; with positions also one table of rotations less."""
    counts = []
    for symmetric in (False, True):
        attention = AttentionCoupling(8, 2, positions, (2, 3), symmetric=symmetric)
        counts.append(sum(parameter.numel() for parameter in attention.parameters()))
        assert ("key" in attention.rotations) == (positions != "none" and not symmetric)
    tables = 0 if positions == "none" else 6 * 2 * 4  # sites, planes of a head, 2 x 2
    assert counts[0] - counts[1] == 8 * 8 + 8 + tables


def test_attention_without_positions_commutes_with_any_permutation_of_the_sites(normal):
    attention = AttentionCoupling(8, 2).double().requires_grad_(False)
    x, order = normal(2, 8, 3, 4), torch.tensor([5, 0, 11, 3, 7, 1, 10, 2, 9, 4, 8, 6])

    def permuted(v):
        return v.flatten(2)[:, :, order].view(v.shape)

    torch.testing.assert_close(attention(permuted(x)), permuted(attention(x)), rtol=0, atol=1e-14)
    conv = ConvCoupling(8, 3).double().requires_grad_(False)
    assert (conv(permuted(x)) - permuted(conv(x))).abs().max() > 0.1  # a convolution does not


@pytest.mark.parametrize("kernel", [0, 2, -1])
def test_kernels_that_do_not_keep_the_grid_are_an_error(kernel):
    with pytest.raises(UserError, match=f"kernel_size={kernel}: must be odd"):
        ConvCoupling(4, kernel)


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_that_do_not_divide_the_channels_are_an_error(heads):
    with pytest.raises(UserError, match=f"heads={heads}: must divide channels=8"):
        AttentionCoupling(8, heads)


def test_a_convolution_without_bias_maps_zero_to_zero_also_in_the_fourier_domain(normal):
    conv = ConvCoupling(32, 7, bias=False)
    x = normal(16, 32, 16, 16).float()
    couple = conv.train().prepared(x)
    assert couple is not conv
    assert couple(torch.zeros_like(x)).abs().max() == 0
    torch.testing.assert_close(couple(x), conv(x), rtol=1e-4, atol=1e-5)
