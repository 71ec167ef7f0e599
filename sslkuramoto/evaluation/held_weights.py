"""Are the weights that a result was measured on those that its run holds? Both are known by their hashes."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sslkuramoto.checkpoint import head_parts, load_encoder, load_head, load_kind, weights_hash
from sslkuramoto.errors import UserError
from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory


class Hashes(NamedTuple):
    """Hashes of an encoder and of the head on it, None where there is none."""

    encoder: str | None
    head: str | None

    def are_of(self, result: Result) -> bool:
        """Return whether a result was measured on these weights. The head counts only where the result states one."""
        return (result.encoder.get("sha256"), result.head.get("sha256", self.head)) == self


class HeldWeights:
    """The weights in a run directory. Each file is read when a result first asks for it.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self._run = RunDirectory(run)
        self._hashes: dict[Any, Hashes | None] = {}

    def include(self, result: Result) -> bool:
        """Return whether a result was measured on weights that the run holds.

        It counts as such where this cannot be told: it states no hash, or the run holds no file of the weights (raw,
        averaged, after an epoch) that it states, or a damaged one, or one whose network cannot be built here.
        """
        epoch, weights = result.encoder.get("checkpoint"), "raw" if result.encoder.get("weights") == "raw" else "ema"
        at = self._run.at_epoch(epoch) if isinstance(epoch, int) else self._run
        files = at.encoder_file(weights), at.head_file(weights)
        if not result.encoder.get("sha256") or not files[0].is_file():
            return True
        for hashes in (_saved, loaded_hashes):  # the network is built only where the file does not decide
            if (hashes, files) not in self._hashes:
                with suppress(UserError):
                    self._hashes[hashes, files] = hashes(*files)
            known = self._hashes.setdefault((hashes, files), None)
            if known is None or known.are_of(result):
                return True
        return False


def _saved(encoder: Path, head: Path) -> Hashes:
    """Return the hashes of the files' own tensors; those of the networks differ where the files have another dtype."""
    weights = load_kind(encoder, "encoder", {"weights": dict})["weights"]
    return Hashes(weights_hash(weights), weights_hash(head_parts(head).weights) if head.is_file() else None)


def loaded_hashes(encoder: Path, head: Path) -> Hashes:
    """Return the hashes of the networks in two files, as a measurement computes them.

    Raises:
        UserError: a damaged file, or a network that cannot be built.
    """
    return Hashes(weights_hash(load_encoder(encoder)), weights_hash(load_head(head)) if head.is_file() else None)


def other_weights(run: Path, results: Iterable[Result]) -> str:
    """Return words for results that :class:`HeldWeights` does not include."""
    files = ", ".join(f"{run}/results/{result.path.name}" for result in results if result.path is not None)
    return f"measured on other weights than the run holds now; remove {files} and measure again"
