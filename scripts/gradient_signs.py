"""What the gradients of finished runs show before any attack, beside what attacks left of them.

    python scripts/gradient_signs.py RUN... [--eps 0.1] [--images 64]

For each run: the median cosine between the gradients of two draws, the median correlation of the gradient with finite
differences at a quarter of eps, the largest median |gamma F| of a Kuramoto step (docs/audit.md), and from the newest
result in RUN/results on these weights, of this radius and with several readings, what is left as published, by EoT and
under the union. The last lines give Spearman's rank correlation of each sign with three outcomes, over all runs that
have both, with its p over 10,000 random orders. That p takes runs for independent; runs that share an architecture are
not, so it is too small.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy
from scipy.stats import rankdata

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.evaluation.audit.context import median
from sslkuramoto.evaluation.audit.gradients import gradient_facts
from sslkuramoto.evaluation.audit.network_checks import AGREES_AT
from sslkuramoto.evaluation.audit.saturation import step_turns
from sslkuramoto.evaluation.classification.subset import chosen_images
from sslkuramoto.evaluation.held_weights import HeldWeights
from sslkuramoto.evaluation.protocol import classifier_of
from sslkuramoto.randomness import generator
from sslkuramoto.results import Result
from sslkuramoto.threat import parse_eps

DIRECTIONS = 4  # of the finite differences, for each image
ORDERS = 10_000
READINGS = ("published", "eot", "union")


@dataclass(frozen=True)
class Signs:
    """What one run shows; None where it has no such figure.

    Attributes:
        run: its directory.
        cosine: median over images of the mean cosine between gradients of the margin in two draws.
        agreement: median correlation of the gradient with finite differences at eps / 4.
        turn: largest median |gamma F| of a step.
        left: reading -> robust accuracy, in percent.
    """

    run: Path
    cosine: float | None
    agreement: float
    turn: float | None
    left: dict[str, float]


SIGNS: dict[str, Callable[[Signs], float | None]] = {
    "cosine between two draws": lambda found: found.cosine,
    "correlation with finite differences": lambda found: found.agreement,
    "size of gamma F": lambda found: found.turn,
}
OUTCOMES: dict[str, tuple[str, str | None]] = {
    "published less union": ("published", "union"),
    "EoT less union": ("eot", "union"),
    "union": ("union", None),
}


def signs_of(run: Path, eps: float, images: int) -> Signs:
    """Measure the signs of a finished run and read what attacks left of it.

    Raises:
        UserError: no finished run, no classifier, fewer images.
    """
    subject = subject_of(run)
    classifier = classifier_of(subject, "random")
    chosen = chosen_images(subject, "test", images, subject.batch_size)
    facts = gradient_facts(
        classifier,
        chosen.pixels,
        chosen.labels,
        eps=eps,
        seed=subject.seed,
        chunk=subject.batch_size,
        directions=DIRECTIONS,
    )
    encoder, first = subject.encoder, chosen.pixels[: subject.batch_size]
    draw = generator(subject.device, subject.seed, "gradient signs")
    turns = step_turns(encoder, first, encoder.sample_initial(first, draw) if encoder.stochastic else None)
    cosine = None if facts.cosine is None else median(facts.cosine)
    most = max((turn.median for turn in turns), default=None)
    return Signs(run, cosine, median(facts.agreement[AGREES_AT]), most, _left(run, eps))


def _left(run: Path, eps: float) -> dict[str, float]:
    """Return what attacks of the same radius left, by the newest result on the weights that the run holds."""
    held = HeldWeights(run)
    files = sorted((run / "results").glob("*.json"), key=lambda file: file.stat().st_mtime)
    for result in map(Result.read, reversed(files)):
        names = {reading: f"{reading}/robust_accuracy" for reading in READINGS}
        if not all(name in result.metrics for name in names.values()):
            continue
        if _is_of(result.options, eps) and held.include(result):
            return {reading: 100 * result.metrics[name].value for reading, name in names.items()}
    return {}


def _is_of(options: Mapping[str, Any], eps: float) -> bool:
    return options.get("norm", "linf") == "linf" and abs(parse_eps(options.get("eps", 0)) - eps) < 1e-9


def table(found: Sequence[Signs]) -> list[str]:
    """Return the lines of the table of all runs."""
    heads = ["run", *SIGNS, *READINGS]
    lines = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for each in found:
        values = [sign(each) for sign in SIGNS.values()]
        shown = ["-" if value is None else f"{value:.2f}" for value in values]
        shown += [f"{each.left[reading]:.1f}" if each.left else "-" for reading in READINGS]
        lines.append(f"| {' | '.join([each.run.name, *shown])} |")
    return lines


def correlations(found: Sequence[Signs]) -> list[str]:
    """Return a line for each sign and outcome; fewer than four runs with both give none."""
    lines = []
    for name, sign in SIGNS.items():
        pairs = [(value, each.left) for each in found if (value := sign(each)) is not None]
        pairs = [(value, left) for value, left in pairs if left and all(map(isfinite, (value, *left.values())))]
        if len(pairs) < 4:
            continue
        for title, (more, less) in OUTCOMES.items():
            outcome = [left[more] - (left[less] if less else 0.0) for _, left in pairs]
            rho, p = rank_correlation([value for value, _ in pairs], outcome)
            lines.append(f"{name}, {title}: {rho:+.2f} (p = {p:.2g}, {len(pairs)} runs)")
    return lines


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return Spearman's rank correlation and its two-sided p over random orders; nan where one does not vary."""
    ranks = [numpy.asarray(rankdata(values)) for values in (x, y)]
    first, second = (values - values.mean() for values in ranks)
    length = (first @ first * (second @ second)) ** 0.5
    if length == 0:
        return float("nan"), float("nan")
    rho = first @ second / length
    orders = numpy.random.default_rng(0).permuted(numpy.tile(first, (ORDERS, 1)), axis=1)
    extreme = numpy.abs(orders @ second / length) >= abs(rho) - 1e-12
    return float(rho), (1 + int(extreme.sum())) / (1 + ORDERS)


def _radius(text: str) -> float:
    try:
        number: float | str = float(text)
    except ValueError:
        number = text
    return parse_eps(number)


def main(argv: list[str] | None = None) -> int:
    """Print the table and the correlations and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--eps", default="0.1", help="l-inf radius, such as 0.1 or 8/255")
    parser.add_argument("--images", type=int, default=64)
    arguments = parser.parse_args(argv)
    try:
        eps = _radius(arguments.eps)
        if eps <= 0 or arguments.images < 1:
            raise UserError(f"--eps {arguments.eps} --images {arguments.images}: both must be above 0")
        found = []
        for run in arguments.runs:
            found.append(signs_of(run, eps, arguments.images))
            print(f"{run.name}: measured", file=sys.stderr, flush=True)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join([*table(found), "", *correlations(found)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
