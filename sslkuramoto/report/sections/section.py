"""What a section of a page is. A file here is a section; a page shows those that have something to say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from markupsafe import Markup

from sslkuramoto.registry import Registry
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.runs import FINETUNE, PRETRAIN, Model, Part
from sslkuramoto.results import Result
from sslkuramoto.study.table import StudyTable

TITLES_OF_PARTS = {PRETRAIN: "Pretraining", FINETUNE: "Finetuning"}
PICTURE_BUDGET = 900_000  # bytes of one section's pictures: the page stays a page


@dataclass(frozen=True)
class Runs:
    """What a page on runs shows.

    Attributes:
        models: one line of the summary each.
        evidence: their results.
        grouped: whether runs that differ in the seed only share a line of the summary.
    """

    models: Sequence[Model]
    evidence: Sequence[Evidence]
    grouped: bool = False


@dataclass(frozen=True)
class Studied:
    """What the page of a study shows.

    Attributes:
        table: the study.
        evidence: its results, of the first seed of each row.
        every_seed: of all seeds.
    """

    table: StudyTable
    evidence: Sequence[Evidence]
    every_seed: Sequence[Evidence]


Shown = TypeVar("Shown", Runs, Studied)


@dataclass(frozen=True)
class Half(Generic[Shown]):
    """A section as one kind of page shows it.

    Attributes:
        place: sections come in this order; ours are 10, 20, 30 and so on.
        title: plain text.
        html: what it says; empty where it does not apply.
    """

    place: int
    title: str
    html: Callable[[Shown], Markup]


@dataclass(frozen=True)
class Section:
    """A section of pages on runs, of pages on studies, or of both. Its registered name is its address on the page.

    Attributes:
        runs: how a page on runs shows it, or None.
        study: how the page of a study shows it, or None.
    """

    runs: Half[Runs] | None = None
    study: Half[Studied] | None = None


SECTIONS: Registry[Section] = Registry("section", "sslkuramoto.sections")


def parts_for(shown: Shown, halves: dict[str, Half[Shown] | None]) -> dict[str, tuple[str, Markup]]:
    """Return address -> title and content of the sections of one kind of page, in their order.

    Args:
        shown: what the page is about.
        halves: of all sections, by name; None where this kind of page has none.
    """
    ours = sorted(((half.place, name, half) for name, half in halves.items() if half is not None), key=lambda o: o[:2])
    return {name: (half.title, half.html(shown)) for _, name, half in ours}


def parts_of(models: Sequence[Model]) -> list[tuple[Model, str, Part]]:
    """Return each run directory with its model and the name of its part."""
    return [(model, name, part) for model in models for name, part in model.parts.items()]


def results_of(models: Sequence[Model]) -> list[tuple[Model, str, Result]]:
    """Return each result with its model and the name of its part."""
    return [(model, name, result) for model, name, part in parts_of(models) for result in part.results]
