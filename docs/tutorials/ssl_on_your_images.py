# %% [markdown]
# ## What happens here
#
# *Self-supervised learning* trains a network on images without labels. It shows the network two random crops of one
# image and asks for similar features. Afterwards we ask what the features are worth: can a simple classifier, trained
# on them with labels, tell the classes apart?
#
# You need a folder with one subfolder per class:
#
#     my-images/cat/001.png  my-images/cat/002.png  my-images/dog/001.png ...
#
# Pass its path to the script. Without one the script writes scikit-learn's handwritten digits (8 x 8 pixels) as PNG
# files into a temporary folder, so that you can watch everything work first.

# %%
import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

import sslkuramoto as sk
from sslkuramoto.report import discover, write_page

parser = argparse.ArgumentParser()
parser.add_argument("folder", nargs="?", type=Path, help="CLASS/IMAGE; left out: digits, written as PNG files")
parser.add_argument("--size", type=int, default=8, help="side in pixels that images are resized to")
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--digits", type=int, default=1000, help="images written where no folder is given")
parser.add_argument("--out", type=Path, help="where the run and its report go (default: the temporary folder)")
options = parser.parse_args()

temporary = tempfile.TemporaryDirectory()
out = options.out or Path(temporary.name)


def digits_as_png(folder: Path, count: int) -> Path:
    """Write digits as FOLDER/CLASS/NUMBER.png and return the folder."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:count], digits.target[:count], strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image / 16 * 255).astype(np.uint8)).save(place / f"{number:04d}.png")
    return folder


folder = (options.folder or digits_as_png(Path(temporary.name) / "images", options.digits)).resolve()

# %% [markdown]
# ## Train without labels
#
# A *recipe* is one file that holds every choice of a run: data, network, objective, optimiser. We take one that comes
# with the package and replace its data. `val_share: 0.2` sets a fifth of each class aside for measuring; training
# never sees those images. `size` is the side in pixels that images are resized to: 8 is enough for these digits. For
# photographs pass `--size 32` or 64, and many more epochs.
#
# The network is an AKOrN: its units are oscillators that pull on their neighbours (see [Oscillators to look
# at](oscillators_to_look_at.md)).

# %%
data = f'data={{name: image_folder, root: "{folder}", size: {options.size}, val_share: 0.2}}'
run = sk.train("digits-akorn-simclr", data, f"epochs={options.epochs}", run=out / "simclr")
print("the run directory holds", ", ".join(sorted(path.name for path in run.iterdir())))

# %% [markdown]
# On the command line this is `sslkuramoto train digits-akorn-simclr data='{name: image_folder, root: my-images, ...}'
# --run simclr`. If it is interrupted, the same command continues the run.
#
# ## Ask what the features are worth
#
# Two simple classifiers read the features and never change the network. *k-NN* lets the 20 nearest training images
# vote. The *linear probe* fits one linear layer. Both are scored on the images that were set aside.
#
# An AKOrN starts from random oscillators at every forward pass. One number would depend on that draw, so each
# measurement is a mean over 20 draws. The interval says how far the figure could lie from the truth because only so
# many images were tested.

# %%
for protocol in ("knn", "linear"):
    measured = sk.evaluate(run, protocol)
    accuracy = measured["accuracy"]
    print(f"{protocol}: {100 * accuracy.value:.1f} % right")
    print(measured)

# %% [markdown]
# Chance is one divided by the number of classes: 10 % for the digits. A few epochs on a few hundred tiny images are
# only a start; the features of an untrained network are a fair comparison, and sometimes a strong one (`epochs=1`,
# another `run=`).
#
# ## Use the features
#
# `sk.embed` turns images into vectors, for a search for similar images, a map, or a classifier of yours.

# %%
paths = [path for path in sorted(folder.glob("*/*")) if path.suffix.lower() in (".png", ".jpg", ".jpeg")][:8]
pixels = [np.asarray(Image.open(path).convert("RGB").resize((options.size, options.size))) for path in paths]
images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255  # pixels in [0,1], channels first
features = sk.embed(run, images)
print(f"{len(images)} images became vectors of {features.shape[1]} numbers")

# %% [markdown]
# ## A report
#
# One page with the table, the curves of training, the augmented views and the phases of the oscillators. It needs no
# other file, so you can send it.

# %%
page = out / "report.html"
write_page(page, discover([run]))
print(f"wrote {page.name}, {page.stat().st_size // 1024} KiB")

# %% [markdown]
# Next: [is the network robust?](is_my_network_robust.md) More about the options of a recipe:
# [recipes](../recipes.md). Other objectives: [SimCLR, BYOL, X-PhiNet and more](../objectives.md).
