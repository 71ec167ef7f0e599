"""Images before and after an attack."""

from collections.abc import Sequence

from markupsafe import Markup

from sslkuramoto.report.evidence import Attacked, Evidence, attacked_of
from sslkuramoto.report.markup import NOTHING, element, figure, fine, folded, joined, left_out_note
from sslkuramoto.report.pictures.evidence import attacked_pictures, magnification
from sslkuramoto.report.pictures.tiles import MAX_TILE
from sslkuramoto.report.sections.section import PICTURE_BUDGET, Half, Section


def adversarial_images(items: Sequence[Evidence]) -> Markup:
    """Images before and after an attack, as many as the page may weigh: of the last reading open, the others folded."""
    text, left_out, budget = NOTHING, [], PICTURE_BUDGET
    for index, item in enumerate(items):
        stored = attacked_of(item.result)
        empty = ", ".join(each.reading or "the attack" for each in stored if not len(each.clean))
        drawn = fine(f"No image was broken by {empty}: there is none to show.") if empty else NOTHING
        for k, attacked in enumerate(reversed([each for each in stored if len(each.clean)])):
            content = _pictures(attacked, f"attacked-{index}-{k}")
            drawn += content if k == 0 else folded(f"Images of the reading {attacked.reading!r}", content)
        if drawn and len(drawn) <= budget:
            budget -= len(drawn)
            text += element("h3", f"{item.label}, {item.result.protocol}") + drawn
        elif drawn:
            left_out.append(item.label)
    return text + left_out_note(left_out, "Left out")


def _pictures(attacked: Attacked, name: str) -> Markup:
    smaller = f", all averaged down to {MAX_TILE} pixels" if max(attacked.clean.shape[-2:]) > MAX_TILE else ""
    above = f"{attacked.reading}: above" if attacked.reading else "Above"
    below = (
        f"{above} each image its class and what the network answers most often after the attack. In the middle the "
        f"perturbation, magnified {magnification(attacked)} times on grey{smaller}."
    )
    pictures = joined(map(figure, attacked_pictures(attacked, name=name)))
    return fine(below) + element("div", pictures, class_="panels middle")


def section() -> Section:
    """Images before and after an attack."""
    return Section(
        runs=Half(70, "Adversarial images", lambda shown: adversarial_images(shown.evidence)),
        study=Half(80, "Adversarial images", lambda shown: adversarial_images(shown.evidence)),
    )
