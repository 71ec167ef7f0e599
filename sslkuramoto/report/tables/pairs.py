"""Paired tests, of a study or of two runs, in words and fields, the same in every output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sslkuramoto.study.paired import Comparison, McNemar, PairedTest, comparisons
from sslkuramoto.study.run_pairs import RunComparison
from sslkuramoto.study.table import StudyTable

HEADS = ("difference", "95 % interval", "p", "Holm", "b", "c", "n", "p, McNemar")
HOW_TO_READ = (
    "Paired tests: difference of the mean shares of correct draws in points, first minus second, over the seeds "
    "that both rows have, with its 95 % interval over images; p of exchanging the rows at random images, exact McNemar "
    "where every share is 0 or 1; Holm over all of the study. Beside it McNemar on most draws: b correct in the first "
    "row only, c in the second, n images times seeds."
)

HOW_TO_READ_RUNS = (
    "Difference of the mean shares of correct draws in points, {} minus {}, with its 95 % interval over images; p "
    "of exchanging the runs at random images, exact McNemar where every share is 0 or 1; Holm over all lines. Beside "
    "it McNemar on most draws: b correct in the first run only, c in the second, n images. Images are the sampling "
    "unit: a small p is a statement about these two networks, not about other seeds."
)


@dataclass(frozen=True)
class PairedLine:
    """One line of a table of tests: names, then texts and numbers under ``HEADS`` (None is a dash)."""

    column: str
    first: str
    second: str
    seeds: str
    texts: tuple[str, ...]
    numbers: tuple[float | None, ...]


def paired_table(table: StudyTable, labels: Mapping[str, str], *, every_seed: bool = True) -> list[PairedLine]:
    """Return one line per comparison with its seeds pooled and, of several seeds, one line per seed.

    Args:
        table: from :func:`sslkuramoto.study.collect`.
        labels: row -> its label.
        every_seed: also the lines of single seeds beside the pooled one.
    """
    lines = []
    for test in comparisons(table):
        if test.pooled is None:
            continue
        count = len(test.per_seed)
        found = [(f"pooled ({count} seed{'s' if count > 1 else ''})", test.pooled, test.holm)]
        if every_seed and count > 1:
            found += [(str(seed), one, None) for seed, one in test.per_seed.items()]
        title, (first, second) = table.study.columns[test.column].title, (labels[key] for key in test.rows)
        lines += [
            PairedLine(title, first, second, seeds, _texts(pair, holm), _numbers(pair, holm))
            for seeds, pair, holm in found
        ]
    return lines


def _texts(test: PairedTest, holm: float | None) -> tuple[str, ...]:
    corrected = "-" if holm is None else p_text(holm)
    votes = test.mcnemar
    last = ("-", "-", "-", "-") if votes is None else (*map(str, (votes.b, votes.c, votes.n)), p_text(votes.p))
    return (points(test.difference), interval_text(test), p_text(test.p), corrected, *last)


def _numbers(test: PairedTest, holm: float | None) -> tuple[float | None, ...]:
    votes = test.mcnemar
    last = (None,) * 4 if votes is None else (votes.b, votes.c, votes.n, votes.p)
    return (100 * test.difference, 100 * test.low, test.p, holm, *last)


def runs_text(found: RunComparison) -> str:
    """Return the tests of two runs as aligned columns, one line per list of verdicts, and how to read them."""
    grid = [["protocol", "verdicts", *HEADS]]
    grid += [[item.protocol, item.verdicts, *_texts(item.test, item.holm)] for item in found.tests]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in grid]
    return "\n".join([*lines, HOW_TO_READ_RUNS.format(*found.runs), *found.notes])


def paired_lines(table: StudyTable, labels: Mapping[str, str]) -> list[str]:
    """One line a paired test that the study asks for, and one a pair that could not be tested."""
    tests = comparisons(table)
    lines = [_paired_line(test, labels, table.study.columns[test.column].title) for test in tests if test.pooled]
    return ([HOW_TO_READ] if lines else []) + lines + untested_lines(tests, labels)


def untested_lines(tests: Sequence[Comparison], labels: Mapping[str, str]) -> list[str]:
    """Say which pairs were not tested, in how many columns, and why."""
    columns: dict[tuple[str, str, str], int] = {}
    for test in tests:
        if test.pooled is None:
            key = (*test.rows, test.reason or "")
            columns[key] = columns.get(key, 0) + 1
    return [
        f"paired: {labels[a]} against {labels[b]}: not tested in {n} column{'s' if n > 1 else ''}: {reason}"
        for (a, b, reason), n in columns.items()
    ]


def _paired_line(test: Comparison, labels: Mapping[str, str], column: str) -> str:
    assert test.pooled is not None
    assert test.holm is not None
    first, second = (labels[key] for key in test.rows)
    text = (
        f"paired, {column}: {first} against {second}: {_difference_text(test.pooled)}, {p_is(test.pooled.p)}, "
        f"{p_is(test.holm, 'Holm')}; {mcnemar_text(test.pooled.mcnemar)}"
    )
    if len(test.per_seed) > 1:
        each = (f"seed {seed}: {_difference_text(one)}, {p_is(one.p)}" for seed, one in test.per_seed.items())
        text += "; " + "; ".join(each)
    return text


def _difference_text(test: PairedTest) -> str:
    return f"{points(test.difference)} {interval_text(test)}"


def mcnemar_text(test: McNemar | None) -> str:
    """``McNemar b = 12, c = 3 of 1000, p = 0.035``."""
    return "McNemar -" if test is None else f"McNemar b = {test.b}, c = {test.c} of {test.n}, {p_is(test.p)}"


def points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def interval_text(test: PairedTest) -> str:
    """The interval of a difference in points."""
    return f"[{points(test.low)}, {points(test.high)}]"


def p_text(p: float) -> str:
    """Two digits, never 0."""
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def p_is(p: float, name: str = "p") -> str:
    """``p = 0.035`` or ``p < 0.0001``."""
    return f"{name} {'' if p < 1e-4 else '= '}{p_text(p)}"
