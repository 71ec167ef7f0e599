"""Compare our encoders with recorded numbers of the published networks.

    python scripts/check_reference.py FILE.npz [FILE.npz ...]

Each file holds the constructor arguments and weights of one published network, an input, the initial noise and the
recorded output. The script prints one line per file with its largest relative error, |ours - recorded| divided by the
largest recorded value, over logits, states after every step, and energies. Phases are compared on the circle.

The error may be 1e-4. The recordings are in float32, and layers of oscillators with N = 2 can multiply its rounding a
thousandfold, differently on each kind of CPU. Where states or phases are further away than 1e-4, the network is
therefore computed in float64 too: twice the distance between its float32 and its float64 result, one rounding each for
the recorded result and ours, is allowed as well, and printed. Outputs and energies have no such allowance.

Exit code: 0; 1 if an error exceeds what is allowed; 2 if a file cannot be read.
"""

import argparse
import json
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sslkuramoto.dynamics.winfree import angles, wrap
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards
from sslkuramoto.interop.published import Published, answer, published

TOLERANCE = 1e-4
ROUNDED = ("x/", "theta/")
"""Arrays whose rounding layers multiply."""


def relative_error(ours: torch.Tensor, recorded: np.ndarray) -> float:
    """Return the largest absolute difference divided by the largest recorded magnitude; NaN counts as infinite."""
    if tuple(ours.shape) != recorded.shape:
        raise UserError(f"our shape {tuple(ours.shape)} is not the recorded {recorded.shape}")
    error = np.abs(ours.numpy() - recorded).max() / max(np.abs(recorded).max(), 1e-30)
    return float(error) if np.isfinite(error) else float("inf")


def config_of(recorded: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the constructor arguments of the network in a file."""
    if "config" not in recorded:
        raise UserError("holds no 'config'")
    try:
        config = json.loads(str(recorded["config"]))
    except ValueError as error:
        raise UserError(f"config is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"config={config!r}: must be a JSON object")
    return config


def tensor(recorded: dict[str, np.ndarray], name: str) -> torch.Tensor:
    """Return a recorded array as a tensor, real numbers as float32."""
    value = recorded[name]
    if value.dtype.kind not in "fiub":
        raise UserError(f"{name} holds {value.dtype}, not numbers")
    return torch.from_numpy(value.astype(np.float32) if value.dtype.kind == "f" else value)


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file."""
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("holds a single array")
        with file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"cannot be read as .npz: {error}") from None


def errors_of(path: Path) -> tuple[dict[str, float], list[str]]:
    """Return the relative error of each recorded array, and the arguments in the file that are not used."""
    recorded = read(path)
    found, not_read = computed(recorded)
    return {name: relative_error(value, recorded[name]) for name, value in found.items()}, not_read


def rounding_of(path: Path) -> dict[str, float]:
    """Return how far our float32 result is from that in float64, as a share of the largest recorded value."""
    recorded = read(path)
    single, double = (computed(recorded, dtype)[0] for dtype in (torch.float32, torch.float64))
    largest = {name: max(np.abs(recorded[name]).max(), 1e-30) for name in single}
    return {name: float((single[name] - double[name]).abs().max() / largest[name]) for name in single}


def computed(
    recorded: dict[str, np.ndarray], dtype: torch.dtype = torch.float32
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return what our network gives for each recorded array, and the arguments in the file that are not used."""
    config = config_of(recorded)
    state = {name.removeprefix("state/"): tensor(recorded, name) for name in recorded if name.startswith("state/")}
    network = published({"kind": "classification", **config}, state)
    if absent := sorted({"noise", "output"} - set(recorded)):
        raise UserError(f"holds no {absent[0]!r}")
    for module in (network.built.encoder, network.built.head):
        if module is not None:
            module.to(dtype)
    inputs, noise = inputs_of(network, recorded), tensor(recorded, "noise").to(dtype)
    output, trace = answer(network, inputs.to(dtype) if inputs.is_floating_point() else inputs, noise)
    if output is not None and Boards in network.built.encoder.reads:
        output = output.permute(0, 2, 3, 1)  # published as b y x k
    found = {} if output is None else {"output": output}
    for index, layer in enumerate(trace):
        found[f"x/{index}"] = layer.states
        if f"theta/{index}" in recorded:
            found[f"theta/{index}"] = _nearest_turn(angles(layer.states), tensor(recorded, f"theta/{index}"))
        found[f"energy/{index}"] = layer.energy_code
    return {name: value for name, value in found.items() if name in recorded}, network.not_read


def _nearest_turn(ours: torch.Tensor, recorded: torch.Tensor) -> torch.Tensor:
    """Return our phases, each plus the multiple of 2 pi that brings it next to the recorded one."""
    return recorded + wrap(ours - recorded) if ours.shape == recorded.shape else ours


def inputs_of(network: Published, recorded: dict[str, np.ndarray]) -> torch.Tensor:
    """Return what the encoder reads: images, or boards with 0 for a blank cell from their one-hot form."""
    if Boards in network.built.encoder.reads:
        if "input/maze" in recorded:
            return tensor(recorded, "input/maze") + 1  # counted from 0 there, and no cell is blank
        if "input/tokens" in recorded:
            return tensor(recorded, "input/tokens")
        for name in ("input/board_onehot", "input/is_input"):
            if name not in recorded:
                raise UserError(f"holds no {name!r}")
        onehot, given = tensor(recorded, "input/board_onehot"), tensor(recorded, "input/is_input")
        return (onehot.argmax(dim=-1) + 1) * (given[..., 0] > 0)
    if "input/image" not in recorded:
        raise UserError("holds no 'input/image'")
    images = tensor(recorded, "input/image")
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"input/image of shape {tuple(images.shape)}: must be b 3 h w")
    return images


def main(argv: list[str] | None = None) -> int:
    """Check every file and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    code = 0
    for path in parser.parse_args(argv).files:
        try:
            errors, ignored = errors_of(path)
        except UserError as error:
            print(f"{path}: {error}")
            code = 2
            continue
        above = [name for name, error in errors.items() if error > TOLERANCE]
        rounding = rounding_of(path) if above and all(map(np.isfinite, errors.values())) else {}
        allowed = {name: 2 * moved for name, moved in rounding.items() if name.startswith(ROUNDED)}
        wrong = [name for name in above if not errors[name] <= allowed.get(name, 0.0)]
        worst = max(wrong or errors, key=errors.__getitem__)
        verdict = f"ABOVE {TOLERANCE:g}" if wrong else "ok"
        if worst in rounding:
            verdict += f" (rounding to float32 alone moves it by {rounding[worst]:.2e})"
        note = f"; arguments not read: {', '.join(ignored)}" if ignored else ""
        print(f"{path}: largest relative error {errors[worst]:.2e} ({worst}, {len(errors)} arrays) {verdict}{note}")
        if wrong:
            code = max(code, 1)
    return code


if __name__ == "__main__":
    sys.exit(main())
