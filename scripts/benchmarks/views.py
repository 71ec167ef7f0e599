"""View policies against the same augmentations by torchvision on PIL images, and their share of a training step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms

from benchmarks.timing import Figure, Settings, Spread, Times, compared, interleaved
from sslkuramoto.data import batches, shuffled
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.examples import Images
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import recipe_from
from sslkuramoto.training.learner import build
from sslkuramoto.views import VIEWS

Chain = Callable[[Image.Image], Tensor]
WITHOUT = ("sudoku_symmetries", "maze_symmetries")
"""Policies of boards, for which torchvision has no augmentation."""
SIZES = ((32, 128), (96, 32))
"""Side of the images in pixels and images of a batch; above 32 pixels the policies blur."""
CLASSES = 10
WAITING = 3.0
"""Largest share of a training step, percent, that may be waiting for data."""


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield the figure of each policy of images, and the shares of data and views in a training step."""
    if settings.device.type == "cpu":
        torch.set_num_threads(1)
    for side, batch in SIZES:
        side, batch = settings.size(side, 8 * side // 32), settings.size(batch, 2)
        for name, chains in plain(side).items():
            yield _policy(name, chains, side, batch, settings)
    yield from _shares(settings)


def plain(side: int) -> dict[str, list[Chain]]:
    """Return for each policy of images the chain of each of its views, as torchvision's users write it."""
    blurs = float(side > 32)

    def cut(low: float) -> list[Any]:
        return [transforms.RandomResizedCrop(side, scale=(low, 1.0)), transforms.RandomHorizontalFlip()]

    def strong(low: float, jitter: tuple[float, ...], blur: float, solarize: float = 0.0) -> Chain:
        chain = [*cut(low), transforms.RandomApply([transforms.ColorJitter(*jitter)], 0.8)]
        chain.append(transforms.RandomGrayscale(0.2))
        if blur:
            chain.append(
                transforms.RandomApply([transforms.GaussianBlur(max(3, side // 20 * 2 + 1), (0.1, 2.0))], blur)
            )
        if solarize:
            chain.append(transforms.RandomSolarize(128, solarize))
        return transforms.Compose([*chain, transforms.ToTensor()])

    def whole(*chain: Any) -> Chain:
        return transforms.Compose([*chain, transforms.ToTensor()])

    simsiam = strong(0.2, (0.4, 0.4, 0.4, 0.1), 0.5 * blurs)
    byol = (0.4, 0.4, 0.2, 0.1)
    bicubic = transforms.InterpolationMode.BICUBIC
    enlarged = whole(transforms.Resize(side * 8 // 7, bicubic), transforms.CenterCrop(side))
    erased = transforms.Compose(
        [
            whole(*cut(0.08), transforms.ColorJitter(0.4, 0.4, 0.4), transforms.RandAugment(2, 9)),
            transforms.RandomErasing(0.25, value=0.5),  # pyright: ignore[reportArgumentType] # documented as a number
        ]
    )
    return {
        "simclr": 2 * [strong(0.08, (0.4, 0.4, 0.4, 0.1), 0.5 * blurs)],
        "byol": [strong(0.08, byol, blurs), strong(0.08, byol, 0.1 * blurs, 0.2)],
        "simsiam": 2 * [simsiam],
        "phinet": [simsiam, simsiam, enlarged],
        "akorn_supervised": [whole(*cut(0.2), transforms.ColorJitter(0.4, 0.4, 0.4, 0.1), transforms.AugMix())],
        "randaugment": [erased],
        "flip_crop": [whole(transforms.RandomCrop(side, 4), transforms.RandomHorizontalFlip())],
        "plain": [whole()],
        "unchanged": [whole()],
    }


def _policy(name: str, chains: list[Chain], side: int, batch: int, settings: Settings) -> Figure:
    """Return the figure of one policy: from 8-bit images, ours on the device, theirs decoded PIL images."""
    policy = VIEWS.build(name, {}, side)
    assert len(policy.names) == len(chains), f"{name}: {policy.names}"
    coarse = torch.rand(batch, 3, 8, 8, generator=generator("cpu", "benchmark", "views"))
    levels = F.interpolate(coarse, side, mode="bicubic").clamp(0, 1).mul(255).byte()
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in levels]
    levels, draw = levels.to(settings.device), generator("cpu", "benchmark", name)

    def ours() -> Mapping[str, Tensor]:
        return policy(levels.float().div_(255), draw)

    def theirs() -> list[Tensor]:
        return [torch.stack([chain(picture) for picture in pictures]) for chain in chains]

    assert [view.shape for view in ours().values()] == [view.shape for view in theirs()]
    times = interleaved({"ours": ours, "reference": theirs}, settings)
    views = f"{len(chains)} view{'s' if len(chains) > 1 else ''}"
    what = f"views {name}: {views} of {batch} images of {side} x {side}"
    what += ", 1 thread" if settings.device.type == "cpu" else ""
    return compared("views", what, times, settings, against="torchvision's transforms on PIL images")


def _shares(settings: Settings) -> Iterator[Figure]:
    """Yield how much of a SimCLR step of AKOrN is reading a batch from memory, and how much making views."""
    device, on_cpu = settings.device, settings.device.type == "cpu"
    side, channels = settings.size(32, 8), settings.size(64, 8)
    batch, count = settings.size(16 if on_cpu else 512, 4), settings.size(50_000, 16)
    recipe = recipe_from(
        {
            "data": {"name": "digits"},  # what is read is made here, of the size of CIFAR-10
            "views": {"name": "simclr"},
            "encoder": {"name": "akorn", "channels": channels},
            "objective": {"name": "simclr"},
            "optimizer": {"name": "adam", "lr": 1e-3},
            "epochs": 1,
            "batch_size": batch,
            "engine": {"device": device.type},
        }
    )
    learner, policy = build(recipe, Images(side, CLASSES))
    learner.to(device).train()
    optimizer = torch.optim.Adam(learner.parameters(), 1e-3)
    draw = generator("cpu", "benchmark", "set")
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=draw)
    labels = torch.randint(0, CLASSES, (count,), generator=draw)
    data = MemorySet("made", "train", tuple(map(str, range(CLASSES))), labels, side, "", images)
    order = shuffled(count, batch, seed=0, epoch=0)[: 1 if on_cpu else 10]

    def read() -> list[Tensor]:
        return [each.inputs for each in batches(data, order, device=device)]

    def viewed() -> None:
        for inputs in fixed:
            policy(inputs, draw)

    def steps() -> None:
        noise = generator(device, "benchmark", "oscillators")
        for each in batches(data, order, device=device):
            outcome = learner(policy(each.inputs, draw), noise, each.targets)
            outcome.loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    fixed = read()
    times = interleaved({"data": read, "views": viewed, "steps": steps}, settings)
    step = f"a SimCLR step of AKOrN conv, {channels} channels, batch {batch}, {side} x {side}"
    note = f"Each done alone, so that on a GPU nothing runs beside it; {count:,} images of 8 bits in memory."
    for part, title, limit in (("data", "reading the batch", WAITING), ("views", "making its 2 views", None)):
        share = _share(times[part], times["steps"], settings)
        yield Figure(
            "views", f"{title}, share of {step}", "%", share, wanted=limit, at_most=limit is not None, note=note
        )


def _share(part: Times, whole: Times, settings: Settings) -> Spread:
    pairs = zip(getattr(part, settings.judged), getattr(whole, settings.judged), strict=True)
    return Spread.of([100 * some / all_ for some, all_ in pairs])
