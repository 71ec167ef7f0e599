# %% [markdown]
# ## One oscillator, many oscillators
#
# An oscillator is a unit vector that turns: a hand on a clock. In the Kuramoto model each hand has its own speed and
# is pulled towards the others. If the pull (the *coupling* K) is weak, every hand keeps its own time. If it is
# strong, they turn together. In between lies a critical value: above it, a part of them synchronises. With speeds
# drawn from a normal distribution of standard deviation s it is $K_c = 2 s \sqrt{2 / \pi}$.
#
# AKOrN (Miyato et al. 2025) builds a neural network of such units. The same function, `sk.kuramoto_step`, serves the
# clocks here and the network below.

# %%
import argparse
import math
import tempfile
from pathlib import Path

import matplotlib
import torch

import sslkuramoto as sk
from sslkuramoto.data import DATA
from sslkuramoto.report import energies_picture, phases_picture

matplotlib.use("Agg")
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser()
parser.add_argument("--oscillators", type=int, default=300)
parser.add_argument("--steps", type=int, default=400, help="Kuramoto steps of 0.1")
parser.add_argument(
    "--out", type=Path, default=Path(tempfile.gettempdir()) / "oscillators", help="folder of the figures"
)
options = parser.parse_args()
options.out.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Synchronisation
#
# States have the shape "batch, channels, height, width". With `oscillator_dim=2`, two channels after each other are
# one oscillator. Here the grid is a single site, and all oscillators pull on each other through their mean. The
# length of the mean, the *order parameter* r, is 0 when the hands point everywhere and 1 when they agree.

# %%
SPREAD = 0.5  # standard deviation of the speeds, radians per unit of time


def order_parameter(x: torch.Tensor) -> float:
    """Return the length of the mean oscillator."""
    return float(x.view(-1, 2).mean(0).norm())


def synchronised(coupling: float, count: int, steps: int) -> list[float]:
    """Return r after each step, from random phases; every coupling meets the same speeds and the same start."""
    generator = sk.generator("cpu", 0, "clocks")
    speeds = SPREAD * torch.randn(count, generator=generator)
    angles = 2 * math.pi * torch.rand(count, generator=generator)
    x = torch.stack([angles.cos(), angles.sin()], dim=1).view(1, 2 * count, 1, 1)
    found = []
    for _ in range(steps):
        mean = x.view(count, 2).mean(0)
        drive = coupling * mean.repeat(count).view_as(x)
        x = sk.kuramoto_step(x, drive, omega=speeds, step_size=torch.tensor(0.1), oscillator_dim=2)
        found.append(order_parameter(x))
    return found


critical = 2 * SPREAD * math.sqrt(2 / math.pi)
figure, axes = plt.subplots()
orders = {}
for coupling in (0.2, 0.6, 1.0, 1.5, 3.0):
    curve = synchronised(coupling, options.oscillators, options.steps)
    orders[coupling] = sum(curve[-50:]) / len(curve[-50:])
    axes.plot(curve, label=f"K = {coupling}")
    print(f"K = {coupling}: r = {orders[coupling]:.2f} (critical K is {critical:.2f})")
axes.set(xlabel="Kuramoto step", ylabel="order parameter r", ylim=(0, 1))
axes.legend()
figure.savefig(options.out / "synchronisation.svg")

# %% [markdown]
# Below the critical coupling r stays small (it is not 0, because there are only so many oscillators). Above it r
# rises towards 1.
#
# ## Energy
#
# When the coupling from i to j equals that from j to i and no oscillator has a speed of its own, the system only
# rolls downhill: the energy $E = -\frac{1}{2} \sum_i x_i \cdot (Jx)_i$ falls with every small step. Two neighbours
# that agree lower it. We put oscillators on a ring where each is pulled by its two neighbours.

# %%
generator = sk.generator("cpu", 0, "ring")
x = torch.nn.functional.normalize(torch.randn(1, 2, 1, 64, generator=generator), dim=1)  # 64 sites, one oscillator each
energies = []
for _ in range(options.steps):
    coupled = x.roll(1, dims=3) + x.roll(-1, dims=3)
    energies.append(float(sk.energy(x, coupled, torch.zeros_like(x))))
    x = sk.kuramoto_step(x, coupled, omega=None, step_size=torch.tensor(0.1), oscillator_dim=2)
print(f"energy on the ring: {energies[0]:.1f} at the start, {energies[-1]:.1f} at the end, -64 if all agreed")

figure, axes = plt.subplots()
axes.plot(energies)
axes.set(xlabel="Kuramoto step", ylabel="energy")
figure.savefig(options.out / "energy.svg")

# %% [markdown]
# ## Phases in a network
#
# An AKOrN has three layers of oscillators. The image enters as a stimulus that pulls on them, and convolutions couple
# neighbours. With `trace=True` the network hands back every state. In the picture each row is a layer, each column a
# Kuramoto step, and the colour is the angle of one oscillator per site. This network is untrained: already the image
# leaves its trace in the phases. A trained one comes from `sk.load(RUN)`.

# %%
network = sk.AKOrN(channels=16, num_steps=4).eval()
data = DATA.build("digits", {"size": 16, "limit_test": 20}, "test")
images = data.images[:2].float() / 255
with torch.no_grad():
    trace = network(images, draw=sk.generator("cpu", 0, "phases"), trace=True).trace
(options.out / "phases.svg").write_text(str(phases_picture(trace, 2, images=images)))
(options.out / "energies.svg").write_text(str(energies_picture(trace)))
print("figures:", ", ".join(sorted(path.name for path in options.out.glob("*.svg"))))

# %% [markdown]
# The network draws its first state anew at each forward pass; here the generator makes it repeatable. That noise is
# why robustness needs care: [is my network robust?](is_my_network_robust.md) The equations:
# [oscillators](../methods/kuramoto.md), [the network](../methods/akorn.md).
