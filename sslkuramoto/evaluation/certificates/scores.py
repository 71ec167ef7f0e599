"""The numbers of one smoothed network: certified and attacked accuracy at each radius, and the line of the bracket.

Shapes: n images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.evaluation.certificates.bound import Certificate, Plan
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import mean_interval, wilson

DETAILS = "brackets"
"""Key of the brackets in the details of a result; a report draws them."""
UNIT = "pixels"
ABOUT = (
    "all numbers are of the vote under noise, which is not clipped to [0,1], in l2; an interval is over images; each "
    "certificate is false with probability at most alpha"
)
ONLY_REACHED = "the radius of an image that ended at an early look is that look's bound, so the mean radius is low"


@dataclass(frozen=True)
class Scored:
    """What is said of one smoothed network.

    Attributes:
        prefix: of its names.
        metrics, per_image, verdicts: as in a result.
        notes: sentences.
        lines: the bracket at each radius, or why it is void.
        details: for a report.
    """

    prefix: str
    metrics: dict[str, Metric]
    per_image: dict[str, list[Any]]
    verdicts: list[str]
    notes: list[str]
    lines: list[str]
    details: dict[str, Any]


def scored(
    plan: Plan,
    certificates: Sequence[Certificate],
    at: Sequence[float | None] | None,
    labels: Int64[Tensor, " n"],
    radii: Sequence[float],
    prefix: str,
    draws: int,
    crossed: tuple[Sequence[int], Sequence[int]],
    notes: Sequence[str],
) -> Scored:
    """Return the numbers of one smoothed network.

    Args:
        plan: of the certificates.
        certificates: of each image.
        at: for each image the smallest radius at which it is attacked, or None; None without an attack.
        labels: true classes.
        radii: increasing.
        prefix: of the names.
        draws: votes on a candidate.
        crossed: images whose crossing was found again on fresh draws, and those whose was not.
        notes: further sentences.
    """
    pairs = list(zip(certificates, labels.tolist(), strict=True))
    every = (0.0, *radii)
    certified = {r: [each.holds_at(r, label) for each, label in pairs] for r in every}
    standing = {} if at is None else {r: [reached is None or reached > r for reached in at] for r in every}
    leads = [_leads(each, label) for each, label in pairs]
    shares = [float(each.counts[label]) / each.draws for each, label in pairs]
    radius = [each.radius if each.chosen == label else 0.0 for each, label in pairs]
    metrics = {
        "smoothed_accuracy": _share(leads, plan.n),
        "abstained": _share([each.abstains for each, _ in pairs], plan.n),
        **{f"certified_accuracy_{r:g}": _share(values, plan.n) for r, values in certified.items()},
        **{f"attacked_accuracy_{r:g}": _share(values, draws) for r, values in standing.items()},
        "mean_certified_radius": _mean(radius, plan),
    }
    per_image: dict[str, list[Any]] = {
        "correct": [round(share, 6) for share in shares],
        "smoothed_correct": [int(value) for value in leads],
        "class": [each.chosen for each, _ in pairs],
        "lower": [each.lower for each, _ in pairs],
        "radius": [each.radius for each, _ in pairs],
        "draws": [each.draws for each, _ in pairs],
        **{f"certified_correct_{r:g}": [int(value) for value in values] for r, values in certified.items()},
        **{f"attacked_correct_{r:g}": [int(value) for value in values] for r, values in standing.items()},
    }
    again, gone = crossed
    more = [*notes]
    if gone:
        more.append(
            f"sigma {plan.sigma:g}: {len(gone)} of {len(pairs)} images crossed the bracket and did not on fresh draws; "
            "what these did not confirm is given up"
        )
    void = _void(plan, again, certificates, at) if again else ""
    if void:  # a proof and an attack that contradict one another: neither is a number
        metrics = {name: Metric(math.nan, n=len(pairs), unit=each.unit) for name, each in metrics.items()}
    if plan.stages > 1:
        more.append(ONLY_REACHED)
    between = {} if at is None else {r: (fmean(certified[r]), fmean(standing[r])) for r in every}
    lines = [void] if void else [_line(plan, r, *ends, len(pairs)) for r, ends in between.items()]
    details = {
        "sigma": plan.sigma,
        "void": void,
        "radii": [*every],
        "certified": [math.nan if void else fmean(certified[r]) for r in every],
        "attacked": [math.nan if void else between[r][1] if between else None for r in every],
        "largest": plan.largest,
        "lines": lines,
    }
    verdicts = [] if void else ["correct", *(name for name in per_image if "_correct" in name)]
    return Scored(prefix, metrics, per_image, verdicts, more, lines, details)


def joined(result: Result, parts: Sequence[Scored]) -> None:
    """Write the numbers of every smoothed network into a result."""
    for part in parts:
        result.metrics.update({part.prefix + name: metric for name, metric in part.metrics.items()})
        result.per_image.update({part.prefix + name: values for name, values in part.per_image.items()})
        result.verdicts += [part.prefix + name for name in part.verdicts]
        result.notes += [*part.lines, *part.notes]
    result.notes = list(dict.fromkeys([*result.notes, ABOUT]))
    result.details[DETAILS] = [part.details for part in parts]
    if void := [part.details["void"] for part in parts if part.details["void"]]:
        result.details["void"] = "; ".join(void)


def _leads(certificate: Certificate, label: int) -> bool:
    """Return whether the label has more votes than any other class; a tie is wrong."""
    others = certificate.counts.clone()
    others[label] = -1
    return bool(certificate.counts[label] > others.max())


def _share(values: Sequence[bool], draws: int) -> Metric:
    value = fmean(values)
    low, high = wilson(value, len(values))
    return Metric(value, low, high, len(values), draws)


def _mean(radius: Sequence[float], plan: Plan) -> Metric:
    low, high = mean_interval(radius, 0.0, plan.largest)
    return Metric(fmean(radius), low, high, len(radius), plan.n, unit=UNIT)


def _line(plan: Plan, radius: float, low: float, high: float, images: int) -> str:
    return (
        f"between {100 * low:.1f} and {100 * high:.1f} % at l2 {radius:g}, sigma {plan.sigma:g} ({images} images, "
        f"n {plan.n}, alpha {plan.alpha:g})"
    )


def _void(
    plan: Plan, again: Sequence[int], certificates: Sequence[Certificate], at: Sequence[float | None] | None
) -> str:
    assert at is not None
    first = again[0]
    return (
        f"void at sigma {plan.sigma:g}: a certificate and an attack contradict one another on {len(again)} of "
        f"{len(certificates)} images, twice on independent draws (the first: image {first} of the result, certified up "
        f"to l2 {certificates[first].radius:.3g} and attacked at {at[first]:g}); the network's answers to single "
        "images are not independent draws of one distribution, or it keeps a state between calls"
    )
