"""Sets of scenes: images with masks, which say for each pixel the object that it belongs to.

``extra["masks"]`` of a batch is 0 for the background, 1, 2, ... for objects and -1 for pixels that no measure counts.
``extra["class_masks"]``, where a source has classes of objects, holds the class of each pixel in the same form. They
are decoded when they are asked for, so that pretraining takes no time for them.

Shapes: b batch, n scenes, m kinds of masks, y x pixels in the source's own size, s side of the square images.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from sslkuramoto.data.images.build import assemble
from sslkuramoto.data.images.image_set import PLACEHOLDER, ImageSet, MemorySet
from sslkuramoto.data.images.readers import Samples
from sslkuramoto.data.images.subset import SPLITS, Choice
from sslkuramoto.errors import unknown
from sslkuramoto.examples import INSTANCES, Batch, Images, UnsizedImages

IGNORED = 255
"""How a stored mask marks a pixel that no measure counts; a batch has -1 there."""
MOST_OBJECTS = IGNORED - 1


class Masks(ABC):
    """Masks of the images of a source, in their own size.

    Attributes:
        names: of each kind of mask: "masks", and "class_masks" where objects have classes.
    """

    names: tuple[str, ...] = (INSTANCES,)

    @abstractmethod
    def read(self, index: int) -> UInt8[Tensor, "m y x"]:
        """Return the masks of image ``index``; ignored pixels are 255.

        Raises:
            UserError: they are damaged, or do not fit the image.
        """

    def digest(self, indices: Tensor) -> bytes:
        """Return a hash of the masks at ``indices``, without decoding them where they are files."""
        digest = hashlib.blake2b()
        for index in indices.tolist():
            digest.update(self.read(index).numpy().tobytes())
        return digest.digest()

    def stamp(self, index: int) -> str:
        """Return a text that changes with the masks of image ``index``, found without reading it."""
        return ""


@dataclass(frozen=True, eq=False)
class ArrayMasks(Masks):
    """Masks that a source holds as one array, as uint8."""

    layers: UInt8[Tensor, "n m y x"]
    names: tuple[str, ...] = (INSTANCES,)

    def read(self, index: int) -> UInt8[Tensor, "m y x"]:
        return self.layers[index]


class SceneSet(ImageSet):
    """The scenes of one split: an image set without labels, and the masks of its images.

    Args:
        images: the images.
        masks: of all images of the part that ``images`` were chosen from.
        chosen: place of each image among them.
    """

    classes = None
    labels = None

    def __init__(self, images: ImageSet, masks: Masks, chosen: Int64[Tensor, " n"]) -> None:
        assert len(images) == len(chosen)
        self.images, self.masks, self.chosen = images, masks, chosen
        self.name, self.split, self.size, self.notes = images.name, images.split, images.size, images.notes
        self.covers = images.covers
        digest = hashlib.blake2b(images.fingerprint.encode() + masks.digest(chosen), digest_size=16)
        self.fingerprint = digest.hexdigest()
        stamps = "\x1e".join(masks.stamp(place) for place in chosen.tolist()) if images.stamp else ""
        self.stamp = hashlib.blake2b(f"{images.stamp}{stamps}".encode()).hexdigest()[:32] if images.stamp else ""

    @property
    def spec(self) -> Images:
        return Images(self.size, None, masks=True)

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Images:
        size = options.get("size")
        return UnsizedImages(PLACEHOLDER, None, masks=True) if size is None else Images(size, None, masks=True)

    def sampled_content(self) -> str:
        return self.images.sampled_content()

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Tensor]:
        return self.images.pixels(order, device, workers)

    def batches(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Batch]:
        for batch in super().batches(order, device, workers):
            yield batch._replace(extra=_Asked(self, batch.indices, device))

    def masks_at(self, indices: Int64[Tensor, " b"]) -> UInt8[Tensor, "b m s s"]:
        """Return the masks of some images, fitted to their size; ignored pixels are 255.

        Raises:
            UserError: they are damaged, or do not fit the image.
        """
        return torch.stack([fitted(self.masks.read(place), self.size) for place in self.chosen[indices].tolist()])


class _Asked(Mapping[str, Tensor]):
    """The masks of a batch by their names, decoded at the first question."""

    def __init__(self, scenes: SceneSet, indices: Int64[Tensor, " b"], device: torch.device) -> None:
        self.scenes, self.indices, self.device = scenes, indices, device
        self.found: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Int64[Tensor, "b s s"]:
        if name not in self.scenes.masks.names:
            raise KeyError(name)
        if not self.found:
            layers = self.scenes.masks_at(self.indices).to(self.device).long()
            signed = layers.masked_fill_(layers == IGNORED, -1)
            self.found = {kind: signed[:, place] for place, kind in enumerate(self.scenes.masks.names)}
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scenes.masks.names)

    def __len__(self) -> int:
        return len(self.scenes.masks.names)


def fitted(masks: UInt8[Tensor, "m y x"], side: int) -> UInt8[Tensor, "m s s"]:
    """Return masks with their short side resized to the nearest pixels, cropped to their centre, as images are."""
    from torchvision.transforms.v2 import InterpolationMode, functional  # slow to load: only where masks are read

    if min(masks.shape[1:]) != side:
        masks = functional.resize(masks, [side], interpolation=InterpolationMode.NEAREST_EXACT)
    return functional.center_crop(masks, [side, side])


def chosen_scenes(
    name: str, split: str, part: str, samples: Samples, masks: Masks, choice: Choice, notes: tuple[str, ...] = ()
) -> SceneSet:
    """Return the scenes of ``split``; arguments as of :func:`~sslkuramoto.data.images.build.assemble`.

    Args:
        masks: of all images of the part.

    Raises:
        UserError: an image or a mask is damaged, they do not fit each other, or sizes and limits do not fit.
    """
    images = assemble(name, split, part, samples, choice, notes)
    chosen = choice.indices(split, part, len(samples), samples.labels)
    if images.stamp:  # streamed, and so are the masks
        return SceneSet(images, masks, chosen)
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        layers = torch.stack([*pool.map(lambda place: fitted(masks.read(place), images.size), chosen.tolist())])
    return SceneSet(images, ArrayMasks(layers, masks.names), torch.arange(len(chosen)))


def generated(
    name: str,
    split: str,
    count: Mapping[str, int],
    make: Callable[[int, str], tuple[UInt8[Tensor, "n 3 s s"], UInt8[Tensor, "n s s"]]],
) -> SceneSet:
    """Return generated scenes, in memory.

    Args:
        name: name of the source in the recipe.
        split: "train", "val" or "test".
        count: number of scenes of each split.
        make: (number, split) -> images and masks, ignored pixels 255.

    Raises:
        UserError: an unknown split.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    images, masks = make(count[split], split)
    digest = hashlib.blake2b(f"{name} {split} {tuple(images.shape)}".encode(), digest_size=16)
    digest.update(images.numpy().data)
    held = MemorySet(name, split, None, None, images.shape[-1], digest.hexdigest(), images)
    return SceneSet(held, ArrayMasks(masks[:, None]), torch.arange(len(images)))
