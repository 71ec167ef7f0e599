"""Which result fills which column of the summary table.

A column looks for its number by protocol and metric; what no column claims still stands in the page's table of all
results.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from sslkuramoto.errors import UserError
from sslkuramoto.report.runs import FINETUNE, PRETRAIN, Metric, Model, Result

IN_PERCENT = {"fraction": 100, "percent": 1, "index": 100}  # index: NMI and ARI, times 100 as papers print them
RANDOM, FIXED, EOT, HELD, UNION = "random", "fixed", "eot", "held", "union"
# A union that names another way is the union over that way's attacks; alone it is the one over all ways.
WORDS_OF_A_WAY = {
    **{HELD: {"held"}, EOT: {"eot", "rand"}, FIXED: {"fixed"}, RANDOM: {"random", "published", "as"}},
    UNION: {"union"},
}
OPTIONS_OF_EOT = ("eot", "eot_iter", "eot_draws", "eot_samples")
HELD_NOISE = "held_noise"  # the attack, or the noise of another
# The whole battery before its quick versions, l-inf before l2.
ATTACKS = (
    *(f"{name}-linf{rest}" for rest in ("", "*") for name in ("robustness", "autoattack")),
    *("robustness", "robustness-quick*", "robust*", "autoattack*", "attack*", "apgd*", "pgd*"),
)
AUDIT = "audit"  # its figures belong to its checks and are no way of measuring robust accuracy
# What may be left of a headline metric's name without its words of a way; anything else is a detail.
HEADLINES = ((), ("robust", "accuracy"), ("robust",), ("accuracy",), ("worst", "case"))


@dataclass(frozen=True)
class Column:
    """One number a model.

    Attributes:
        key: name in CSV files and of published figures.
        title: heading inside its group.
        group: heading above.
        frozen: whether it measures the encoder as pretrained (else the finetuned classifier).
        sources: (protocol pattern, metric names) in order of preference.
        way: for robust accuracy, how the attacked encoder got its initial oscillators.
        optional: whether it is left out of a table in which no model has a number for it.
    """

    key: str
    title: str
    group: str
    frozen: bool
    sources: tuple[tuple[str, tuple[str, ...]], ...]
    way: str | None = None
    optional: bool = False

    @property
    def name(self) -> str:
        """The heading where there is no row for groups."""
        return self.title if self.title.startswith(self.group) else f"{self.group}: {self.title}"


_CLEAN = (
    ("clean", ("accuracy",)),
    ("clean*", ("accuracy",)),
    ("finetune*", ("accuracy",)),
    *((attack, ("clean_accuracy", "published/clean_accuracy", "random/clean_accuracy")) for attack in ATTACKS),
)
_ROBUST = tuple((attack, ()) for attack in ATTACKS)


def _protocol(name: str, metric: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """A protocol by its own name before any variant of it."""
    return (name, (metric,)), (f"{name}-*", (metric,))


COLUMNS = (
    Column("knn", "k-NN", "Frozen encoder", True, _protocol("knn", "accuracy")),
    Column("linear", "linear probe", "Frozen encoder", True, _protocol("linear", "accuracy")),
    Column("clustering_accuracy", "accuracy", "Clustering", True, _protocol("clustering", "accuracy")),
    Column("clustering_nmi", "NMI", "Clustering", True, _protocol("clustering", "nmi")),
    Column("clustering_ari", "ARI", "Clustering", True, _protocol("clustering", "ari")),
    Column("clean", "clean accuracy", "Finetuned", False, _CLEAN),
    Column("robust_as_published", "as published", "Robust accuracy", False, _ROBUST, RANDOM),
    Column("robust_fixed", "fixed oscillators", "Robust accuracy", False, _ROBUST, FIXED),
    Column("robust_eot", "EoT", "Robust accuracy", False, _ROBUST, EOT),
    Column("robust_held", "adaptive", "Robust accuracy", False, _ROBUST, HELD),
    Column("robust_union", "union of all", "Robust accuracy", False, _ROBUST, UNION),
    *(
        Column(key, title, group, False, _protocol(protocol, metric), optional=True)
        for key, title, group, protocol, metric in (
            ("noise_accuracy", "sign noise of 64/255", "Noise", "noise", "sign_64_255_accuracy"),
            ("corruption_accuracy", "mean accuracy", "Corruptions", "corruptions", "accuracy_mean"),
            ("corruption_mce", "mCE", "Corruptions", "corruptions", "mce"),
            ("calibration_ece", "ECE", "Calibration", "calibration", "ece"),
        )
    ),
)


@dataclass(frozen=True)
class Found:
    """A number and the file that it stands in."""

    metric: Metric
    name: str
    result: Result

    @property
    def options(self) -> dict[str, Any]:
        """The options behind this number: of a protocol with ``ways``, those of the way that its name begins with."""
        options = {key: value for key, value in self.result.options.items() if key != "ways"}
        ways, (way, *rest) = self.result.options.get("ways"), self.name.split("/")
        return options | (ways[way] if rest and isinstance(ways, dict) and isinstance(ways.get(way), dict) else {})


def find(column: Column, model: Model) -> Found | str:
    """Return the number of ``model`` for ``column``, or the reason why there is none.

    Raises:
        UserError: the number is there and its unit is neither fraction nor percent.
    """
    parts = _parts_of(column, model)
    if not model.parts:
        return "published only: no run of ours"
    if not parts:
        return "not measured: the run has no finetuned part"
    near: list[Result] = []
    for protocol, names in column.sources:
        for result in (r for results in parts for r in _in_order(results) if fnmatchcase(r.protocol, protocol)):
            name = _way_metric(column.way, result) if column.way else _named(names, result)
            if name is not None:
                return _checked(Found(result.metrics[name], name, result))
            near.append(result)
    if column.way in (FIXED, EOT, HELD) and any(r.encoder.get("stochastic") is False for r in near):
        return "the encoder is deterministic: there is one way only, in the column 'as published'"
    if near and column.way is None and column.frozen:
        return f"not measured: {near[0].path.name} holds {', '.join(near[0].metrics) or 'no metric'}"
    return "not measured: no result for it in the run directory"


def _parts_of(column: Column, model: Model) -> list[tuple[Result, ...]]:
    """Where to look: a frozen number must not come from the finetuned encoder of a model that was pretrained."""
    order = [FINETUNE, PRETRAIN]
    if column.frozen:
        order = [PRETRAIN if PRETRAIN in model.parts else FINETUNE]
    return [model.parts[name].results for name in order if name in model.parts]


def _in_order(results: Iterable[Result]) -> list[Result]:
    """Results that may fill a column: those in the l-inf ball before those in the l2 ball, those of audits never."""
    kept = [r for r in results if AUDIT not in r.details and not r.protocol.startswith(AUDIT)]
    return sorted(kept, key=lambda result: result.options.get("norm") == "l2")


def _named(names: tuple[str, ...], result: Result) -> str | None:
    return next((name for name in names if name in result.metrics), None)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


def _way_metric(way: str, result: Result) -> str | None:
    """The metric that states the robust accuracy under ``way``: by its own name, else by the file's name, else by how
    the file says the encoder started."""
    spoken = set().union(*WORDS_OF_A_WAY.values())
    for headline in HEADLINES:
        for name in sorted(result.metrics, key=lambda name: UNION not in _words(name)):
            words = _words(name)
            if tuple(word for word in words if word not in spoken) != headline:
                continue
            if way == (_way_in(words) or _way_in(_words(result.protocol)) or _way_stated(result)):
                return name
    return None


def _way_in(words: list[str]) -> str | None:
    """Held noise, EoT and fixed are said outright; "random" alone means fresh oscillators, as published."""
    return next((way for way, said in WORDS_OF_A_WAY.items() if said & set(words)), None)


def _way_stated(result: Result) -> str | None:
    if result.encoder.get("stochastic") is False and result.encoder.get("initial") != FIXED:
        return RANDOM
    initial = result.encoder.get("initial")
    attacks = [e if isinstance(e, dict) else {"name": e} for e in result.options.get("attacks") or ()]
    if initial != FIXED and any(HELD_NOISE in (a.get("name"), f"{a.get('noise')}_noise") for a in attacks):
        return HELD
    for options in (result.options, *attacks):
        if any(isinstance(count := options.get(key), int | float) and count > 1 for key in OPTIONS_OF_EOT):
            return EOT
    return initial if initial in (RANDOM, FIXED) else None


def _checked(found: Found) -> Found:
    unit = found.metric.unit
    if unit not in IN_PERCENT:
        wanted = ", ".join(IN_PERCENT)
        raise UserError(f"{found.result.path}: metrics.{found.name}.unit={unit!r}: wanted: one of {wanted}")
    return found


def percent(metric: Metric, value: float | None) -> float | None:
    """Return a value of ``metric`` in percent."""
    return None if value is None else value * IN_PERCENT[metric.unit]
