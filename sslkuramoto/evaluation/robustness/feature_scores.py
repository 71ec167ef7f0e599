"""What an attack on features did: similarity to the clean feature, retrieval and k-NN, over images and draws.

Attacked and clean features come from draws of their own. A stochastic encoder therefore differs from itself without any
attack; the same numbers at eps 0 say how much.

Shapes: k draws, n attacked images, m images of the split, d features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.attacks.feature_objective import Distance, apart, compared
from sslkuramoto.noise_draws import accuracies, share_over_draws, share_right
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import mean_interval, spread
from sslkuramoto.threat import shown_eps

ROUNDING = 1e-6
"""Another image must be nearer by more than this cosine: equal features are not told apart by rounding."""
DIGITS = 6  # of the entries of a list


@dataclass(frozen=True)
class Clean:
    """Clean features, and what attacked ones are compared with.

    Attributes:
        values: of the whole split.
        index: places of the attacked images in it.
        partner: places of their targets among the attacked images; None for an attack away.
        distance: of the attack.
        predict: features -> classes by k-NN; None without labels.
        labels: true classes of the attacked images; None without labels.
    """

    values: Float[Tensor, "k m d"]
    index: Int64[Tensor, " n"]
    partner: Int64[Tensor, " n"] | None
    distance: Distance
    predict: Callable[[Tensor], Tensor] | None = None
    labels: Int64[Tensor, " n"] | None = None


def retrieved(
    attacked: Float[Tensor, "k n d"], clean: Float[Tensor, "k m d"], index: Int64[Tensor, " n"]
) -> Bool[Tensor, "k n"]:
    """Return whether no other image of the split has a clean feature nearer to the attacked one, by cosine.

    Args:
        attacked: features of the attacked images.
        clean: features of the split, one pass for each.
        index: places of the attacked images in the split.
    """
    rows, found = torch.arange(len(index)), []
    for own, others in zip(F.normalize(attacked, dim=2), F.normalize(clean, dim=2), strict=True):
        cosines = own @ others.T
        itself = cosines[rows, index]
        cosines[rows, index] = -torch.inf
        found.append(itself + ROUNDING >= cosines.amax(dim=1))
    return torch.stack(found)


def add_scores(result: Result, clean: Clean, attacked: Float[Tensor, "k n d"], eps: float) -> None:
    """Add the numbers of one radius, and their lists, to a result.

    Args:
        result: gets them under names that end in the radius.
        clean: features of the images without an attack.
        attacked: features of the attacked images on fresh draws.
        eps: radius; 0 for the images themselves.
    """
    ending = shown_eps(eps).replace("/", "_")
    own = clean.values[:, clean.index]
    lengths = own.norm(dim=2).clamp_min(torch.finfo(own.dtype).tiny)
    _mean(result, f"cosine_{ending}", F.cosine_similarity(attacked, own, dim=2), "cosine", -1.0, 1.0)
    _mean(result, f"relative_l2_{ending}", (attacked - own).norm(dim=2) / lengths, "ratio", 0.0, float("inf"))
    _share(result, f"retrieved_{ending}", retrieved(attacked, clean.values, clean.index))
    result.verdicts.append(f"retrieved_{ending}")
    if clean.partner is not None:
        references = compared(own, clean.distance)
        to_source, to_target = (
            apart(attacked, each, clean.distance) for each in (references, references[:, clean.partner])
        )
        _share(result, f"nearer_target_{ending}", to_target < to_source)
    if clean.predict is not None and clean.labels is not None:
        predictions = torch.stack([clean.predict(features) for features in attacked])
        result.metrics.update(accuracies(predictions, clean.labels, f"knn_accuracy_{ending}"))
        result.per_image[f"knn_correct_{ending}"] = share_right(predictions, clean.labels)
        result.verdicts.append(f"knn_correct_{ending}")


def curves(result: Result, radii: list[float], x_label: str, attack: str) -> list[dict[str, Any]]:
    """Return each number against the radius, for a report.

    Args:
        result: with the numbers of every radius.
        radii: increasing, from 0.
        x_label: of the radius.
        attack: what was done, for the titles.
    """
    names = {
        "cosine": "Cosine of attacked and clean feature",
        "relative_l2": "Distance of attacked and clean feature / length of the clean one",
        "retrieved": "Still nearest to itself",
        "nearer_target": "Nearer to the target than to itself",
        "knn_accuracy": "k-NN accuracy",
    }
    endings = [shown_eps(eps).replace("/", "_") for eps in radii]
    found = []
    for name, title in names.items():
        if f"{name}_{endings[0]}" in result.metrics:
            own = [result.metrics[f"{name}_{ending}"] for ending in endings]
            values = [each.value for each in own]
            found.append(
                {"title": f"{title}, {attack}", "x_label": x_label, "unit": own[0].unit, "x": radii, "y": values}
            )
    return found


def _mean(result: Result, name: str, values: Float[Tensor, "k n"], unit: str, least: float, most: float) -> None:
    per_image = values.double().mean(dim=0).tolist()
    low, high = mean_interval(per_image, least, most)
    over = spread(values.double().mean(dim=1).tolist())
    result.metrics[name] = Metric(fmean(per_image), low, high, len(per_image), len(values), over, unit=unit)
    result.per_image[name] = [round(value, DIGITS) for value in per_image]


def _share(result: Result, name: str, true: Bool[Tensor, "k n"]) -> None:
    result.metrics[name] = share_over_draws(true)
    result.per_image[name] = [round(share, DIGITS) for share in true.double().mean(dim=0).tolist()]
