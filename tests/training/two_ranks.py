"""Worker of test_two_ranks.py, started by torchrun: several runs in two gloo processes. Called with: FOLDER."""

import contextlib
import fcntl
import functools
import hashlib
import io
import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import halves_of_batches
import torch
from small_runs import Convolving, Mirrored, after_step, press_ctrl_c

from sslkuramoto import cli
from sslkuramoto.cli import main
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.akorn import AKOrN
from sslkuramoto.views import VIEWS

RANK = int(os.environ["RANK"])


def said(arguments: list[str]) -> dict:
    """Run the command and return exit code and output of this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def work(folder: Path) -> None:
    torch.set_num_threads(1)
    VIEWS.add("mirrored", Mirrored)
    ENCODERS.add("convolving", Convolving)
    halves = halves_of_batches.of_one_process(RANK)
    found = {}
    for file in sorted(folder.glob("same-*.yaml")):
        found[file.stem] = said(["train", str(file), "--run", str(folder / "two" / file.stem)])
    torch.save(halves | {"half": halves_of_batches.of_this_half(RANK)}, folder / f"halves-{RANK}.pt")
    shares = str(folder / "shares.yaml")
    ddp = ["engine.strategy=ddp", "--run"]
    found["shares whole"] = said(["train", shares, *ddp, str(folder / "shares-whole")])
    with after_step(2, press_ctrl_c):
        found["shares stopped"] = said(["train", shares, "--run", str(folder / "shares-parts")])
    found["shares continued"] = said(["train", shares, *ddp, str(folder / "shares-parts")])
    with after_step(2, press_ctrl_c):
        said(["train", shares, *ddp, str(folder / "shares-later")])
    found["shares later"] = said(["train", shares, "--run", str(folder / "shares-later")])
    one_number = [f"encoder.{option}" for option in ("learn_step_size=true", "step_size=0.5")]
    found["one number"] = said(["train", shares, "--run", str(folder / "one-number"), *one_number])
    # traced and differentiated, but not compiled to C++: that takes minutes
    torch.compile = functools.partial(torch.compile, backend="aot_eager")
    for file in sorted(folder.glob("together-*.yaml")):
        found[file.stem] = said(["train", str(file), "--run", str(folder / "two" / file.stem)])

    drawn: list[str] = []
    sample = AKOrN.sample_initial

    def recorded(self, images, draw):
        oscillators = sample(self, images, draw)
        if self.training:  # neither the look at two random images before, nor the pictures afterwards
            drawn.append(hashlib.sha256(oscillators.numpy().tobytes()).hexdigest())
        return oscillators

    AKOrN.sample_initial = recorded
    random = str(folder / "random.yaml")
    found["whole"] = said(["train", random, "--run", str(folder / "whole")])
    found["drawn"] = list(drawn)
    # one process is told to stop: both do, and the checkpoint of the first serves both
    with after_step(2, press_ctrl_c) if RANK == 0 else contextlib.nullcontext():
        found["stopped"] = said(["train", random, "--run", str(folder / "parts")])
    found["resumed"] = said(["train", random, "--run", str(folder / "parts")])
    cli.FIRST_SPEAKS = 0.0  # torchrun ends nobody here: both speak
    with after_step(2, press_ctrl_c):
        said(["train", random, "--run", str(folder / "apart")])
    found["elsewhere"] = said(["train", random, "--run", str(folder / ("elsewhere" if RANK else "apart"))])
    limit = f"data.limit={48 if RANK else 32}"
    found["other data"] = said(["train", random, "--run", str(folder / "other-data"), limit])
    found["odd"] = said(["train", random, "--run", str(folder / "odd"), "batch_size=15"])
    (folder / f"{RANK}.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    cli.FIRST_SPEAKS = 30.0
    # last of all the first fails alone while the second waits for it, and torchrun ends the second
    if RANK == 0:
        (folder / "taken").mkdir()
        lock = (folder / "taken" / ".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        sys.exit(main(["train", random, "--run", str(folder / "taken")]))
    sys.exit(main(["train", random, "--run", str(folder / "taken")]))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
