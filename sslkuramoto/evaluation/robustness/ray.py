"""The nearest point on the ray from an image through a candidate at which draws confirm a mistake.

A shortest perturbation is fitted to the draws of its search: other draws may need more of it, or less. Its length is
doubled until they err, or halved until they do not; between the two the shortest such length is found by bisection.

Shapes: n images, y x pixels.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sslkuramoto.threat import Threat

LOOKS = 16
"""Most lengths that are tried for an image."""
CLOSE = 1.05
"""The bisection ends when the longer of two lengths is at most so much longer."""
WITHIN = 1 - 1e-6  # so that rounding leaves a longest perturbation inside the ball


def nearest_on_rays(
    candidates: Float[Tensor, "n 3 y x"],
    images: Float[Tensor, "n 3 y x"],
    threat: Threat,
    mistaken: Callable[[Tensor], Bool[Tensor, " n"]],
    *,
    looks: int = LOOKS,
) -> tuple[Float[Tensor, "n 3 y x"], Float[Tensor, " n"]]:
    """Return for each image the nearest point on its ray that is a confirmed mistake.

    Args:
        candidates: in [0,1] and inside the ball; an image itself if none was found.
        images: pixels in [0,1].
        threat: norm of the distances, and the largest one.
        mistaken: says for one point of each image whether it is a confirmed mistake.
        looks: calls of ``mistaken``, at most; 1: perturbations keep their length.

    Returns:
        The points, clamped to [0,1], and their distances; the image and infinity where no point was confirmed.
    """
    moved = candidates - images
    size = threat.distances(candidates, images)
    factor, wrong = torch.ones_like(size), torch.full_like(size, torch.inf)  # wrong: the smallest confirmed factor
    right, most = torch.zeros_like(size), (WITHIN * threat.eps / size).clamp_min(1.0)
    points, distances = images.clone(), wrong.clone()
    pending = size > 0
    for _ in range(looks):
        if not pending.any():
            break
        tried = (images + factor[:, None, None, None] * moved).clamp(0.0, 1.0)
        tried = torch.where((factor == 1)[:, None, None, None], candidates, tried)
        found = pending & mistaken(tried).to(pending.device)
        points[found], distances[found] = tried[found], threat.distances(tried, images)[found]
        wrong = torch.where(found, factor, wrong)
        right = torch.where(pending & ~found, factor, right)
        pending &= torch.where(wrong.isinf(), factor < most, wrong > CLOSE * right)
        longer, shorter = torch.minimum(2 * factor, most), torch.where(right > 0, (right * wrong).sqrt(), factor / 2)
        factor = torch.where(wrong.isinf(), longer, shorter)
    return points, distances
