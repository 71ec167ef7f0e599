"""What the network sees and does: views, phases, energies."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, colours_bar, element, figure, fine, joined
from sslkuramoto.report.pictures.oscillators import (
    PHASES_FILE,
    VIEWS_FILE,
    energies_picture,
    load_phases,
    load_views,
    phase_colours,
    phases_picture,
    views_picture,
)
from sslkuramoto.report.runs import Model, Part
from sslkuramoto.report.sections.section import (
    PICTURE_BUDGET,
    TITLES_OF_PARTS,
    Half,
    Section,
    parts_of,
)

CHOICE = (
    "Of each layer one oscillator a site is shown, the same for all images: the one whose last phases agree most "
    "between neighbours and least over the whole grid."
)


def pictures(models: Sequence[Model]) -> Markup:
    """Views, phases and energies of the runs that recorded them, as many as the page may weigh."""
    text, left_out, budget = NOTHING, [], PICTURE_BUDGET
    for index, (model, name, part) in enumerate(parts_of(models)):
        if not any((part.path / file).exists() for file in (VIEWS_FILE, PHASES_FILE)):
            continue
        drawn = NOTHING if left_out else _pictures_of(part, f"picture-{index}")
        if left_out or len(drawn) > budget:
            left_out.append(f"{model.label} ({name})")
        else:
            budget -= len(drawn)
            text += element("h3", f"{model.label}, {TITLES_OF_PARTS.get(name, name).lower()}") + drawn
    if left_out:
        note = f"Left out, to keep the page small: {', '.join(left_out)}. Report on these runs alone to see them."
        text += fine(note)
    return text


def _pictures_of(part: Part, name: str) -> Markup:
    text = NOTHING
    if views := load_views(part.path):
        below = "Views of the training images, as the objective gets them; one image a column."
        text += figure(views_picture(views, name=f"{name}-views"), below)
    if phases := load_phases(part.path):
        trace, dim, images = phases
        coding: Iterable[object] = ("Red, green and blue are an oscillator's first three coordinates.",)
        if dim == 2:
            coding = ("Colour is the phase: ", colours_bar(phase_colours()), " from 0 to 2π.")
        below = joined([f"Oscillators (N = {dim}) after each Kuramoto step. ", *coding, f" {CHOICE}"])
        text += figure(phases_picture(trace, dim, images=images, name=f"{name}-phases"), below)
        below = f"Energy before each step and after the last: mean and range over {len(images)} images."
        text += figure(energies_picture(trace, name=f"{name}-energies"), below)
    return text


def section() -> Section:
    """What the network sees and does: views, phases, energies."""
    return Section(
        runs=Half(30, "What the network sees and does", lambda shown: pictures(shown.models)),
    )
