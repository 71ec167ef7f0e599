"""AugMix equals torchvision's, each operation by itself and the whole mixture."""

import pytest
import torch
from torchvision.transforms import AugMix as VisionAugMix
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from sslkuramoto.views.augmix import AugMix, magnitudes
from sslkuramoto.views.eight_bit import GEOMETRIC, PHOTOMETRIC, WHITE, warp


def levels(count, size):
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1)).byte()


def theirs(images, name, magnitude):
    return _apply_op(images, name, magnitude, InterpolationMode.BILINEAR, None)


@pytest.mark.parametrize("size", [32, 33])
def test_magnitudes_are_torchvisions(size):
    space = VisionAugMix()._augmentation_space(10, (size, size))
    ours = magnitudes(size)
    assert list(ours) == list(space) == list(AugMix(size).operations)
    for name, (values, signed) in space.items():
        assert torch.equal(ours[name][0], values.float().expand(10))
        assert ours[name][1] == signed


@pytest.mark.parametrize("name", list(magnitudes(8)))
@pytest.mark.parametrize("size", [16, 17])
def test_operation_is_torchvisions_level_by_level(name, size):
    values, signed = magnitudes(size)[name]
    values = torch.cat([values, -values]) if signed else values
    images = levels(len(values), size)
    images[0] = 77  # one level only
    images[1] = images[1] // 2 + 60  # not the whole range
    wanted = torch.stack([theirs(image, name, float(value)) for image, value in zip(images, values, strict=True)])
    each = values.double()
    got = warp(images, GEOMETRIC[name](each, size)) if name in GEOMETRIC else PHOTOMETRIC[name](images, each)
    difference = (got.int() - wanted.int()).abs()
    assert difference.max() <= 1
    if name in GEOMETRIC:
        # float32 puts a value on a half level on either side of it, which depends on the CPU; no other value differs
        exact = read_exactly(images, GEOMETRIC[name](each, size))
        from_half = (exact - exact.floor() - 0.5).abs()
        assert (from_half[difference > 0] < 1e-3).all()
    else:
        assert (difference > 0).float().mean() < 1e-3


def read_exactly(images, matrices):
    """Return what ``warp`` reads, in float64 and before it is rounded."""
    size = images.shape[-1]
    place = torch.arange(size, dtype=torch.float64) - 0.5 * (size - 1)
    x, y, one = ((matrices / (0.5 * size)).double()[:, None, None, :, column] for column in range(3))
    grid = x * place[None, None, :, None] + y * place[None, :, None, None] + one
    return torch.nn.functional.grid_sample(images.double(), grid, align_corners=False)


def test_whole_mixture_is_torchvisions_with_the_same_choices():
    torch.manual_seed(0)
    images = levels(24, 16).float() / WHITE
    augmix = AugMix(16)
    drawn = augmix.mixture_for(24)
    got = augmix.mix(images, drawn) * WHITE
    exact = 0.0
    for b, image in enumerate(levels(24, 16)):
        mixed = drawn.own_weight[b] * image
        for k in range(3):
            copy = image
            for operation, magnitude, active in zip(
                drawn.operation[k, b].tolist(), drawn.magnitude[k, b].tolist(), drawn.active[k, b].tolist(), strict=True
            ):
                copy = theirs(copy, augmix.operations[operation], magnitude) if active else copy
            mixed = mixed + drawn.chain_weights[k, b] * copy
        difference = (got[b] - mixed.to(torch.uint8)).abs()
        assert difference.max() <= 2.01
        exact += (difference < 0.01).float().mean().item() / 24
    assert exact > 0.995


def test_mixture_is_drawn_as_torchvision_draws_it():
    torch.manual_seed(0)
    drawn = AugMix(32).mixture_for(4000)
    depth = drawn.active.sum(-1)
    assert torch.equal(drawn.active, torch.arange(3) < depth[..., None])  # a chain is not interrupted
    assert torch.allclose(torch.bincount(depth.flatten()) / 12000, torch.tensor([0, 1, 1, 1]) / 3, atol=0.02)
    assert torch.allclose(torch.bincount(drawn.operation.flatten()) / 36000, torch.full((13,), 1 / 13), atol=0.006)
    assert torch.allclose(drawn.own_weight + drawn.chain_weights.sum(0), torch.ones(4000), atol=1e-5)
    # Beta(1, 1): mean 1/2, variance 1/12; each of three weights of Dirichlet(1, 1, 1): mean 1/3, variance 1/18
    assert abs(drawn.own_weight.mean() - 0.5) < 0.02
    assert abs(drawn.own_weight.var() - 1 / 12) < 0.005
    shares = drawn.chain_weights / (1 - drawn.own_weight)
    assert torch.allclose(shares.mean(1), torch.full((3,), 1 / 3), atol=0.02)
    assert torch.allclose(shares.var(1), torch.full((3,), 1 / 18), atol=0.005)


def test_magnitudes_come_from_the_weakest_bins_with_either_sign():
    torch.manual_seed(0)
    augmix = AugMix(32, severity=3)
    drawn = augmix.mixture_for(3000)
    for index, name in enumerate(augmix.operations):
        values, signed = magnitudes(32)[name]
        allowed = torch.cat([values[:3], -values[:3]]) if signed else values[:3]
        found, counts = drawn.magnitude[drawn.operation == index].float().unique(return_counts=True)
        assert set(found.tolist()) == set(allowed.tolist()), name
        if signed:
            assert abs(counts[found < 0].sum() / counts[found != 0].sum() - 0.5) < 0.05


def test_chain_of_fixed_depth_is_always_full_and_one_chain_is_enough():
    drawn = AugMix(8, chain_depth=5, mixture_width=1).mixture_for(7)
    assert drawn.operation.shape == (1, 7, 5)
    assert drawn.active.all()
    assert torch.allclose(drawn.own_weight + drawn.chain_weights[0], torch.ones(7))


def test_corruptions_can_be_left_out():
    assert not {"Brightness", "Color", "Contrast", "Sharpness"} & set(AugMix(8, all_ops=False).operations)
    assert len(AugMix(8, all_ops=False).operations) == 9


def test_result_holds_whole_levels():
    torch.manual_seed(0)
    mixed = AugMix(8)(torch.rand(16, 3, 8, 8)) * WHITE
    assert torch.allclose(mixed, mixed.round(), atol=1e-4)
