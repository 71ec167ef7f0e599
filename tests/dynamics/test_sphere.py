"""Unit vectors in feature maps against loops over the oscillators."""

import pytest
import torch

from sslkuramoto.dynamics.sphere import EPS, components, dot, norm, normalise, random_oscillators, tangent
from sslkuramoto.randomness import generator


def loop(x: torch.Tensor, n: int):
    """Yield the place and the vector of each oscillator: n consecutive channels."""
    b, c, h, w = x.shape
    for image in range(b):
        for m in range(c // n):
            for y in range(h):
                for col in range(w):
                    yield (image, m, y, col), x[image, m * n : (m + 1) * n, y, col]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_norm_dot_and_projection_equal_loops_over_oscillators_of_consecutive_channels(n, normal):
    x, y = normal(2, 2 * n, 2, 3), normal(2, 2 * n, 2, 3)
    lengths, products, projected, unit = norm(x, n), dot(x, y, n), tangent(x, y, n), normalise(x, n)
    ys, ps, us = (dict(loop(value, n)) for value in (y, projected, unit))
    for place, v in loop(x, n):
        assert lengths[place] == pytest.approx(v.norm().item(), rel=1e-14)
        assert products[place] == pytest.approx(v.dot(ys[place]).item(), rel=1e-12, abs=1e-14)
        torch.testing.assert_close(ps[place], ys[place] - v.dot(ys[place]) * v)
        torch.testing.assert_close(us[place], v / v.norm())


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_projection_is_orthogonal_to_the_oscillator_and_idempotent(n, oscillators, normal):
    x = oscillators(n)
    once = tangent(x, normal(*x.shape), n)
    assert dot(x, once, n).abs().max() < 1e-14
    torch.testing.assert_close(tangent(x, once, n), once, rtol=0, atol=1e-14)


def test_very_long_and_very_short_vectors_become_unit_vectors_and_zero_stays_zero():
    x = torch.tensor([1e150, -1e150, 3e-12, 4e-12, 0.0, 0.0], dtype=torch.float64).view(1, 6, 1, 1)
    wanted = torch.tensor([2**-0.5, -(2**-0.5), 0.6, 0.8, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(normalise(x, 2).flatten(), wanted)


def test_a_vector_shorter_than_eps_is_scaled_by_its_inverse():
    x = torch.tensor([EPS / 4, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    assert normalise(x, 2).flatten().tolist() == pytest.approx([0.25, 0.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 4])
def test_the_gradient_of_the_norm_at_zero_is_zero(n, dtype):
    x = torch.zeros(1, n, 2, 2, dtype=dtype)
    x[..., 0] = 3.0
    x.requires_grad_()
    norm(x, n).sum().backward()
    assert torch.equal(x.grad[..., 1], torch.zeros(1, n, 2, dtype=dtype))
    torch.testing.assert_close(x.grad[..., 0], torch.full((1, n, 2), n**-0.5, dtype=dtype))


@pytest.mark.parametrize("n", [2, 3])
def test_gradients_of_norm_normalise_and_projection_are_right(n, normal):
    x, y = normal(1, 2 * n, 1, 2).requires_grad_(), normal(1, 2 * n, 1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: norm(v, n), x)
    assert torch.autograd.gradcheck(lambda v: normalise(v, n), x)
    assert torch.autograd.gradcheck(lambda v, w: tangent(v, w, n), (x, y))


def test_components_are_views_of_the_coordinates():
    x = torch.zeros(1, 6, 1, 1)
    components(x, 3)[2].fill_(1)
    assert x.flatten().tolist() == [0, 0, 1, 0, 0, 1]


def test_norm_and_normalise_accept_tensors_that_are_not_contiguous(normal):
    x = normal(2, 5, 3, 4).permute(0, 3, 1, 2)
    assert torch.equal(normalise(x, 2), normalise(x.contiguous(), 2))
    assert torch.equal(norm(x, 2), norm(x.contiguous(), 2))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_random_oscillators_point_everywhere_alike(n):
    x = normalise(random_oscillators((1, n, 100, 100), generator("cpu", "sphere"), dtype=torch.float64), n)
    vectors = x.flatten(2)[0]  # n, 10000
    assert vectors.mean(1).abs().max() < 5 / (n * 1e4) ** 0.5  # five standard errors
    torch.testing.assert_close(
        vectors @ vectors.T / 1e4, torch.eye(n, dtype=torch.float64) / n, rtol=0, atol=5 / (2 * 1e4) ** 0.5
    )


def test_random_oscillators_come_from_the_generator_only():
    before = torch.get_rng_state()
    one = random_oscillators((1, 2, 3, 3), generator("cpu", 1))
    assert torch.equal(one, random_oscillators((1, 2, 3, 3), generator("cpu", 1)))
    assert not torch.equal(one, random_oscillators((1, 2, 3, 3), generator("cpu", 2)))
    assert torch.equal(before, torch.get_rng_state())
