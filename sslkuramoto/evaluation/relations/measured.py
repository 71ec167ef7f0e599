"""What a network says about pairs of images, draw by draw, and what is kept of it.

Shapes: k draws, n examples, b batch, p images per example, d oscillators of an object, t steps.
"""

from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.classifier import predicted
from sslkuramoto.data import DataSet
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.relations.scores import KINDS, coherence_counts, locked
from sslkuramoto.examples import Batch

NAME = "relations"
PAIR, MATCH = 2, 6
"""Images of an example of same/different, and of match-to-sample."""


class Measured(NamedTuple):
    """What a network says about a split.

    Attributes:
        correct: of each draw.
        margin: logit of "same" minus that of "different" (match-to-sample: of the first target pair minus the second).
        same: whether the relation of the example, or of its source pair, is "same".
        icons: of each image.
        coherence: mean of rho over the dimensions; None without oscillators.
        locked: share of dimensions whose oscillators are locked; None without oscillators.
        counts: histogram of rho by kind of pair; None without oscillators.
        energy: before the first step and after each; None without oscillators.
    """

    correct: Bool[Tensor, "k n"]
    margin: Float[Tensor, "k n"]
    same: Bool[Tensor, " n"]
    icons: Int64[Tensor, "n p"]
    coherence: Float[Tensor, "k n"] | None = None
    locked: Float[Tensor, "k n"] | None = None
    counts: dict[str, Int64[Tensor, " bins"]] | None = None
    energy: Float[Tensor, "t1 k n"] | None = None


class Answer(NamedTuple):
    """What a network says about a batch in one draw; of pairs of oscillators also their coherences and energies."""

    logits: Float[Tensor, "b 2"]
    rho: Float[Tensor, "b d"] | None = None
    energy: Float[Tensor, "t1 b"] | None = None


def relation_of(batch: Batch, data: DataSet) -> tuple[Bool[Tensor, " b"], Int64[Tensor, "b p"]]:
    """Return whether each example's first pair, the source of match-to-sample, shows one icon twice, and its icons.

    Raises:
        UserError: the data do not say which icons their images show.
    """
    if "icons" not in batch.extra:
        raise UserError(f"{NAME} needs icons: data {data.name!r}, split {data.split!r}, does not give extra['icons']")
    icons = batch.extra["icons"].cpu()
    return icons[:, 0] == icons[:, 1], icons


def scored(answers: list[Answer], batch: Batch, data: DataSet) -> Measured:
    """Return what is kept of the draws of a batch, on the CPU."""
    same, icons = relation_of(batch, data)
    assert batch.targets is not None
    correct = torch.stack([predicted(each.logits) == batch.targets for each in answers]).cpu()
    margin = torch.stack([each.logits[:, 0] - each.logits[:, 1] for each in answers]).float().cpu()
    if answers[0].rho is None:
        return Measured(correct, margin, same, icons)
    rho = torch.stack([cast(Tensor, each.rho) for each in answers]).float().cpu()
    counts = {kind: coherence_counts(rho[:, chosen]) for kind, chosen in zip(KINDS, (same, ~same), strict=True)}
    energy = torch.stack([cast(Tensor, each.energy) for each in answers], dim=1).float().cpu()
    return Measured(correct, margin, same, icons, rho.mean(dim=2), locked(rho), counts, energy)


def joined(parts: list[Measured]) -> Measured:
    """Return what was measured on all batches."""

    def whole(name: str, dim: int) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts], dim=dim)

    found = Measured(whole("correct", 1), whole("margin", 1), whole("same", 0), whole("icons", 0))
    counts = [part.counts for part in parts if part.counts is not None]
    if not counts:
        return found
    return found._replace(
        coherence=whole("coherence", 1),
        locked=whole("locked", 1),
        counts={kind: torch.stack([count[kind] for count in counts]).sum(dim=0) for kind in KINDS},
        energy=whole("energy", 2),
    )
