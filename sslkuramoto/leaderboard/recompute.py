"""The numbers of a result computed again from its lists with one entry per image, and its other fields checked."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.described import options_behind
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import wilson
from sslkuramoto.threat import Norm, parse_eps

ROBUST = "robust_accuracy"
"""Name of a metric that states a reading, perhaps after the name of its way (``fixed/robust_accuracy``)."""
_ROUNDING = 1e-6  # per-image shares of a result are rounded to six digits


def check_numbers(result: Result) -> None:
    """Check the accuracies of a result against its lists.

    Of an accuracy that has a list, the value is the mean of it. Where it states its reading, the list must be there,
    the number of images is the length of the list, the interval is Wilson's, and each entry is a share of its draws.

    Raises:
        UserError: one is not; file and key are named.
    """
    index = result.per_image.get("index")
    if index is not None and len(set(map(str, index))) < len(index):
        raise UserError(f"{result.path}: per_image.index: names an image twice")
    for name, metric in result.metrics.items():
        where = f"{result.path}: metrics.{name}"
        if metric.reading is not None and name.rpartition("/")[2] != ROBUST:
            raise UserError(f"{where}: states a reading, which only {ROBUST} has")
        own = name.replace(ROBUST, "correct").replace("accuracy", "correct")
        values = result.per_image.get(own)
        if metric.reading is not None and not values:
            raise UserError(f"{where}: cannot be recomputed, there is no list per_image.{own}")
        if metric.reading is not None and (math.isnan(metric.value) or None in (metric.low, metric.high, metric.n)):
            raise UserError(f"{where}: lacks its value, its interval or its number of images; measure again")
        if own == name or not values or math.isnan(metric.value):
            continue
        if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values):
            raise UserError(f"{result.path}: per_image.{own}: must hold numbers from 0 to 1")
        mean = sum(values) / len(values)
        if not abs(mean - metric.value) <= _ROUNDING:
            raise UserError(f"{where} is {metric.value:.6g}, its images give {mean:.6g}; measure again")
        if metric.reading is not None:
            _check_reading(result, where, metric, values)


def _check_reading(result: Result, where: str, metric: Metric, values: list[float]) -> None:
    count = len(values)
    index = result.per_image.get("index")
    stated = {
        f"{where}.n": metric.n,
        f"{result.path}: data.n": result.data.get("n"),
        f"{result.path}: per_image.index": None if index is None else len(index),
    }
    for place, number in stated.items():
        if number is not None and number != count:
            raise UserError(f"{place}: {number!r:.20} images, the list has {count}; measure again")
    interval = wilson(min(max(metric.value, 0.0), 1.0), count)
    for end, own, wanted in zip(("low", "high"), (metric.low, metric.high), interval, strict=True):
        if own is not None and not abs(own - wanted) <= _ROUNDING:
            raise UserError(f"{where}.{end} is {own:.6g}, its images give {wanted:.6g}; measure again")
    draws, asked = metric.draws, result.options.get("draws")
    if draws is None:
        return
    if draws < 1 or (asked is not None and draws not in (1, asked)):
        raise UserError(f"{where}.draws is {draws}, options.draws is {asked!r:.20}; measure again")
    if not all(abs(value * draws - round(value * draws)) <= 2 * draws * _ROUNDING for value in values):
        raise UserError(f"{where}: its images are no shares of {draws} draws; measure again")


def threat_of(result: Result, metric: str) -> dict[str, Any]:
    """Return norm and radius behind a metric, None where a result does not state them.

    Raises:
        UserError: they are none.
    """
    ways = result.options.get("ways") or {}
    if not isinstance(ways, Mapping) or not all(isinstance(own, Mapping) for own in ways.values()):
        raise UserError(f"{result.path}: options.ways={ways!r:.60}: must be an object of objects")
    behind = options_behind(result.options, metric)
    norm, eps = (behind.get(key) for key in ("norm", "eps"))
    if norm not in (None, *get_args(Norm)):
        raise UserError(f"{result.path}: options.norm={norm!r:.60}: must be {' or '.join(get_args(Norm))}")
    if eps is not None:
        if isinstance(eps, bool) or not isinstance(eps, int | float | str):
            raise UserError(f"{result.path}: options.eps={eps!r:.60}: must be a number or a fraction")
        try:
            parse_eps(eps, norm or "linf")
        except UserError as error:
            raise UserError(f"{result.path}: options.{error}") from None
        except OverflowError:
            raise UserError(f"{result.path}: options.eps: is a number beyond all floats") from None
    return {"norm": norm, "eps": eps}


def radius_of(threat: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """Return norm and radius as a number: 8/255 and 0.031372549 are one."""
    norm, eps = threat["norm"], threat["eps"]
    return norm, None if eps is None else round(parse_eps(eps, norm or "linf"), 9)


def texts_of(result: Result, part: str, keys: tuple[str, ...]) -> dict[str, str | None]:
    """Return texts of a part of a result.

    Args:
        result: as it was read.
        part: ``"data"`` or ``"environment"``.
        keys: of the texts; None where the result does not state one.

    Raises:
        UserError: one is no text.
    """
    content: Mapping[str, Any] = getattr(result, part)
    for key in keys:
        if not isinstance(content.get(key), str | None):
            raise UserError(f"{result.path}: {part}.{key}={content[key]!r:.60}: must be text")
    return {key: content.get(key) for key in keys}


def versions_of(result: Result) -> dict[str, str | None] | None:
    """Return package -> version, or None where a result states none.

    Raises:
        UserError: it states something else.
    """
    found = result.environment.get("versions")
    if found is None:
        return None
    if not isinstance(found, Mapping) or not all(isinstance(value, str | None) for value in found.values()):
        raise UserError(f"{result.path}: environment.versions={found!r:.60}: must be an object of texts")
    return dict(found)
