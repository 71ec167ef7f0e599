"""k-means on frozen features, against the labels: accuracy under the best matching, NMI, ARI.

Kuhn (1955) for the matching (scipy), Strehl and Ghosh (2002) for NMI, Hubert and Arabie (1985) for ARI (scikit-learn).

Shapes: k draws, s seeds, n images, d features.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from torch.nn import functional as F

from sslkuramoto.columns import Column
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import Protocol, Subject, described, start_of
from sslkuramoto.evaluation.representation.features import split_features
from sslkuramoto.evaluation.representation.progress import Progress
from sslkuramoto.randomness import seed_of
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import spread, wilson
from sslkuramoto.values import Repeats, checked, small


def matched(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return for each image whether it is right under the best one-to-one matching of clusters to classes.

    Args:
        labels: class of each image, from 0.
        clusters: cluster of each image, from 0; there may be more or fewer clusters than classes.
    """
    from scipy.optimize import linear_sum_assignment  # slow to load, and a report only reads the columns

    size = int(max(labels.max(), clusters.max())) + 1
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (clusters, labels), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    class_of = np.empty(size, dtype=np.int64)
    class_of[rows] = columns
    return class_of[clusters] == labels


def matching_accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Return the share of images that are right under the best matching."""
    return float(matched(labels, clusters).mean())


@small(seeds=2, starts=1, clusters=3)
@checked
class Clustering(Protocol):
    """k-means of one split, as many clusters as classes, scored against its labels.

    Args:
        seeds: repetitions; the figures are means over them and ``std_over_seeds`` says how far they differ.
        starts: k-means++ starts a repetition, of which the tightest counts.
        normalise: divide each feature vector by its length first.
        clusters: how many, or None for the number of classes.
        split: split that is clustered and scored.
        draws: passes over that split with a stochastic encoder, at least 20; every draw is clustered by itself.
    """

    name = "clustering"
    needs = frozenset({"features", "labels"})
    columns = (
        Column("clustering_accuracy", "accuracy", "Clustering", True, 3, ["accuracy"]),
        Column("clustering_nmi", "NMI", "Clustering", True, 4, ["nmi"]),
        Column("clustering_ari", "ARI", "Clustering", True, 5, ["ari"]),
    )

    def __init__(
        self,
        *,
        seeds: Repeats = 5,
        starts: Repeats = 3,
        normalise: bool = True,
        clusters: Annotated[int, Field(ge=2)] | None = None,
        split: Literal["test", "val", "train"] = "test",
        draws: Repeats = 20,
    ) -> None:
        self.options = options_of(locals())
        self.seeds, self.starts, self.normalise, self.clusters, self.split = seeds, starts, normalise, clusters, split
        self.draws = draws
        self.splits = (split,)

    def measure(self, subject: Subject) -> Result:
        test = split_features(subject, self.split, draws=self.draws)
        assert test.images.classes is not None
        count = self.clusters or len(test.images.classes)
        labels = test.labels.numpy()
        if count > len(labels):
            raise UserError(f"clustering: clusters={count} is larger than the split ({len(labels)} images)")
        values = F.normalize(test.values, dim=2) if self.normalise else test.values
        progress = Progress(subject.report, "k-means", len(values) * self.seeds, "repetitions")
        fitted: list[list[np.ndarray]] = []
        for draw, features in enumerate(values):
            fitted.append([])
            for repetition in range(self.seeds):
                fitted[-1].append(self._clusters(features.numpy(), count, subject.seed, repetition))
                progress.done(draw * self.seeds + repetition + 1)
        found = np.stack(fitted)
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        accuracy = self._metric(found, lambda clusters: matching_accuracy(labels, clusters), len(labels), interval=True)
        nmi = self._metric(found, lambda clusters: float(normalized_mutual_info_score(labels, clusters)), len(labels))
        ari = self._metric(found, lambda clusters: float(adjusted_rand_score(labels, clusters)), len(labels))
        right = np.stack([[matched(labels, clusters) for clusters in draw] for draw in found]).mean(axis=(0, 1))
        return Result(
            metrics={"accuracy": accuracy, "nmi": nmi, "ari": ari},
            options=self.options,
            data=described(test.images),
            initial=start_of(subject.encoder),
            per_image={"correct": [round(float(share), 6) for share in right]},
            verdicts=["correct"],
            notes=[f"k-means with {count} clusters, {self.seeds} seeds; the split is clustered and scored by itself"],
        )

    def _clusters(self, features: np.ndarray, count: int, seed: int, repetition: int) -> np.ndarray:
        from sklearn.cluster import KMeans

        state = seed_of(seed, "clustering", repetition) % 2**32
        kmeans = KMeans(count, n_init=self.starts, random_state=state)  # pyright: ignore[reportArgumentType]
        return kmeans.fit_predict(features)

    def _metric(
        self, found: np.ndarray, score: Callable[[np.ndarray], float], n: int, *, interval: bool = False
    ) -> Metric:
        scores = np.array([[score(clusters) for clusters in draw] for draw in found])
        value = float(scores.mean())
        low, high = wilson(value, n) if interval else (None, None)
        return Metric(
            value,
            low,
            high,
            n,
            draws=len(scores),
            std_over_draws=spread(scores.mean(axis=1).tolist()),
            unit="fraction" if interval else "index",
            seeds=self.seeds,
            std_over_seeds=spread(scores.mean(axis=0).tolist()),
        )
