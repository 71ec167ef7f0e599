"""Oscillators under a silhouette: figures 1 and 10 of AKOrN (Miyato et al. 2025, arXiv 2410.13821).

    python docs/dynamics.py                     # seconds on one CPU core; writes docs/figures/fish.png and filters.png
    python docs/dynamics.py --out FOLDER

The page docs/dynamics.md shows `fish` word for word. The paper does not give the width of its kernel, the frequency,
the step size or the scale of its random filters; those here are ours.
"""

import argparse
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch.nn.functional import conv2d, normalize

import sslkuramoto as sk
from sslkuramoto.dynamics.coupling import ConvCoupling
from sslkuramoto.randomness import borrowed_global
from sslkuramoto.report.pictures.oscillators import coloured

SIDE, STEPS, FINE = 64, 256, 4
SHOWN = (0, 4, 16, 64, 128, 256)  # steps of the figures


def silhouette() -> torch.Tensor:
    """Return 1 around a fish and 0 within, 64 x 64."""
    image = Image.new("L", (SIDE * FINE, SIDE * FINE), 255)
    pen = ImageDraw.Draw(image)
    pen.ellipse([FINE * at for at in (8, 19, 48, 45)], fill=0)
    for corners in ((43, 32, 58, 18, 58, 46), (22, 21, 30, 11, 36, 21)):  # tail and fin
        pen.polygon([FINE * at for at in corners], fill=0)
    return torch.from_numpy(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)) > 127).float()


def fish(omega: float, gamma: float = 0.3) -> tuple[torch.Tensor, list[float]]:
    """Return the states of 64 x 64 oscillators (N = 2) before each step and after the last, and their energies."""
    c = silhouette().expand(1, 2, 64, 64)  # c = 1 around the fish, 0 within
    distance = torch.arange(9) - 4
    gauss = torch.exp(-(distance**2) / (2 * 2.0**2))  # a width of 2 sites
    kernel = (gauss[:, None] * gauss / gauss.sum() ** 2).expand(2, 1, 9, 9)  # 9 x 9, alike for both coordinates
    x = normalize(torch.randn(1, 2, 64, 64, generator=sk.generator("cpu", 0, "fish")), dim=1)
    states, energies = [], []
    for _ in range(STEPS + 1):
        coupled = conv2d(x, kernel, padding=4, groups=2)
        states.append(x[0])
        energies.append(sk.energy(x, coupled, c).item())
        x = sk.kuramoto_step(x, coupled + c, omega=torch.tensor(omega), step_size=torch.tensor(gamma), oscillator_dim=2)
    return torch.stack(states), energies


@torch.no_grad()
def filters(gamma: float = 0.2) -> tuple[torch.Tensor, list[float]]:
    """Return the same for N = 4 and a 9 x 9 convolution with random filters, as PyTorch draws them, without bias."""
    with borrowed_global(sk.generator("cpu", 0, "filters")):
        coupling = ConvCoupling(4, 9)
    torch.nn.init.zeros_(coupling.bias)  # pyright: ignore[reportArgumentType]
    layer = sk.KuramotoLayer(coupling, channels=4, oscillator_dim=4, frequencies=None, norm="none", project=True)
    x = normalize(torch.randn(1, 4, 64, 64, generator=sk.generator("cpu", 0, "filters, start")), dim=1)
    c = silhouette().expand(1, 4, 64, 64)
    _, trace = layer(x, c, step_size=torch.tensor(gamma), num_steps=STEPS, trace=True)
    assert trace is not None
    return torch.cat([x, trace.states[:, 0]]), trace.energy[:, 0].tolist()


def turns(states: torch.Tensor) -> torch.Tensor:
    """Return how many turns each oscillator of N = 2 makes in the last half of the steps, "h w"."""
    phases = torch.atan2(states[:, 1], states[:, 0])[STEPS // 2 :]
    moved = torch.remainder(phases.diff(dim=0) + math.pi, 2 * math.pi) - math.pi
    return moved.sum(0) / (2 * math.pi)


def moved(states: torch.Tensor) -> torch.Tensor:
    """Return the angle in degrees that each oscillator moves in one of the last 16 steps, on average, "h w"."""
    last = states[-17:]
    return torch.rad2deg((last[1:] * last[:-1]).sum(1).clamp(-1, 1).arccos()).mean(0)


def rises(energies: Sequence[float]) -> int:
    """Return in how many steps the energy rises by more than the rounding of float32."""
    return int((np.diff(energies) > 2e-3).sum())


def figure(path: Path, rows: Sequence[tuple[str, tuple[torch.Tensor, list[float]]]]) -> None:
    """Draw states over steps and the energy beside them, one row an experiment, as a PNG of 256 colours."""
    drawing = Figure(figsize=(11, 1.95 * len(rows)), dpi=100, layout="constrained")
    grid = drawing.subplots(len(rows), len(SHOWN) + 1, squeeze=False, width_ratios=[*[1.0] * len(SHOWN), 1.35])
    for axes, (label, (states, energies)) in zip(grid, rows, strict=True):
        for place, step in zip(axes, SHOWN, strict=False):
            place.imshow(coloured(states[step]), interpolation="none")
            place.set(xticks=[], yticks=[], title=f"step {step}")
        axes[0].set_ylabel(label)
        axes[-1].plot(range(8, STEPS + 1), energies[8:], linewidth=1.2)
        axes[-1].set(xlabel="Kuramoto step", title="energy from step 8", xticks=(8, 128, 256))
    out = io.BytesIO()
    drawing.savefig(out, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(out).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the three experiments, print what is seen, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "figures")
    out = parser.parse_args(arguments).out
    inside = silhouette() == 0
    runs = {omega: fish(omega) for omega in (0.0, 0.3)}
    for omega, (states, energies) in runs.items():
        turned = turns(states)
        print(
            f"fish, omega = {omega}: energy {energies[0]:.0f} at the start, {min(energies):.0f} at the lowest, "
            f"{energies[-1]:.0f} at the end; it rises in {rises(energies)} of {STEPS} steps; turns in the last "
            f"{STEPS // 2} steps: {turned[inside].mean():.2f} within the fish, {turned[~inside].mean():.2f} around it"
        )
    states, energies = filters()
    still = moved(states)
    print(
        f"random filters: energy {energies[0]:.0f} at the start, {min(energies):.0f} at the lowest, "
        f"{energies[-1]:.0f} at the end; it rises in {rises(energies)} of {STEPS} steps; a step moves an oscillator by "
        f"{still[inside].mean():.1f} degrees within the fish and {still[~inside].mean():.1f} around it"
    )
    figure(out / "fish.png", [(f"ω = {omega:g}", run) for omega, run in runs.items()])
    figure(out / "filters.png", [("N = 4", (states, energies))])


if __name__ == "__main__":
    main()
