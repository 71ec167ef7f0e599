"""Do two runs differ on the same images? Every verdict that both have under one result's name, tested in pairs.

The tests are those of :mod:`~sslkuramoto.study.paired`: images are the sampling unit, so a small p says that these two
networks would differ on other images of the same kind, not that other seeds would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.described import comparable, incidental_options, kind_of
from sslkuramoto.evaluation.held_weights import HeldWeights, other_weights
from sslkuramoto.results import Result
from sslkuramoto.study.paired import PairedTest, holm, paired_test


@dataclass(frozen=True)
class RunTest:
    """Two runs in one list of verdicts.

    Attributes:
        protocol: name of the results.
        verdicts: name of the per-image list.
        test: the first run against the second.
        holm: p of ``test`` corrected over all tests of the comparison.
    """

    protocol: str
    verdicts: str
    test: PairedTest
    holm: float


@dataclass(frozen=True)
class RunComparison:
    """All tests of two runs, and sentences on what was left out or differs."""

    runs: tuple[Path, Path]
    tests: list[RunTest]
    notes: list[str]


def compare_runs(first: Path, second: Path, wanted: Sequence[str] = ()) -> RunComparison:
    """Test two runs in every verdict that both have.

    Args:
        first, second: run directories.
        wanted: results to compare, each a name or ``NAME:LIST`` for one list of it; none: all that both runs have.

    Raises:
        UserError: a run without results, a result or list that one run lacks, results on different images (of those
            that are wanted, or of all) or on weights that a run no longer holds, a damaged result or file of weights.
    """
    ours, theirs = (_files(run) for run in (first, second))
    common = [name for name in ours if name in theirs]
    if not wanted and not common:
        raise UserError(f"{first} and {second}: hold no result of one name; measure both by the same protocol")
    held = HeldWeights(first), HeldWeights(second)
    tests: list[RunTest] = []
    notes: list[str] = []
    for item in wanted or common:
        name, _, chosen = item.partition(":")
        for run, files in ((first, ours), (second, theirs)):
            if name not in files:
                raise unknown(f"result of {run}", name, files)
        pair = Result.read(ours[name]), Result.read(theirs[name])
        try:
            for run, weights, result in zip((first, second), held, pair, strict=True):
                if not weights.include(result):
                    raise UserError(f"{result.path}: {other_weights(run, [result])}")
            unlike = _unlike_options(name, pair)
            tests += _tests(name, pair, chosen)
        except UserError as error:
            if wanted:
                raise
            notes.append(str(error))
            continue
        notes += unlike
    if not tests:
        raise UserError(f"{first} and {second}: {'; '.join(notes)}")
    corrected = holm([item.test.p for item in tests])
    return RunComparison(
        (first, second), [replace(item, holm=p) for item, p in zip(tests, corrected, strict=True)], notes
    )


def _files(run: Path) -> dict[str, Path]:
    files = {path.stem: path for path in sorted((run / "results").glob("*.json"))}
    if not files:
        raise UserError(f"{run}: holds no results (results/*.json); measure it first: sslkuramoto evaluate {run} ...")
    return files


def _tests(name: str, pair: tuple[Result, Result], chosen: str) -> list[RunTest]:
    """Test the lists of verdicts that two results share; p is not corrected yet."""
    both = shared_verdicts(pair)
    if not both:
        raise UserError(f"{name}: the two results share no list of verdicts per image")
    tests = [(key, tested_pair(name, pair, key)) for key in ([chosen] if chosen else both)]
    return [RunTest(name, key, test, test.p) for key, test in tests]


def shared_verdicts(pair: tuple[Result, Result]) -> list[str]:
    """Return the names of the lists of shares of correct draws that both results hold."""
    ours, theirs = ([name for name in result.verdicts if result.per_image.get(name)] for result in pair)
    return [name for name in ours if name in theirs]


def tested_pair(name: str, pair: tuple[Result, Result], verdicts: str) -> PairedTest:
    """Test two results in one list of verdicts, image by image.

    Args:
        name: of the comparison, for messages.
        pair: the results.
        verdicts: name of the list.

    Raises:
        UserError: no list of verdicts of both, different images or numbers of them, or no shares of correct draws.
    """
    if verdicts not in (both := shared_verdicts(pair)):
        raise unknown(f"list of verdicts of {name}", verdicts, both)
    first, second = (result.images() for result in pair)
    for what in first:
        if first[what] != second[what]:
            raise UserError(f"{name}: measured on different images ({what} differs); a paired test needs the same")
    shares = pair[0].per_image[verdicts], pair[1].per_image[verdicts]
    if len(shares[0]) != len(shares[1]):
        raise UserError(f"{name}: {verdicts} has {len(shares[0])} images in one run, {len(shares[1])} in the other")
    for value in (*shares[0], *shares[1]):
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UserError(f"{name}: {verdicts} holds no shares of correct draws in [0,1]; measure again")
    return paired_test([shares], pair[0].groups())


def _unlike_options(name: str, pair: tuple[Result, Result]) -> list[str]:
    first, second = (result.options for result in pair)
    idle = incidental_options(pair[0])
    ours, theirs = (comparable(kind_of(result), result.options) for result in pair)
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if key not in idle and ours.get(key) != theirs.get(key)]
    listed = "; ".join(
        f"{key} is {first.get(key)!r:.40} in the first and {second.get(key)!r:.40} in the second" for key in keys
    )
    return [f"{name}: not measured alike: {listed}"] if keys else []
