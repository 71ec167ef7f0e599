"""The union over all readings: each image counts with its worst candidate of all attacks of all ``ways``.

Candidates are scored on the network of the first reading. One that was found on another reading of the same weights,
such as fixed oscillators, is a transfer attack and counts too.

Shapes: n images, y x pixels, k draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.attacks.worst_candidate import most_passes, worst_of
from sslkuramoto.evaluation.robustness.attack_progress import seldom
from sslkuramoto.evaluation.robustness.built_reading import BuiltReading
from sslkuramoto.noise_draws import accuracies, share_right, worst_of_draws
from sslkuramoto.results import Metric, Reading, Result

UNION = "union"  # over all readings


def join(
    joined: Result, readings: Sequence[BuiltReading], found: Mapping[str, Sequence[Float[Tensor, "n 3 y x"]]]
) -> None:
    """Add the union over all readings to the result that holds them.

    Args:
        joined: gets the metrics, per-image lists and notes of the union.
        readings: all readings, in order.
        found: the candidates of each reading that was attacked, one set per attack.
    """
    first, by_name = readings[0], {each.name: each for each in readings}
    if others := [name for name in found if by_name[name].threat != first.threat]:
        joined.notes.append(
            f"{UNION}: over readings with {first.threat} only, not over {', '.join(others)}, which have another threat"
        )
    within = {name: candidates for name, candidates in found.items() if name not in others}
    stated = not others and any(by_name[name].reading is not None for name in within)  # a union of all, or none
    metrics, per_image = _worst(first, within, UNION if stated else None)
    joined.metrics.update({f"{UNION}/{metric}": value for metric, value in metrics.items()})
    joined.per_image.update({f"{UNION}/{entry}": values for entry, values in per_image.items()})
    joined.verdicts.append(f"{UNION}/correct")
    joined.notes += above(joined.metrics, [by_name[name] for name in within], first)


def above(metrics: Mapping[str, Metric], readings: Sequence[BuiltReading], first: BuiltReading) -> list[str]:
    """Return notes where the union is above one reading of the same network: by chance, since other draws chose."""
    union = metrics[f"{UNION}/robust_accuracy"].value
    same = [
        each for each in readings if (each.initial, each.classifier.draws) == (first.initial, first.classifier.draws)
    ]
    gaps = {each.name: union - metrics[f"{each.name}/robust_accuracy"].value for each in same}
    return [
        f"{UNION}: {100 * gap:.2f} points above {name}, by chance: the draws that chose candidates do not score them"
        for name, gap in gaps.items()
        if gap > 1e-9
    ]


def _worst(
    first: BuiltReading, found: Mapping[str, Sequence[Float[Tensor, "n 3 y x"]]], reading: Reading | None
) -> tuple[dict[str, Metric], dict[str, list]]:
    chosen, labels = first.chosen, first.chosen.labels.cpu()
    told, passes = seldom(first.subject.report), 0
    names = [name for name, candidates in found.items() for _ in candidates]
    sets = [candidates for own in found.values() for candidates in own]
    stochastic, select = first.classifier.stochastic, first.select_draws
    most = most_passes(len(sets), select, stochastic=stochastic)

    def right(candidates: Tensor, purpose: str, draws: int) -> Tensor:
        nonlocal passes
        passes += draws
        told(f"{UNION}: the worst candidate of each image is looked for, {passes} of at most {most} passes per image")
        moved = candidates.to(chosen.pixels.device)
        return (first.predictions(moved, chosen.index, draws, purpose) == labels).float().mean(dim=0)

    worst = worst_of(sets, right, stochastic=stochastic, draws=select)
    first.subject.keep("adversarial", worst.images.cpu())
    best = worst.images.to(chosen.pixels.device)
    scored = first.predictions(best, chosen.index)
    first.look_again(best, share_right(scored, labels))
    if first.store:
        first.store_broken(UNION, best, first.predictions(chosen.pixels, chosen.index), scored)
    metrics = {
        **accuracies(scored, labels, "robust_accuracy"),
        **worst_of_draws(scored, labels, "robust_accuracy"),
    }
    metrics["robust_accuracy"] = replace(metrics["robust_accuracy"], reading=reading)
    return metrics, {"correct": share_right(scored, labels), "found_by": [names[k] for k in worst.which.tolist()]}
