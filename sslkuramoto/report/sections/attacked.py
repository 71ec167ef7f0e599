"""Images before and after an attack."""

from collections.abc import Sequence

from markupsafe import Markup

from sslkuramoto.report.evidence import (
    Evidence,
    attacked_of,
)
from sslkuramoto.report.markup import NOTHING, element, figure, fine, left_out_note
from sslkuramoto.report.pictures.evidence import (
    attacked_picture,
    magnification,
)
from sslkuramoto.report.pictures.oscillators import MAX_TILE
from sslkuramoto.report.sections.section import (
    PICTURE_BUDGET,
    Half,
    Section,
)


def adversarial_images(items: Sequence[Evidence]) -> Markup:
    """Images before and after an attack, as many as the page may weigh."""
    text, left_out, budget = NOTHING, [], PICTURE_BUDGET
    for index, item in enumerate(items):
        drawn = NOTHING
        for way, attacked in enumerate(attacked_of(item.result)):
            if not len(attacked.clean):
                drawn += fine(f"{attacked.way or 'attack'}: no image was broken, there is none to show.")
                continue
            below = (
                f"{f'{attacked.way}: a' if attacked.way else 'A'}bove each image its label and what the network then "
                f"says most often. Third row: the difference on grey, magnified {magnification(attacked)} times"
                f"{f', all averaged down to {MAX_TILE} pixels' if max(attacked.clean.shape[-2:]) > MAX_TILE else ''}."
            )
            picture = attacked_picture(attacked, name=f"attacked-{index}-{way}")
            drawn += figure(picture, below)
        if drawn and len(drawn) <= budget:
            budget -= len(drawn)
            text += element("h3", f"{item.label}, {item.result.protocol}") + drawn
        elif drawn:
            left_out.append(item.label)
    return text + left_out_note(left_out, "Left out")


def section() -> Section:
    """Return this section."""
    return Section(
        runs=Half(70, "Adversarial images", lambda shown: adversarial_images(shown.evidence)),
        study=Half(80, "Adversarial images", lambda shown: adversarial_images(shown.evidence)),
    )
