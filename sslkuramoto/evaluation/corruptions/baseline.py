"""The baseline of mCE: another run's result under the same protocol, read and checked before anything is measured."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.corruptions.strengths import SEVERITIES
from sslkuramoto.files import at_home
from sslkuramoto.results import Result


class Baseline(NamedTuple):
    """Another run's errors.

    Attributes:
        errors: corruption -> sum of its errors over the five severities.
        clean_error: on the same images.
        data: what that result says about its images.
    """

    errors: dict[str, float]
    clean_error: float
    data: dict[str, Any]

    def differences(self, data: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each difference between its images and those of a result with this ``data``."""
        found = []
        if any(self.data.get(key) != data[key] for key in ("fingerprint", "split", "n")):
            found.append(f"the baseline was measured on other images: {_identity(self.data)}; here {_identity(data)}")
        theirs, ours = self.data.get("corruption_seed"), data.get("corruption_seed")
        if theirs != ours:
            found.append(f"the baseline has other noise: its corruption_seed is {theirs}, here it is {ours}")
        theirs, ours = self.data.get("archive_files"), data.get("archive_files", {})
        theirs = theirs if isinstance(theirs, dict) else {}
        if other := [name for name, content in ours.items() if theirs.get(name) != content]:
            found.append(f"the baseline read other images from its archive: {', '.join(other)}")
        return found


def _identity(data: Mapping[str, Any]) -> str:
    keys = ("name", "split", "n", "fingerprint")
    return ", ".join(f"{key} {data.get(key)}" for key in keys)


def load_baseline(path: str, names: Iterable[str], source: str) -> Baseline:
    """Read the baseline of mCE from a result of this protocol.

    Args:
        path: the result file; ``~`` is the home folder.
        names: corruptions that are compared.
        source: where the corrupted images come from, "ours" or "archive".

    Raises:
        UserError: no such file, no result of this protocol, another source, a missing corruption or severity, a number
            outside [0,1], a corruption on which it makes no error.
    """
    where = f"baseline={path}"
    try:
        result = Result.read(at_home(path), per_image=False)
        clean, found = result.metrics["clean_accuracy"].value, result.data["source"]
        table: Any = result.details["corruptions"]
        cells = {name: {s: cell["error"] for s, cell in row.items()} for name, row in table.items()}
    except UserError as error:
        raise UserError(f"baseline={error}") from None
    except (KeyError, TypeError, AttributeError, RuntimeError):  # RuntimeError: no such home
        raise UserError(f"{where}: must be a result of the protocol corruptions (JSON)") from None
    if found != source:
        raise UserError(f"{where}: measured with source={found}, this with source={source}: must be the same")
    errors = {}
    for name in names:
        row = cells.get(name, {})
        if set(row) != {str(severity) for severity in SEVERITIES}:
            raise UserError(f"{where}: lacks {name} at the severities 1 to 5")
        errors[name] = sum(_share(error, f"{where}: error of {name} at severity {s}") for s, error in row.items())
        if errors[name] <= 0:
            raise UserError(f"{where}: makes no error on {name}, so CE is not defined")
    return Baseline(errors, 1 - _share(clean, f"{where}: clean_accuracy"), result.data)


def _share(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise UserError(f"{what}: {value!r:.40}: must be a share in [0,1]")
    return float(value)
