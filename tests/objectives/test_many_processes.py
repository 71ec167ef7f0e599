"""Two processes with half a batch each do what one does with the whole."""

import subprocess
import sys
from pathlib import Path

import torch

WORKER = Path(__file__).with_name("two_processes.py")


def run_both(folder: Path) -> list[dict]:
    command = [sys.executable, str(WORKER)]
    workers = [
        subprocess.Popen([*command, str(rank), str(folder / "meeting"), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [worker.communicate(timeout=240)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_mean_loss_and_averaged_gradients_are_those_of_the_joined_batch_for_objectives_on_images(
    tmp_path: Path,
) -> None:
    """One test, for the two processes take seconds to start."""
    results = run_both(tmp_path)
    for name in results[0]["whole"]:
        whole = results[0]["whole"][name]
        first, second = (result["part"][name] for result in results)
        mean = (first["loss"] + second["loss"]) / 2
        torch.testing.assert_close(mean, whole["loss"], rtol=1e-12, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
        for part in (first, second):
            assert part.keys() == whole.keys()
            for key in whole.keys() - {"loss"}:
                at = f"{name} {key}"
                torch.testing.assert_close(
                    part[key], whole[key], rtol=1e-10, atol=1e-12, msg=lambda m, at=at: f"{at}: {m}"
                )
    # More candidates in the softmax make the loss larger, for any projections: the other half's negatives count.
    for result in results:
        assert result["part"]["simclr"]["loss"] > result["alone"] + 0.1
