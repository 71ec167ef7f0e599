"""The main numbers: the robust accuracy of each model, its audit, and all readings as one picture."""

from collections.abc import Sequence

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, element, figure, fine, joined
from sslkuramoto.report.pictures.readings import readings_pictures
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.report.tables.main_numbers import MainNumbers
from sslkuramoto.report.tables.study import study_summary
from sslkuramoto.report.tables.table import summarise

HOW_TO_READ = (
    "Thin lines: 95 % interval over images. A reading is one procedure of attack on the same network and images; the "
    "union takes the worst candidate of all of them. The filled mark is the headline. Each number is an upper bound."
)
OF_SEEDS = " Thick lines: standard deviation over seeds."


def answer(main_numbers: Sequence[MainNumbers]) -> Markup:
    """One line per model that has a number and, of those with a robust accuracy, their readings with intervals."""
    lines = joined(map(_line, (numbers for numbers in main_numbers if numbers.line)))
    if not lines:
        return NOTHING
    robust = [numbers for numbers in main_numbers if numbers.robust]
    text = element("ul", lines, class_="headlines")
    if robust:
        pictures = joined(map(figure, readings_pictures(robust, name="readings")))
        text += element("div", pictures, class_="panels")
        text += fine(HOW_TO_READ + (OF_SEEDS if any(numbers.seeds > 1 for numbers in robust) else ""))
    return text


def _line(numbers: MainNumbers) -> Markup:
    found = numbers.headline
    if found is None:
        return element("li", numbers.line)
    label = element("strong", numbers.label)
    number = element("strong", found[1].text, class_="number")
    return element("li", joined([label, ": robust accuracy ", number, ", ", "; ".join(numbers.remarks)]))


def section() -> Section:
    """Robust accuracy of each model, its audit, and all readings as one picture."""
    return Section(
        runs=Half(5, "In short", lambda shown: answer(summarise(shown.models, grouped=shown.grouped).main_numbers)),
        study=Half(5, "In short", lambda shown: answer(_of_study(study_summary(shown.table).main_numbers))),
    )


def _of_study(main_numbers: Sequence[MainNumbers]) -> list[MainNumbers]:
    """The rows of a study that have a robust accuracy; the others are in its table."""
    return [numbers for numbers in main_numbers if numbers.robust]
