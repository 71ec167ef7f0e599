"""A model's main numbers, in one line and as rows of a picture: robust accuracy by reading, and clean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from sslkuramoto.report.evidence import audit_of
from sslkuramoto.report.tables.columns import Found, percent
from sslkuramoto.results import READINGS, Metric, Reading, Result
from sslkuramoto.values import option_text

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
NORMS = {"linf": "l-inf"}
UNION, CLEAN = "union", "clean_accuracy"  # the reading that is the headline; last part of a metric's name


@dataclass(frozen=True)
class Measured:
    """An accuracy in percent.

    Attributes:
        value: the number, of several seeds their mean.
        low: lower end of the 95 % interval over images (of several seeds the mean of their ends), if known.
        high: upper end of it.
        std: standard deviation over seeds; None for one seed.
        threat: norm and radius of the attack behind it: ``l-inf 8/255``; empty if unknown.
    """

    value: float
    low: float | None = None
    high: float | None = None
    std: float | None = None
    threat: str = ""

    @property
    def text(self) -> str:
        """``38.4 % [27.4, 50.6]``, of several seeds ``38.4 % ± 1.2``."""
        if self.std is not None:
            return f"{self.value:.1f} % ± {self.std:.1f}"
        return f"{self.value:.1f} %" + ("" if self.low is None else f" [{self.low:.1f}, {self.high:.1f}]")


@dataclass(frozen=True)
class MainNumbers:
    """The main numbers of a model.

    Attributes:
        label: name of the model.
        robust: robust accuracy by reading.
        clean: clean accuracy on the images that were attacked.
        threat: norm and radius of the headline: ``l-inf 8/255``.
        images: that were attacked.
        seeds: training runs behind the numbers.
        audit: words of audits of the model, such as ``masked``; none where nothing was audited.
        others: other numbers with their name, for a model whose robust accuracy was not measured.
    """

    label: str
    robust: Mapping[Reading, Measured] = field(default_factory=dict)
    clean: Measured | None = None
    threat: str = ""
    images: int | None = None
    seeds: int = 1
    audit: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()

    @property
    def headline(self) -> tuple[Reading, Measured] | None:
        """The robust accuracy that counts: the union of all readings, else the lowest; None without any."""
        if UNION in self.robust:
            return UNION, self.robust[UNION]
        return min(self.robust.items(), key=lambda item: item[1].value, default=None)

    @property
    def remarks(self) -> list[str]:
        """What belongs behind the headline's number, in pieces."""
        found = self.headline
        assert found is not None, "a model without a robust accuracy has no remarks on it"
        reading, parts = found[0], len(self.robust) - 1
        what = f"union of {NUMBERS.get(parts, parts)} readings" if reading == UNION and parts > 1 else reading
        images = f"{self.images} images" if self.images else ""
        seeds = f"mean of {self.seeds} seeds" if self.seeds > 1 else ""
        about = ", ".join(text for text in (self.threat, what, images, seeds) if text)
        clean = f"clean on the same images {self.clean.text}" if self.clean else ""
        return [text for text in (about, clean, f"audit: {', '.join(self.audit)}" if self.audit else "") if text]

    @property
    def line(self) -> str:
        """The headline as one line of text; empty where the model has no number."""
        if found := self.headline:
            return f"{self.label}: robust accuracy {found[1].text}, {'; '.join(self.remarks)}"
        audit = [f"audit: {', '.join(self.audit)}"] if self.audit else []
        said = [*(f"{name} {text}" for name, text in self.others), *audit]
        return f"{self.label}: {'; '.join(said)}" if said else ""


def main_numbers_of(
    label: str,
    found: Mapping[Reading, Sequence[Found]],
    *,
    results: Sequence[Result] = (),
    others: Sequence[tuple[str, str]] = (),
) -> MainNumbers:
    """Return the main numbers of a model.

    Args:
        label: name of the model.
        found: the robust accuracies of its seeds, by reading.
        results: of the model, audits among them.
        others: other numbers with their names.
    """
    audits = [audit.word or audit.verdict for result in results if (audit := audit_of(result))]
    words = tuple(dict.fromkeys(audits))
    by_reading: dict[Reading, Sequence[Found]] = {reading: found[reading] for reading in READINGS if found.get(reading)}
    if not by_reading:
        return MainNumbers(label, audit=words, others=tuple(others))
    robust: dict[Reading, Measured] = {
        key: replace(measured([item.metric for item in items]), threat=_threat(items[0]))
        for key, items in by_reading.items()
    }
    headline = MainNumbers(label, robust=robust).headline
    assert headline is not None, "there is a reading"
    main = by_reading[headline[0]]
    clean = [metric for item in main if (metric := _clean_beside(item)) is not None]
    return MainNumbers(
        label,
        robust=robust,
        clean=measured(clean) if len(clean) == len(main) else None,
        threat=robust[headline[0]].threat,
        images=main[0].metric.n,
        seeds=len(main),
        audit=words,
    )


def _threat(found: Found) -> str:
    norm, eps = (found.options.get(key) for key in ("norm", "eps"))
    return "" if norm is None or eps is None else f"{NORMS.get(str(norm), norm)} {option_text(eps)}"


def measured(metrics: Sequence[Metric]) -> Measured:
    """Return the number of one seed, or the mean of several."""
    values = [percent(metric, metric.value) or 0.0 for metric in metrics]
    ends = [(percent(metric, metric.low), percent(metric, metric.high)) for metric in metrics]
    known = [(low, high) for low, high in ends if low is not None and high is not None]
    low, high = (None, None)
    if len(known) == len(ends):
        low, high = fmean(low for low, _ in known), fmean(high for _, high in known)
    return Measured(fmean(values), low, high, stdev(values) if len(values) > 1 else None)


def _clean_beside(found: Found) -> Metric | None:
    """The clean accuracy that was measured with a robust one: of the same network, else of the first in the result."""
    metrics = found.result.metrics
    own = f"{found.name.rpartition('/')[0]}/{CLEAN}".removeprefix("/")
    if own in metrics:
        return metrics[own]
    return next((metric for name, metric in metrics.items() if name.rpartition("/")[2] == CLEAN), None)
