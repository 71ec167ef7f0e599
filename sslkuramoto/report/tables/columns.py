"""Which result fills which column of the summary table.

A column looks for its number by protocol and metric; what no column claims still stands in the page's table of all
results.
"""

import math
import re
from collections.abc import Iterable, Iterator
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
OPTIONS_OF_EOT = ("k", "eot", "eot_iter", "eot_draws", "eot_samples")
# Attacks that are none of the ways: on other gradients, from another network, without gradients, or no adversary.
NO_WAY = {"surrogate", "transfer", "hop_skip_jump", "random_sign", "gaussian"}
HELD_NOISE = "held_noise"  # the attack, or the noise of another
# The whole battery before its quick versions, l-inf before l2.
ATTACKS = (
    *(f"{name}-linf{rest}" for rest in ("", "*") for name in ("robustness", "autoattack")),
    *("robustness", "robustness-quick*", "robust*", "autoattack*", "attack*", "apgd*", "pgd*"),
)
_FEW = 3  # metrics of a result that are named where the wanted one is missing
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
        made_with: (option, value) that a result must have been measured with.
    """

    key: str
    title: str
    group: str
    frozen: bool
    sources: tuple[tuple[str, tuple[str, ...]], ...]
    way: str | None = None
    optional: bool = False
    made_with: tuple[str, object] | None = None

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
_OURS, _ARCHIVE = ("source", "ours"), ("source", "archive")


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
        Column(key, title, group, False, _protocol(protocol, metric), optional=True, made_with=made_with)
        for key, title, group, protocol, metric, made_with in (
            ("noise_accuracy", "sign noise of 64/255", "Noise", "noise", "sign_64_255_accuracy", None),
            ("corruption_accuracy", "mean accuracy", "Our corruptions", "corruptions", "accuracy_mean", _OURS),
            ("corruption_mce", "mCE", "Our corruptions", "corruptions", "mce", _OURS),
            ("archive_accuracy", "mean accuracy", "Published corruptions", "corruptions", "accuracy_mean", _ARCHIVE),
            ("archive_mce", "mCE", "Published corruptions", "corruptions", "mce", _ARCHIVE),
            ("calibration_ece", "ECE", "Calibration", "calibration", "ece", None),
            ("boards_blanks", "blank cells", "Boards solved", "boards", "board_accuracy_blanks", None),
            ("boards_all_cells", "all cells", "Boards solved", "boards", "board_accuracy_all_cells", None),
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
        UserError: the number is there, no percentage by its unit, and the column is not optional.
    """
    parts = _parts_of(column, model)
    if not model.parts:
        return "published only: no run of ours"
    if not parts:
        return "not measured: the run has no finetuned part"
    near: list[tuple[Result, tuple[str, ...]]] = []
    # What a result calls a way comes before what its options suggest.
    for said in (True, False) if column.way else (True,):
        for result, names in _candidates(column, parts):
            name = _way_metric(column.way, result, said) if column.way else _named(names, result)
            if name is not None:
                return _checked(Found(result.metrics[name], name, result), column)
            near.append((result, names))
    if column.way in (FIXED, EOT, HELD) and any(r.encoder.get("stochastic") is False for r, _ in near):
        return "the encoder is deterministic: there is one way only, in the column 'as published'"
    if near and column.way is None:
        result, names = near[0]
        held = ", ".join(result.metrics) if len(result.metrics) <= _FEW else f"{len(result.metrics)} other metrics"
        return f"not measured: {result.path.name} holds {held or 'no metric'}, not {names[0]}"
    return "not measured: no result for it in the run directory"


def _candidates(column: Column, parts: list[tuple[Result, ...]]) -> Iterator[tuple[Result, tuple[str, ...]]]:
    """Results that may hold the number, in order of preference, each with the metrics to look for."""
    for protocol, names in column.sources:
        for result in (r for results in parts for r in _in_order(results) if fnmatchcase(r.protocol, protocol)):
            if column.made_with is None or column.made_with in result.options.items():
                yield result, names


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


def _way_metric(way: str, result: Result, said: bool) -> str | None:
    """The metric that states the robust accuracy under ``way``: by its own name, else by the file's name, or (not
    ``said``) by how the file says that the encoder started and was attacked."""
    spoken = set().union(*WORDS_OF_A_WAY.values())
    for headline in HEADLINES:
        for name in sorted(result.metrics, key=lambda name: UNION not in _words(name)):
            words = _words(name)
            if tuple(word for word in words if word not in spoken) != headline:
                continue
            spoken_of = _way_in(words) or _way_in(_words(result.protocol))
            if way == (spoken_of or (None if said else _way_stated(result))):
                return name
    return None


def _way_in(words: list[str]) -> str | None:
    """Held noise, EoT and fixed are said outright; "random" alone means fresh oscillators, as published."""
    return next((way for way, said in WORDS_OF_A_WAY.items() if said & set(words)), None)


def _way_stated(result: Result) -> str | None:
    initial = result.encoder.get("initial")
    deterministic = result.encoder.get("stochastic") is False and initial != FIXED
    attacks = [e if isinstance(e, dict) else {"name": e} for e in result.options.get("attacks") or ()]
    held = any(HELD_NOISE in (a.get("name"), f"{a.get('noise')}_noise") for a in attacks)
    if held and initial != FIXED and not deterministic:
        return HELD
    if any(a.get("name") in NO_WAY or a.get("backward", "autograd") != "autograd" for a in attacks):
        return None
    if deterministic:
        return RANDOM
    for options in (result.options, *attacks):
        if any(isinstance(count := options.get(key), int | float) and count > 1 for key in OPTIONS_OF_EOT):
            return EOT
    return initial if initial in (RANDOM, FIXED) else None


def _checked(found: Found, column: Column) -> Found | str:
    unit = found.metric.unit
    if unit not in IN_PERCENT:
        wanted = ", ".join(IN_PERCENT)
        if column.optional:
            return f"{found.result.path.name} gives {found.name} in the unit {unit!r}, not one of {wanted}"
        raise UserError(f"{found.result.path}: metrics.{found.name}.unit={unit!r}: wanted: one of {wanted}")
    return found


def percent(metric: Metric, value: float | None) -> float | None:
    """Return a value of ``metric`` in percent."""
    return None if value is None else value * IN_PERCENT[metric.unit]


def number(found: Found | str) -> float | None:
    """Return what :func:`find` found, in percent; None where it is missing or not finite."""
    value = None if isinstance(found, str) else percent(found.metric, found.metric.value)
    return value if value is not None and math.isfinite(value) else None
