"""A run that continues in the middle of an epoch reads the images of the steps that are left, and no others."""

import numpy as np
import pytest
from PIL import Image
from small_runs import after_step, press_ctrl_c, small

from sslkuramoto.data import DATA, shuffled
from sslkuramoto.data.images.files import TreeFiles
from sslkuramoto.data.images.image_set import StreamedSet
from sslkuramoto.data.images.readers import FileSamples
from sslkuramoto.errors import Interrupted
from sslkuramoto.training import train

IMAGES, BATCH, DONE = 24, 4, 2


def test_a_continued_run_reads_only_the_images_of_the_steps_that_are_left(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    (folder / "train" / "any").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "train" / "any" / f"{number:02}.png")
    options = {"root": str(folder), "size": 8, "device_resident": False}
    recipe = small(
        data={"name": "image_folder", **options}, batch_size=BATCH, epochs=1, engine={"device": "cpu", "workers": 0}
    )
    read = TreeFiles.read
    found: list[str] = []
    monkeypatch.setattr(TreeFiles, "read", lambda files, name: (found.append(name), read(files, name))[1])
    with pytest.raises(Interrupted), after_step(DONE - 1, press_ctrl_c):
        train(recipe, tmp_path / "run")
    found.clear()
    train(recipe, tmp_path / "run")
    data = DATA.build("image_folder", options, "train")
    assert isinstance(data, StreamedSet)
    assert isinstance(data.samples, FileSamples)
    left = shuffled(IMAGES, BATCH, seed=recipe.seed, epoch=0)[DONE:]
    assert found == [data.samples.names[place] for batch in left for place in batch.tolist()]
