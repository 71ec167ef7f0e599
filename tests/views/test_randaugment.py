"""RandAugment equals torchvision's, image by image, and random erasing erases boxes of the stated size."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandAugment as VisionRandAugment
from torchvision.transforms.autoaugment import _apply_op

from sslkuramoto.randomness import generator
from sslkuramoto.views import VIEWS
from sslkuramoto.views.eight_bit import WHITE
from sslkuramoto.views.randaugment import MAGNITUDES, RandAugment, magnitudes

STILL = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "horizontal_flip": 0.0, "jitter_probability": 0.0}


def levels(count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1)).byte()


@pytest.mark.parametrize("level", [0, 9, 30])
@pytest.mark.parametrize("size", [32, 33])
def test_magnitudes_are_torchvisions(size: int, level: int) -> None:
    space = VisionRandAugment()._augmentation_space(MAGNITUDES, (size, size))
    ours = magnitudes(size, level)
    assert list(ours) == list(space)
    for name, (values, signed) in space.items():
        assert ours[name][0] == pytest.approx(float(values[level] if values.ndim else 0.0), abs=1e-5), name
        assert ours[name][1] == signed, name


def test_images_are_torchvisions_with_the_same_choices() -> None:
    torch.manual_seed(0)
    images = levels(48, 16)
    policy = RandAugment(16)
    chosen = policy.chosen_for(48)
    got = policy.changed(images.float() / WHITE, chosen) * WHITE
    exact = 0.0
    for b, image in enumerate(images):
        for operation, magnitude in zip(chosen.operation[:, b].tolist(), chosen.magnitude[:, b].tolist(), strict=True):
            image = _apply_op(image, policy.names[operation], magnitude, InterpolationMode.BILINEAR, None)
        exact += ((got[b] - image).abs() < 0.01).float().mean().item() / 48
    assert exact > 0.99, "a half may round either way, and a second operation may stretch it"


def test_operations_are_drawn_uniformly_with_either_sign_at_one_magnitude() -> None:
    torch.manual_seed(0)
    policy = RandAugment(32, operations=3, magnitude=15)
    chosen = policy.chosen_for(4000)
    assert chosen.operation.shape == (3, 4000)
    counts = torch.bincount(chosen.operation.flatten(), minlength=14) / 12000
    assert torch.allclose(counts, torch.full((14,), 1 / 14), atol=0.008)
    for index, (name, (value, signed)) in enumerate(magnitudes(32, 15).items()):
        found, number = chosen.magnitude[chosen.operation == index].unique(return_counts=True)
        assert found.tolist() == pytest.approx([-value, value] if signed and value else [value]), name
        assert len(found) == 1 or abs(number[0] / number.sum() - 0.5) < 0.05, name


def test_identity_and_no_operations_leave_the_image() -> None:
    images = levels(8, 16).float() / WHITE
    policy = RandAugment(16, operations=1)
    chosen = policy.chosen_for(8)
    assert torch.equal(policy.changed(images, chosen._replace(operation=torch.zeros(1, 8, dtype=torch.long))), images)
    view = VIEWS.build("randaugment", {**STILL, "operations": 0, "erase": 0.0}, 16)(images, generator("cpu", 0))["a"]
    assert torch.allclose(view, images, atol=1e-5)


def test_a_quarter_of_the_images_loses_a_box_of_the_stated_area_ratio_and_value() -> None:
    images = torch.full((4000, 3, 20, 20), 0.25)
    options = {**STILL, "operations": 0, "erase_scale": (0.1, 0.2), "erase_ratio": (0.5, 2.0), "erase_value": 0.75}
    view = VIEWS.build("randaugment", options, 20)(images, generator("cpu", 0))["a"]
    box = (view[:, 0] - 0.75).abs() < 1e-6
    erased = box.flatten(1).any(1)
    assert abs(erased.float().mean() - 0.25) < 0.03
    assert torch.allclose(view[~erased], images[~erased], atol=1e-6)
    box = box[erased].float()
    height, width = box.amax(2).sum(1), box.amax(1).sum(1)
    assert torch.equal(box.sum((1, 2)), height * width), "one full box"
    area = height * width / 400
    assert area.min() >= 0.1 * 0.8
    assert area.max() <= 0.2 * 1.2
    assert abs(area.mean() - 0.15) < 0.01
    ratio = height / width
    assert ratio.min() >= 0.4
    assert ratio.max() <= 2.5
    assert abs((ratio > 1).float().mean() - (ratio < 1).float().mean()) < 0.1
    assert all(torch.equal(view[erased][:, channel], view[erased][:, 0]) for channel in (1, 2))
