"""Under pytest the shapes and types of the rooms that do mathematics are checked; each worker has one thread."""

import os

from jaxtyping import install_import_hook

ROOMS = (
    *("data", "views", "dynamics", "encoders", "objectives"),
    *("classifier", "noise_draws", "attacks", "evaluation"),
)
install_import_hook([f"sslkuramoto.{room}" for room in ROOMS], "beartype.beartype")  # before any of them is imported

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors lose time on several; processes started by tests too

import torch  # noqa: E402

torch.set_num_threads(1)
