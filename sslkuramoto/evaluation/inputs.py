"""Files that a protocol reads besides the data: archives, and weights of other networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sslkuramoto.errors import UserError
from sslkuramoto.examples import Spec
from sslkuramoto.files import at_home
from sslkuramoto.run_directory import RunDirectory


@dataclass(frozen=True)
class Input:
    """Files that a protocol reads besides the data. A study identifies them by content, not by path.

    Attributes:
        option: the option that names the path.
        place: its value; None if it is not set yet.
        wanted: what the path should contain, for errors.
        parts: names of what is read.
        files: opens the path for examples of a spec and returns the files that are read, by name.
        sampled: whether pieces of a large file stand for all of it.

    Raises:
        UserError: (``files``) something is missing there, or does not fit the spec.
    """

    option: str
    place: str | None
    wanted: str
    parts: tuple[str, ...]
    files: Callable[[Spec], Mapping[str, Path]]
    sampled: bool = True


def weights_in(run: str) -> Input:
    """Return the weights of another network, which a protocol reads from a run directory.

    They count beside the option that names the directory: the same weights at another path are measured again.
    """

    def files(spec: Spec) -> dict[str, Path]:
        directory = RunDirectory(at_home(run))
        if not directory.finished:
            raise UserError(f"run={run}: is no finished run (no encoder.safetensors)")
        weights = {"encoder": directory.encoder_file(), "head": directory.head_file()}
        return {name: file for name, file in weights.items() if file.is_file()}

    return Input(f"run {run}", run, "a finished run", ("encoder", "head"), files, sampled=False)
