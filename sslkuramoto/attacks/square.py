"""Square attack on a stochastic network: every query returns the mean log-probabilities over r draws.

Andriushchenko et al. 2020 (1912.00049), by the code of pyautoattack; only the answer to a query is ours. With one draw
per query, a random search keeps points that are misclassified by chance; a mean over draws makes this rarer.

Shapes: b batch, y x pixels, q classes, r rows of the batch.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from pyautoattack.square import SquareAttack
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Work
from sslkuramoto.attacks.gradients import Objective, objective_of
from sslkuramoto.attacks.losses import wrong_by
from sslkuramoto.classifier import Classifier
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import Repeats, ShareAboveZero, checked

TIE = 1e-12
SMALLEST_SIDE = 5  # the l2 search begins with a grid of five by five tiles


class _Queries(SquareAttack):
    """The published search. It gets rows of the batch in place of labels, so that each query knows its images."""

    def __init__(self, objective: Objective, **settings: Any) -> None:
        super().__init__(predict=None, **settings)
        self.objective = objective

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the margin log p_y - max log p_j of the mean log-probabilities, as margin and as loss.

        Differs: the published code counts a margin of exactly zero as misclassified. Here the argmax decides such ties,
        which are frequent if logits are rounded.
        """
        asked = self.objective.of(y)
        log = asked.log_probabilities(x)
        margin = -wrong_by(log, asked.labels)
        right = log.argmax(dim=1) == asked.labels
        margin = torch.where(right, margin.clamp_min(TIE), margin.clamp_max(-TIE))
        return margin, margin.clone()


@checked
class SquareEot(Attack):
    """Square attack, a black-box attack, whose queries are means over fresh draws.

    Args:
        queries: number per image, after the first point.
        draws: r, draws per query; 1 for a deterministic network.
        p_init: share of the pixels that the first squares cover.
        restarts: independent searches.
        label: name in the result; None: square-eot.
    """

    queries_only = True
    idle_without_noise = frozenset({"draws"})

    def __init__(
        self,
        *,
        queries: Repeats = 5000,
        draws: Repeats = 8,
        p_init: ShareAboveZero = 0.8,
        restarts: Repeats = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "square_eot", **options_of(locals())}
        self.queries, self.draws, self.p_init, self.restarts = queries, draws, p_init, restarts
        self.label = label or "square-eot"

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the last point of the search: the first that the mean of r draws misclassifies, else the best."""
        if len(images) == 0:
            return images.clone()
        if threat.norm == "l2" and min(images.shape[2:]) < SMALLEST_SIDE:
            raise UserError(f"square_eot in l2: images need at least {SMALLEST_SIDE} pixels per side")
        objective = objective_of(
            classifier, images, labels, loss="margin", noise="fresh", k=self.draws, work=work, key="square"
        )
        search = _Queries(
            objective,
            norm={"linf": "Linf", "l2": "L2"}[threat.norm],
            n_queries=self.queries,
            eps=threat.eps,
            p_init=self.p_init,
            resc_schedule=False,
            device=images.device,
        )
        search.init_hyperparam(images)
        rows = torch.arange(len(images), device=images.device)
        with torch.no_grad(), borrowed_global(work.generator(images.device, "square", "search")):
            _, found = search.attack_single_run(images.clone(), rows)
        return threat.project(found, images)
