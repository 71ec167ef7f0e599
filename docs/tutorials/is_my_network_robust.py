# %% [markdown]
# ## The question
#
# A network is *robust* on an image if no small change of the pixels makes it answer wrongly. "Small" means: no pixel
# changes by more than `eps`. Trying all changes is impossible. So one *attacks*: a search looks for a change that
# fools the network. What the search does not break counts as robust, and therefore **the figure is an upper bound**:
# a better search may break more.
#
# This goes wrong when the search itself is blinded. A network can hide the gradients that the search follows and stay
# as fragile as before. That is called *gradient masking*. Here we build such a network and see how the package finds
# out.
#
# Any `torch.nn.Module` works that maps pixels in [0,1] to one number per class (logits).

# %%
import argparse

import torch
from torch import nn

import sslkuramoto as sk
from sslkuramoto.data import DATA

parser = argparse.ArgumentParser()
parser.add_argument("--images", type=int, default=32, help="attacked images; few keep it fast, and the intervals wide")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--short", action="store_true", help="leave out the slow checks of the audit")
options = parser.parse_args()

torch.manual_seed(0)
train, test = (DATA.build("digits", {}, split) for split in ("train", "test"))  # 8 x 8 pixels, no download
images, labels = test.images[: options.images].float() / 255, test.labels[: options.images]

# %% [markdown]
# ## Two networks with the same weights
#
# The first is a small convolutional network. The second is the same network behind a "defence": it rounds each pixel
# to 33 levels first. Rounding has a derivative of zero almost everywhere, so a search by gradients learns nothing
# from it.

# %%
network = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1, stride=2),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(512, 10),
)
optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
pixels, classes = train.images.float() / 255, train.labels
for _ in range(options.epochs):
    for rows in torch.randperm(len(pixels)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels[rows]), classes[rows]).backward()
        optimizer.step()
network.eval()


class Rounded(nn.Module):
    """The network behind pixels rounded to 33 levels: no derivative reaches the image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.network((32 * images).round() / 32)


rounded = Rounded(network).eval()

# %% [markdown]
# ## Accuracy under attack
#
# One common attack, PGD, follows the gradient for ten steps. It breaks most images of the plain network and hardly
# any of the rounded one. If we stopped here we would announce a robust network.

# %%
pgd = [{"name": "pgd", "iterations": 10}]
found = {}
for name, each in (("plain", network), ("rounded", rounded)):
    found[name] = sk.robust_accuracy(each, images, labels, eps=0.1, attacks=pgd)
    print(f"{name}: {100 * found[name]['robust_accuracy'].value:.0f} % remain under PGD")

# %% [markdown]
# But both networks have the same weights. Images that fool the plain network fool the rounded one too, nearly always:

# %%
fooling = found["plain"].adversarial
if fooling is not None:
    right = (rounded(fooling).argmax(1) == labels).float().mean()
    print(f"rounded: {100 * float(right):.0f} % remain on images made for the plain network")

# %% [markdown]
# ## The audit
#
# `sk.audit` does not ask how robust a network is but whether that number can be believed. It asks some twenty
# questions, for example: Do the gradients agree with finite differences? Does a search without gradients find more?
# Do examples made on a smoother copy transfer? Each answer is pass, fail or not run, and all end in one verdict.

# %%
few = {"steps": [5, 10], "queries": 100, "samples": 5, "directions": 8}
slow = ["restarts", "fab", "logit_scale", "transfer"]
audit = sk.audit(rounded, images, labels, eps=0.1, options={**few, "skip": slow} if options.short else {})
print(audit.details["audit"]["verdict"])

# %% [markdown]
# ## How to read the verdict
#
# - `no sign of masking at this budget`: no question found a sign. The figure is still an upper bound.
# - `masked`: the usual figure is too high **and** something hides the gradients. Report the tightest bound that the
#   verdict names, not the usual one.
# - `plain figure too high`: other attacks do better, without a sign of hidden gradients. Report the union.
# - `suspect`: one sign, but the other attacks did no better.
# - `no robustness left`: nearly every image was broken.
# - `incomplete`: essential questions were not asked, or too few images were right to begin with.
#
# For the rounded network the audit finds several signs of hidden gradients. Its quick budget does not find the changes
# that fool this network, so its figure stays too high: we know that from the images made for the plain network. A sign
# of masking means that the figure must not be reported as robustness, even where no attack has broken it yet.
#
# Every question, with what it means and the networks it was tried on: [the audit](../audit.md). For each image the
# worst change that was found:

# %%
worst = audit.adversarial
if worst is not None:
    print(f"largest change of a pixel: {float((worst - images).abs().max()):.3f} (eps is 0.1)")

# %% [markdown]
# Networks that draw random numbers (dropout left on, or the oscillators of an AKOrN) are scored over at least 20
# draws and read in four ways: [how a robustness number is scored](../evaluation.md). To write a paper's table from
# such figures: [studies](../studies.md).
