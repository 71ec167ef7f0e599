"""The worst of all ways: an image meets the worst that any attack of any way found for it, on the first way's network.

What was found on another reading of the weights (fixed oscillators) counts too: it is a transfer.

Shapes: n images, y x pixels, k draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.attacks.worst_candidate import worst_of
from sslkuramoto.evaluation.robustness.way import Way
from sslkuramoto.noise_draws import accuracies, share_right
from sslkuramoto.results import Metric, Reading, Result

UNION = "union"  # of all ways


def join(joined: Result, ways: Sequence[Way], found: Mapping[str, Sequence[Float[Tensor, "n 3 y x"]]]) -> None:
    """Add the union over ways to a result that holds them.

    Args:
        joined: metrics, per-image lists and notes of the union are added to it.
        ways: all, in order.
        found: the candidates of each way that was attacked, one set per attack.
    """
    first, by_name = ways[0], {way.name: way for way in ways}
    if others := [name for name in found if by_name[name].threat != first.threat]:
        joined.notes.append(f"{UNION}: within {first.threat} only, without {', '.join(others)}")
    within = {name: candidates for name, candidates in found.items() if name not in others}
    stated = any(by_name[name].reading is not None for name in within)
    metrics, per_image = _worst(first, within, UNION if stated else None)
    joined.metrics.update({f"{UNION}/{metric}": value for metric, value in metrics.items()})
    joined.per_image.update({f"{UNION}/{entry}": values for entry, values in per_image.items()})
    joined.verdicts.append(f"{UNION}/correct")
    joined.notes += above(joined.metrics, [by_name[name] for name in within], first)


def above(metrics: Mapping[str, Metric], ways: Sequence[Way], first: Way) -> list[str]:
    """Say by how much the union lies above a way of the same network, where it does: it chose on other draws."""
    union = metrics[f"{UNION}/robust_accuracy"].value
    same = [way for way in ways if (way.initial, way.classifier.draws) == (first.initial, first.classifier.draws)]
    gaps = {way.name: union - metrics[f"{way.name}/robust_accuracy"].value for way in same}
    return [
        f"{UNION}: {100 * gap:.2f} points above {name}, by chance: other draws chose it than those that score"
        for name, gap in gaps.items()
        if gap > 1e-9
    ]


def _worst(
    first: Way, found: Mapping[str, Sequence[Float[Tensor, "n 3 y x"]]], reading: Reading | None
) -> tuple[dict[str, Metric], dict[str, list]]:
    chosen, labels = first.chosen, first.chosen.labels.cpu()

    def right(candidates: Tensor, purpose: str) -> Tensor:
        moved = candidates.to(chosen.pixels.device)
        return (first.predictions(moved, chosen.index, first.select_draws, purpose) == labels).float().mean(dim=0)

    names = [name for name, candidates in found.items() for _ in candidates]
    sets = [candidates for way in found.values() for candidates in way]
    worst = worst_of(sets, right, stochastic=first.classifier.stochastic)
    first.subject.keep("adversarial", worst.images.cpu())
    best = worst.images.to(chosen.pixels.device)
    scored = first.predictions(best, chosen.index)
    if first.store:
        first.store_broken(UNION, best, first.predictions(chosen.pixels, chosen.index), scored)
    metrics = accuracies(scored, labels, "robust_accuracy")
    metrics["robust_accuracy"] = replace(metrics["robust_accuracy"], reading=reading)
    return metrics, {"correct": share_right(scored, labels), "found_by": [names[k] for k in worst.which.tolist()]}
