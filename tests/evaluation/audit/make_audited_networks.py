"""Train the networks of networks/ once: ``python tests/evaluation/audit/make_audited_networks.py KIND SEED [half]``.

Stored are classification 0, adversarial 1 and trades 0 in half precision, and adversarial 0 as it was trained. Training
on another CPU leads to other weights, and the verdict of an audit can hang on a few images: so all machines audit the
same networks.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from audited_networks import ThreeConvolutions, digits_recipe, file_of
from safetensors.torch import save_file

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.evaluation import subject_of
from sslkuramoto.training import train

ADVERSARIAL = {"name": "adversarial", "eps": 0.2, "steps": 3}
KINDS: dict[str, dict[str, Any]] = {
    "classification": {"objective": {"name": "classification"}, "epochs": 8},
    "adversarial": {"objective": ADVERSARIAL, "epochs": 15},
    "trades": {"objective": {**ADVERSARIAL, "loss": "trades"}, "epochs": 15},
}
LR = {"classification": 5e-3, "adversarial": 2e-3, "trades": 2e-3}
"""At 5e-3 adversarial training collapses to a constant answer with most seeds, at 2e-3 with none of 0 to 3."""


def make(kind: str, seed: int, dtype: torch.dtype) -> None:
    """Train the CNN on digits, plainly or against an adversary, and store its weights and those of its head."""
    recipe = digits_recipe(**KINDS[kind], seed=seed, optimizer={"name": "adam", "lr": LR[kind]})
    ENCODERS.add("three_convolutions", ThreeConvolutions)
    with TemporaryDirectory() as folder:
        subject = subject_of(train(recipe, Path(folder) / "run").path)
    assert subject.head is not None
    weights = {f"encoder.{name}": value for name, value in subject.encoder.state_dict().items()}
    weights |= {f"head.{name}": value for name, value in subject.head.state_dict().items()}
    file_of(kind, seed).parent.mkdir(exist_ok=True)
    save_file({name: value.to(dtype).contiguous() for name, value in weights.items()}, file_of(kind, seed))


if __name__ == "__main__":
    torch.set_num_threads(1)
    make(sys.argv[1], int(sys.argv[2]), torch.half if "half" in sys.argv[3:] else torch.float)
