"""Crops agree with torchvision and Pillow."""

import math

import numpy
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop as VisionCrop
from torchvision.transforms.v2 import functional as vision

from sslkuramoto.views.appearance import ANY_RATIO
from sslkuramoto.views.crop import EnlargedCentre, RandomPaddedCrop, RandomResizedCrop, resized_crop

SIZE = 32


def noise(count, size=SIZE):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_known_boxes_give_what_torchvision_gives():
    torch.manual_seed(0)
    boxes = torch.cat([RandomResizedCrop(SIZE, scale=(0.08, 1.0), ratio=ANY_RATIO).boxes(60), torch.zeros(4, 4).long()])
    boxes[60:] = torch.tensor([[0, 0, 32, 32], [5, 7, 1, 1], [31, 0, 1, 32], [0, 3, 32, 1]])
    images = noise(64)
    got = resized_crop(images, boxes, SIZE)
    for image, box, view in zip(images, boxes.tolist(), got, strict=True):
        expected = vision.resized_crop(image, *box, [SIZE, SIZE], antialias=True)
        assert torch.allclose(view, expected, atol=2e-5)


def test_known_box_gives_what_pillow_gives_within_its_eight_bits():
    image = (noise(1) * 255).round()
    top, left, height, width = 3, 6, 17, 21
    pillow = Image.fromarray(image[0].permute(1, 2, 0).byte().numpy())
    pillow = pillow.crop((left, top, left + width, top + height)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(numpy.array(pillow)).permute(2, 0, 1).float()
    got = resized_crop(image, torch.tensor([[top, left, height, width]]), SIZE)[0]
    assert (got - expected).abs().max() <= 1.0


@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.08, 1.0), ANY_RATIO), ((0.2, 1.0), ANY_RATIO), ((0.9, 1.0), (0.5, 2.0))]
)
def test_boxes_are_distributed_as_torchvision_draws_them(scale, ratio):
    torch.manual_seed(0)
    image = noise(1)[0]
    theirs = torch.tensor([VisionCrop.get_params(image, scale, ratio) for _ in range(3000)]).float()
    ours = RandomResizedCrop(SIZE, scale=scale, ratio=ratio).boxes(3000).float()

    def statistics(boxes):
        top, left, height, width = boxes.unbind(1)
        area, aspect = height * width / SIZE**2, (width / height).log()
        room = torch.stack([top / (SIZE - height).clamp(min=1), left / (SIZE - width).clamp(min=1)]).mean()
        return torch.stack([area.mean(), area.std(), aspect.mean(), aspect.std(), room])

    assert torch.allclose(statistics(ours), statistics(theirs), atol=0.025)


def test_boxes_lie_inside_the_image_and_inside_the_asked_area():
    torch.manual_seed(0)
    top, left, height, width = RandomResizedCrop(SIZE, scale=(0.3, 0.6), ratio=ANY_RATIO).boxes(2000).unbind(1)
    assert top.min() >= 0
    assert left.min() >= 0
    assert (top + height).max() <= SIZE
    assert (left + width).max() <= SIZE
    area = height * width / SIZE**2
    assert area.min() > 0.3 - 0.05
    assert area.max() < 0.6 + 0.05
    ratio = (width / height).log()
    assert ratio.abs().max() < math.log(4 / 3) + 0.1


def test_crop_keeps_left_and_right_apart_from_top_and_bottom():
    image = torch.zeros(1, 3, SIZE, SIZE)
    image[..., :16] = 1.0  # the left half is white
    assert (resized_crop(image, torch.tensor([[10, 0, 8, 16]]), SIZE) == 1).all()
    assert (resized_crop(image, torch.tensor([[0, 16, 16, 16]]), SIZE) == 0).all()


def test_padded_crop_is_the_padded_image_at_one_of_81_places_all_alike():
    torch.manual_seed(0)
    image = noise(1, 8)
    views = RandomPaddedCrop(4)(image.expand(8100, -1, -1, -1))
    padded = torch.nn.functional.pad(image, (4,) * 4)[0]
    windows = padded.unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).reshape(81, -1)
    found, counts = views.flatten(1).unique(dim=0, return_counts=True)
    expected = windows.unique(dim=0)
    assert torch.equal(found, expected)
    assert counts.min() > 60
    assert counts.max() < 145


@pytest.mark.parametrize(("size", "enlarged"), [(32, 36), (224, 256)])
def test_clean_view_is_resize_by_8_over_7_and_centre_crop(size, enlarged):
    images = noise(2, size)
    large = vision.resize(images, [enlarged], interpolation=vision.InterpolationMode.BICUBIC, antialias=True)
    expected = vision.center_crop(large, [size]).clamp(0, 1)
    assert torch.allclose(EnlargedCentre()(images), expected, atol=1e-5)


def test_clean_view_is_pillows_within_its_eight_bits():
    image = (noise(1) * 120 + 70).round()  # away from black and white, where Pillow cuts off between its two passes
    pillow = Image.fromarray(image[0].permute(1, 2, 0).byte().numpy()).resize((36, 36), Image.Resampling.BICUBIC)
    expected = torch.from_numpy(numpy.array(pillow)).permute(2, 0, 1).float()[:, 2:34, 2:34]
    assert (EnlargedCentre()(image / 255)[0] * 255 - expected).abs().max() <= 1.0
