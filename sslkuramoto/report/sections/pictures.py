"""What the network sees and does: views, phases, energies, and how far the oscillators agree."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, colours_bar, element, figure, fine, joined
from sslkuramoto.report.pictures.inputs import kind_of
from sslkuramoto.report.pictures.modes import APART, VALLEY, modes_picture
from sslkuramoto.report.pictures.order import histograms_picture, order_picture
from sslkuramoto.report.pictures.oscillators import (
    CODING,
    PHASES_FILE,
    VIEWS_FILE,
    energies_picture,
    load_phases,
    load_views,
    phase_colours,
    phases_picture,
    views_picture,
)
from sslkuramoto.report.pictures.panel import panel
from sslkuramoto.report.runs import Model, Part
from sslkuramoto.report.sections.section import (
    PICTURE_BUDGET,
    TITLES_OF_PARTS,
    Half,
    Section,
    parts_of,
)

HISTOGRAM_OF = {
    2: "Phases of all oscillators after the first and the last step.",
    3: "Angles between the oscillators and the mean direction of their grid, after the first and the last step.",
}
MAZES = "Mazes: walls are dark, start and goal S and G, the path of the data blue."
CHOICE = (
    "Of each layer one oscillator a site is shown, the same for all images: the one whose last phases agree most "
    "between neighbours and least over the whole grid."
)


ONE_PEAK = (
    f"No maps of phase modes: the phases of the last layer have no two peaks {APART:.0f}° apart or more with a valley "
    f"of at most {100 * VALLEY:.0f} % of the lower peak on both arcs between them."
)


def pictures(models: Sequence[Model]) -> Markup:
    """Views, phases and energies of the runs that recorded them, as many as the page may weigh."""
    text, left_out, budget = NOTHING, [], PICTURE_BUDGET
    for index, (model, name, part) in enumerate(parts_of(models)):
        if not any((part.path / file).exists() for file in (VIEWS_FILE, PHASES_FILE)):
            continue
        whose = f"{model.label}, {TITLES_OF_PARTS.get(name, name).lower()}"
        drawn = NOTHING if left_out else _pictures_of(part, whose, f"picture-{index}")
        if left_out or len(drawn) > budget:
            left_out.append(f"{model.label} ({name})")
        else:
            budget -= len(drawn)
            text += element("h3", whose) + drawn
    if left_out:
        note = f"Left out, to keep the page small: {', '.join(left_out)}. Report on these runs alone to see them."
        text += fine(note)
    return text


def _pictures_of(part: Part, whose: str, name: str) -> Markup:
    text = NOTHING
    if views := load_views(part.path):
        below = "Views of the training images, as the objective gets them; one image a column."
        text += figure(views_picture(views, name=f"{name}-views"), below)
    if phases := load_phases(part.path):
        trace, dim, inputs, answers = phases
        examples = f"{len(inputs)} {kind_of(inputs, answers)}s"
        text += panel(trace, dim, inputs, answers=answers, label=whose, name=f"{name}-panel")
        coding: Iterable[object] = (f"{CODING.get(dim, CODING[3]).capitalize()}.",)
        if dim == 2:
            coding = ("Colour is the phase: ", colours_bar(phase_colours()), " from 0 to 2π.")
        shown = f" {MAZES}" if answers is not None else ""
        below = joined([f"Oscillators (N = {dim}) after each oscillator step. ", *coding, f" {CHOICE}{shown}"])
        text += figure(phases_picture(trace, dim, images=inputs, answers=answers, name=f"{name}-phases"), below)
        below = f"Energy before each step and after the last: mean and range over {examples}."
        text += figure(energies_picture(trace, name=f"{name}-energies"), below)
        below = (
            f"Order parameter after each step, mean and range over {examples}: the length of "
            "the mean of an oscillator over the grid, 1 where all sites agree; mean over the oscillators of a site."
        )
        text += figure(order_picture(trace, dim, name=f"{name}-order"), below)
        if histograms := histograms_picture(trace, dim, name=f"{name}-histograms"):
            below = f"{HISTOGRAM_OF.get(dim, HISTOGRAM_OF[3])} Dotted: directions drawn at random."
            text += figure(histograms, below)
        if dim != 2:
            return text
        modes, peaks = modes_picture(trace, inputs, answers=answers, name=f"{name}-modes")
        if peaks is None:
            text += fine(ONE_PEAK)
        else:
            below = (
                f"The phases of the last layer have two peaks, at {peaks[0]:.0f}° and {peaks[1]:.0f}° (rows). White: "
                "the phases of a site are near the peak after the step; mean over its oscillators."
            )
            text += figure(modes, below)
    return text


def section() -> Section:
    """What the network sees and does: views, phases, energies."""
    return Section(
        runs=Half(30, "What the network sees and does", lambda shown: pictures(shown.models)),
    )
