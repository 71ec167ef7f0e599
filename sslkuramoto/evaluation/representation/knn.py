"""k nearest neighbours on frozen features, by cosine (Wu et al. 2018, 1805.01978, section 3.4).

Shapes: k draws, n images, m bank images, d features.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.forward_cost import features_cost
from sslkuramoto.evaluation.protocol import Protocol, Subject, described, start_of
from sslkuramoto.evaluation.representation.features import split_features
from sslkuramoto.evaluation.representation.progress import Progress
from sslkuramoto.noise_draws import accuracies, share_right
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.values import Count, Positive, Repeats, checked, small

Vote = Literal["weighted", "plain"]

QUERIES_AT_ONCE = 1024


def knn_predict(
    queries: Float[Tensor, "n d"],
    bank: Float[Tensor, "m d"],
    labels: Int64[Tensor, " m"],
    *,
    num_classes: int,
    neighbours: int = 20,
    temperature: float = 0.07,
    vote: Vote = "weighted",
    done: Callable[[int], None] | None = None,
) -> Int64[Tensor, " n"]:
    """Return the class with the most votes among the nearest bank images.

    Args:
        queries: features, any length; normalised inside.
        bank: features with known labels.
        labels: classes of the bank, in [0, num_classes).
        num_classes: how many classes there are.
        neighbours: how many vote; at most m.
        temperature: tau > 0; a neighbour of cosine s votes exp(s / tau) (vote "weighted").
        vote: "weighted" as in the paper, or "plain" (one neighbour, one vote). The lower class wins a tie.
        done: is told how many queries are done, from time to time.
    """
    bank = F.normalize(bank.float(), dim=1)
    predicted = []
    for chunk in F.normalize(queries.float(), dim=1).split(QUERIES_AT_ONCE):
        similarity, nearest = (chunk @ bank.T).topk(neighbours, dim=1)
        # as lightly's knn_predict, but its exp overflows below a temperature of 1 / 88 and its sort leaves ties open:
        # the largest weight is set to 1, which keeps the order of the votes
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        weight = weight if vote == "weighted" else torch.ones_like(similarity)
        votes = chunk.new_zeros(len(chunk), num_classes).scatter_add_(1, labels[nearest], weight)
        predicted.append(votes.argmax(dim=1))
        if done is not None:
            done(sum(map(len, predicted)))
    return torch.cat(predicted)


def check_neighbours(subject: Subject, neighbours: int, who: str) -> None:
    """Refuse more voters than training images.

    Raises:
        UserError: ``neighbours`` is larger than the training set.
    """
    if neighbours > (size := len(subject.images("train"))):
        raise UserError(f"{who}: neighbours={neighbours} is larger than the training set ({size} images)")


@small(neighbours=5)
@checked
class NearestNeighbours(Protocol):
    """Accuracy of k-NN from the training features to a test split.

    Args:
        neighbours: voters, at most the size of the training set.
        temperature: tau > 0 of the weighted vote.
        vote: "weighted" or "plain".
        split: split that is scored.
        draws: passes over that split with a stochastic encoder, at least 20. The bank is drawn once.
    """

    name = "knn"
    needs = frozenset({"features", "labels"})
    columns = (Column("knn", "k-NN", "Frozen encoder", True, 1, ["accuracy"]),)

    def __init__(
        self,
        *,
        neighbours: Count = 20,
        temperature: Positive = 0.07,
        vote: Vote = "weighted",
        split: Literal["test", "val"] = "test",
        draws: Repeats = 20,
    ) -> None:
        self.options = options_of(locals())
        self.vote: Vote = vote
        self.neighbours, self.temperature, self.split = neighbours, temperature, split
        self.draws = draws
        self.splits = (split, "train")

    def measure(self, subject: Subject) -> Result:
        check_neighbours(subject, self.neighbours, self.name)
        test = split_features(subject, self.split, draws=self.draws)
        train = split_features(subject, "train")
        assert train.images.classes is not None
        bank, labels = train.values[0].to(subject.device), train.labels.to(subject.device)
        progress = Progress(subject.report, "k-NN", test.values.shape[0] * test.values.shape[1], "queries")
        found = []
        for number, queries in enumerate(test.values):
            done_before = number * len(queries)
            found.append(
                knn_predict(
                    queries.to(subject.device),
                    bank,
                    labels,
                    num_classes=len(train.images.classes),
                    neighbours=self.neighbours,
                    temperature=self.temperature,
                    vote=self.vote,
                    done=lambda count, before=done_before: progress.done(before + count),
                ).cpu()
            )
        predictions = torch.stack(found)
        notes = ["the bank was drawn once, the scored split once a draw"] if subject.encoder.stochastic else []
        return Result(
            metrics=accuracies(predictions, test.labels),
            options=self.options,
            data=described(test.images),
            initial=start_of(subject.encoder),
            per_image={"correct": share_right(predictions, test.labels)},
            verdicts=["correct"],
            notes=notes,
        )

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return what its features cost on this device after timing a few passes; measures nothing."""
        check_neighbours(subject, self.neighbours, self.name)
        return [
            (self.split, features_cost(subject, self.split, self.draws)),
            ("train", features_cost(subject, "train")),
        ]
