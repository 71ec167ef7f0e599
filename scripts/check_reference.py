"""Compare our encoders with recorded numbers of the published networks.

    python scripts/check_reference.py FILE.npz [FILE.npz ...]

Each file holds the constructor arguments and weights of one published network, an input, the initial noise and what came
out. One line a file: its largest relative error, that is |ours - recorded| over the largest recorded value, over logits,
the states after every step and the energies. Exit code 0, 1 when an error exceeds 1e-4, 2 when a file cannot be read.
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.interop.akorn import from_published, unread

TOLERANCE = 1e-4


def relative_error(ours: torch.Tensor, recorded: np.ndarray) -> float:
    """Return the largest absolute difference over the largest recorded magnitude (nan counts as infinite)."""
    if tuple(ours.shape) != recorded.shape:
        raise UserError(f"our shape {tuple(ours.shape)} is not the recorded {recorded.shape}")
    error = np.abs(ours.numpy() - recorded).max() / max(np.abs(recorded).max(), 1e-30)
    return float(error) if np.isfinite(error) else float("inf")


def errors_of(path: Path) -> tuple[dict[str, float], list[str]]:
    """Return the relative error of each recorded array, and the arguments of the file that nothing read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            recorded = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"cannot be read as .npz: {error}") from None
    absent = {"config", "input/image", "noise", "output"} - set(recorded)
    config = json.loads(str(recorded["config"])) if "config" in recorded else {}
    if config.get("kind") == "classification" and absent:
        raise UserError(f"holds no {sorted(absent)[0]!r}")
    state = {
        name.removeprefix("state/"): torch.from_numpy(value)
        for name, value in recorded.items()
        if name.startswith("state/")
    }
    encoder, head = from_published(config, state)
    with torch.inference_mode():
        features = encoder(
            torch.from_numpy(recorded["input/image"]), initial=torch.from_numpy(recorded["noise"]), trace=True
        )
        found = {"output": head(features.pooled)}
    assert features.trace is not None
    for index, layer in enumerate(features.trace):
        found[f"x/{index}"] = layer.states
        found[f"energy/{index}"] = layer.energy_code
    return {
        name: relative_error(value, recorded[name]) for name, value in found.items() if name in recorded
    }, unread(config)


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
        worst = max(errors, key=errors.__getitem__)
        verdict = "ok" if errors[worst] <= TOLERANCE else f"ABOVE {TOLERANCE:g}"
        note = f"; arguments not read: {', '.join(ignored)}" if ignored else ""
        print(f"{path}: largest relative error {errors[worst]:.2e} ({worst}, {len(errors)} arrays) {verdict}{note}")
        if errors[worst] > TOLERANCE:
            code = max(code, 1)
    return code


if __name__ == "__main__":
    sys.exit(main())
