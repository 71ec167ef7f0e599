"""CLEVRTex: rendered objects with textures, and their masks. The layout of the published archives is

    clevrtex_{full,outd,camo}/**/CLEVRTEX_{variant}_000000.png    ..._000000_flat.png (mask)

Source: Karazija, Laina, Rupprecht 2021 (arXiv 2111.10265).
"""

import re
from typing import Annotated, Literal

from sslkuramoto.data.images.files import open_files
from sslkuramoto.data.images.readers import FileSamples
from sslkuramoto.data.images.subset import Choice
from sslkuramoto.data.scenes.mask_files import FileMasks, check_inside
from sslkuramoto.data.scenes.scene_set import SceneSet, chosen_scenes
from sslkuramoto.errors import UserError
from sslkuramoto.values import Count, Mark, Place, Side, checked

CENTRE = 0.8
"""Share of the short side that is kept, as in the published evaluation."""
SHARES = {"test": (0.0, 0.1), "val": (0.1, 0.2), "train": (0.2, 1.0)}
"""Of the sorted images; all of ``outd`` are test images."""


@checked
def clevrtex(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    variant: Literal["full", "outd", "camo"] = "full",
    size: Side = 128,
    limit: Count | None = None,
    limit_test: Count | None = None,
    split_seed: int = 0,
    device_resident: Annotated[Literal["auto"] | bool, Mark.INCIDENTAL] = "auto",
) -> SceneSet:
    """Return CLEVRTex with masks of instances, from the unpacked archive of a variant.

    Args:
        split: "train", "val" or "test": the last eight, the second and the first tenth of the sorted images.
        root: folder with the images, or the folder that holds ``clevrtex_VARIANT``.
        variant: "full", or "outd" and "camo" for other objects and camouflage; all images of "outd" are test images.
        size: side in pixels to which the central 80 % of the short side is resized.

    Raises:
        UserError: no such images, a missing mask, a damaged file, or a mask of another size than its image.

    The other options are those of :class:`sslkuramoto.data.images.subset.Choice`.
    """
    choice = Choice(size, limit, limit_test, 0.0, split_seed, device_resident)
    where = f"root={root}, variant={variant}"
    part = choice.part(split, ("test",) if variant == "outd" else ("train", "val", "test"), where)
    files = open_files(root)
    wanted = re.compile(rf"(?:.*/)?CLEVRTEX_{variant}_(\d{{6}})\.png")
    found = sorted((match[1], name) for name in files.names if (match := wanted.fullmatch(name)))
    if not found:
        raise UserError(f"{where}: holds no images CLEVRTEX_{variant}_000000.png")
    first, last = (0.0, 1.0) if variant == "outd" else SHARES[part]
    names = tuple(name for _, name in found[int(first * len(found)) : int(last * len(found))])
    if not names:
        raise UserError(f"{where}: {len(found)} images are too few for the split {split!r}")
    masks = tuple((f"{name.removesuffix('.png')}_flat.png",) for name in names)
    known = set(files.names)
    if missing := [mask for (mask,) in masks if mask not in known]:
        raise UserError(f"{files.where(missing[0])}: the mask is missing")
    check_inside(files, [*names, *(mask for (mask,) in masks)])
    samples = FileSamples(files, names, None, None, CENTRE)
    return chosen_scenes("clevrtex", split, part, samples, FileMasks(files, names, masks, centre=CENTRE), choice)
