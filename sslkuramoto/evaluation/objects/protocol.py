"""Protocol ``objects``: do the clusters of an encoder's map agree with the objects of a scene?

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), tables 1, 2 and 13 to 18. Nothing is trained: each image is clustered by
itself into as many clusters as the option says.

Shapes: k draws, n images, b batch, c channels, h w grid of the map, s side of the images.
"""

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost, Passes
from sslkuramoto.data import batches
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import chosen_indices
from sslkuramoto.evaluation.forward_cost import passes_cost
from sslkuramoto.evaluation.objects.clustering import Method, clusters_of, on_pixels, tokens_of, up_tiled
from sslkuramoto.evaluation.objects.metrics import fg_ari, mean_best_overlap
from sslkuramoto.evaluation.objects.pictures import ENDING, colours_of, store_scenes
from sslkuramoto.evaluation.own_source import own_source
from sslkuramoto.evaluation.protocol import Protocol, Subject, described, start_of
from sslkuramoto.evaluation.representation.progress import Progress
from sslkuramoto.examples import CLASSES, INSTANCES
from sslkuramoto.randomness import generator, seed_of
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import mean_interval, spread
from sslkuramoto.values import Count, Mark, Repeats, Steps, Whole, checked, small

NAME = "objects"
PUBLISHED = "Tetrominoes 4, VOC 4, Shapes 5, dSprites 7, COCO 7, CLEVR 11, CLEVRTex 11"
"""Numbers of clusters of Miyato et al. 2025."""
METRICS = {"fg_ari": ("index", -0.5), "mbo": ("fraction", 0.0), "mbo_class": ("fraction", 0.0)}
"""Unit and least value."""
METHODS: dict[Method, str] = {"average": "agglomerative, average linkage", "kmeans": "k-means"}


@small(clusters=3, draws=2, images=6, store=2)
@checked
class ObjectDiscovery(Protocol):
    """Agreement of the clusters of each image's tokens with its objects: FG-ARI and mean best overlap.

    Args:
        clusters: number of clusters of each image; there is no default, since it decides the figures.
        cluster_counts: further numbers of clusters, for a curve of the scores against the number.
        method: "average" (agglomerative clustering by average linkage) or "kmeans".
        pca: number of principal components of an image's tokens that are clustered.
        up_tile: factor of the resolution of the map, by encoding shifted images; 1 leaves it.
        num_steps: oscillator steps per layer, or iterations of another network; null: as in training.
        images: number of images, null for all; the choice depends on the data set alone.
        split: split that the images are taken from.
        draws: draws of the oscillators of a stochastic encoder; every draw is clustered by itself.
        scenes: data source of other scenes than those of the run, with its options, such as ``{name: voc, root: DIR}``;
            null: those of the run.
        store: number of images whose clusters are stored beside the result, for pictures; 0 for none.
    """

    name = NAME
    needs = frozenset({"features", "masks"})
    columns = tuple(
        Column(f"objects{key}_{metric}", title, group, True, place + step, [metric], optional=True, made_with=(made,))
        for place, key, group, made in (
            (5.3, "", "Object discovery", ("up_tile", 1)),
            (5.6, "_up4", "Object discovery, up-tiled by 4", ("up_tile", 4)),
        )
        for step, metric, title in ((0, "fg_ari", "FG-ARI"), (0.1, "mbo", "MBO"), (0.2, "mbo_class", "MBO of classes"))
    )

    def __init__(
        self,
        *,
        clusters: Annotated[Count | None, Mark.OPEN] = None,
        cluster_counts: Annotated[tuple[Count, ...], Mark.INCIDENTAL] = (),
        method: Method = "average",
        pca: Count = 128,
        up_tile: Count = 1,
        num_steps: Steps | tuple[Steps, ...] | None = None,
        images: Count | None = None,
        split: Literal["test", "val", "train"] = "test",
        draws: Repeats = 5,
        scenes: Mapping[str, Any] | None = None,
        store: Annotated[Whole, Mark.INCIDENTAL] = 6,
    ) -> None:
        self.options = options_of(locals())
        self.clusters, self.pca, self.up_tile, self.num_steps = clusters, pca, up_tile, num_steps
        self.cluster_counts = tuple(sorted({*cluster_counts}))
        self.method: Method = method
        self.images, self.draws, self.store = images, draws, store
        self.splits = (split,)
        self.own_source = own_source("scenes", scenes, self.reads)

    def unset(self) -> str:
        return "" if self.clusters else f"a number of clusters: set clusters=K ({PUBLISHED} in Miyato et al. 2025)"

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        """Cluster and score.

        Raises:
            UserError: no object at all, no map or one that cannot be up-tiled or is not finite, more clusters than
                tokens.
        """
        images = subject.images(self.splits[0])
        index = chosen_indices(images, self.images)
        draws = self.draws if subject.encoder.stochastic else 1
        steps = self._steps(subject.encoder)
        assert self.clusters is not None, "the check before asked for it"
        counts = {self.clusters, *self.cluster_counts}
        scores = {k: {name: np.full((draws, len(index)), np.nan) for name in METRICS} for k in counts}
        stored: list[tuple[Tensor, ...]] = []
        progress = Progress(subject.report, NAME, len(index), "images")
        done = fewer = 0
        order = list(index.split(subject.batch_size))
        for number, batch in enumerate(batches(images, order, device=subject.device, workers=subject.workers)):
            truth = {name: mask.cpu().numpy() for name, mask in batch.extra.items()}
            for k in range(draws):
                draw = generator(subject.device, subject.seed, NAME, k, number)
                grids = up_tiled(_encode(subject.encoder, draw, steps), batch.inputs, self.up_tile).float().cpu()
                self._check_tokens(grids)
                for place, grid in enumerate(grids):
                    of_image = {name: mask[place] for name, mask in truth.items()}
                    seed = seed_of(subject.seed, NAME, k, done + place)
                    found = clusters_of(tokens_of(grid, self.pca), sorted(counts), self.method, seed % 2**32)
                    fewer += len(np.unique(found[self.clusters])) < self.clusters
                    drawn = {
                        count: on_pixels(each.reshape(grid.shape[1:]), images.size) for count, each in found.items()
                    }
                    for count, clusters in drawn.items():
                        for name, value in _scored(of_image, clusters).items():
                            scores[count][name][k, done + place] = value
                    if k == 0 and len(stored) < self.store:
                        shown = batch.inputs[place].cpu(), torch.from_numpy(of_image[INSTANCES])
                        clusters = torch.from_numpy(drawn[self.clusters])
                        stored.append((batch.indices[place], *shown, clusters, colours_of(grid)))
            done += len(batch.indices)
            progress.done(done)
        if stored:
            path = subject.run_dir / "results" / "images" / f"{subject.file or NAME}{ENDING}"
            store_scenes(path, *(torch.stack(part) for part in zip(*stored, strict=True)))
        result = self._result(subject, described(images, len(index)), index, scores[self.clusters])
        if fewer:
            result.notes[0] += f"; equal tokens gave fewer in {fewer} of {draws * len(index)} (images times draws)"
        if self.cluster_counts:
            result.details[NAME] = {"clusters": {k: _points(scores[k]) for k in sorted(counts)}}
        return result

    def _result(
        self, subject: Subject, data: dict[str, Any], index: Int64[Tensor, " n"], scores: Mapping[str, np.ndarray]
    ) -> Result:
        counted = {name: ~np.isnan(values[0]) for name, values in scores.items()}
        objects = counted["mbo"]
        if not objects.any():
            raise UserError(f"{NAME}: none of the {len(index)} images holds an object, so nothing can be scored")
        empty, single = int((~objects).sum()), int((objects & ~counted["fg_ari"]).sum())
        notes = [f"{self.clusters} clusters per image: {METHODS[self.method]}"]
        if empty:
            notes.append(f"images without an object, left out of all scores: {empty} of {len(index)}")
        if single:
            notes.append(f"images with a single object, left out of FG-ARI alone: {single} of {len(index)}")
        means = {name: values.mean(axis=0) for name, values in scores.items() if counted[name].any()}
        per_image = {name: _plain(values[objects]) for name, values in means.items()}
        return Result(
            metrics={name: _metric(scores[name][:, counted[name]], *METRICS[name]) for name in means},
            options=self.options,
            data=data,
            initial=start_of(subject.encoder),
            per_image={"index": index[torch.from_numpy(objects)].tolist(), **per_image},
            verdicts=[name for name in ("mbo", "mbo_class") if name in means and counted[name][objects].all()],
            notes=notes,
        )

    def _steps(self, encoder: Encoder) -> dict[str, Any]:
        """Return the argument of an encoder for the number of steps; none for the number in training."""
        if self.num_steps is None:
            return {}
        if not encoder.num_steps:
            raise UserError(f"num_steps={self.num_steps}: this encoder does not iterate; must be null")
        return {"num_steps": self.num_steps}

    def _check_tokens(self, grids: Float[Tensor, "b c h w"]) -> None:
        h, w = grids.shape[2:]
        for key, most in (("clusters", self.clusters or 1), ("cluster_counts", max(self.cluster_counts, default=1))):
            if most > h * w:
                raise UserError(f"{key}={most}: must be at most {h * w}, the tokens of a map of {h} x {w}")

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost of its forward passes on this device after timing a few; clustering comes on top."""
        subject = self.on(subject)
        steps, draws = self._steps(subject.encoder), self.draws if subject.encoder.stochastic else 1
        tiles = 1 if self.up_tile == 1 else self.up_tile**2

        def forward(images: Tensor, draw: torch.Generator) -> None:
            _encode(subject.encoder, draw, steps)(images)

        cost = passes_cost(subject, forward, self.splits[0], self.images, draws * tiles)
        if tiles > 1:
            sizes = Passes(draws * -(-cost.images // subject.batch_size))
            seconds = cost.seconds * (1 + sizes.forward / cost.forward)
            cost = Cost(cost.images, {**cost.passes, "the size of a map, by one image a batch": sizes}, seconds)
        return [(self.splits[0], cost)]


def _encode(
    encoder: Encoder, draw: torch.Generator, steps: Mapping[str, Any]
) -> Callable[[Float[Tensor, "b 3 s s"]], Float[Tensor, "b c h w"]]:
    """Return the map of images as a function; a stochastic encoder draws on from its generator from call to call."""
    start = {"draw": draw} if encoder.stochastic else {}

    def encode(images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        grid = encoder(images, **start, **steps).map
        if not isinstance(grid, Tensor) or grid.ndim != 4:
            found = list(grid.shape) if isinstance(grid, Tensor) else grid
            raise UserError(f"{NAME} needs the map of an encoder, [b, c, h, w]; this one returns {found}")
        return grid

    return encode


def _scored(truth: Mapping[str, np.ndarray], clusters: Int64[np.ndarray, "s s"]) -> dict[str, float]:
    """Return the scores of one image, nan where one says nothing."""
    instances = truth[INSTANCES]
    found = {"fg_ari": fg_ari(instances, clusters), "mbo": mean_best_overlap(instances, clusters)}
    return found | ({"mbo_class": mean_best_overlap(truth[CLASSES], clusters)} if CLASSES in truth else {})


def _points(scores: Mapping[str, Float64[np.ndarray, "k n"]]) -> dict[str, dict[str, float | None]]:
    """Return each score as a point of a curve, with its interval."""
    found = {}
    for name, values in scores.items():
        if (counted := ~np.isnan(values[0])).any():
            metric = _metric(values[:, counted], *METRICS[name])
            found[name] = {"value": metric.value, "low": metric.low, "high": metric.high}
    return found


def _metric(scores: Float64[np.ndarray, "k n"], unit: str, least: float) -> Metric:
    """Return the mean over images and draws; the interval is over images."""
    per_draw = scores.mean(axis=1).tolist()
    low, high = mean_interval(scores.mean(axis=0).tolist(), least, 1.0)
    return Metric(fmean(per_draw), low, high, scores.shape[1], len(scores), spread(per_draw), unit)


def _plain(values: Float64[np.ndarray, " n"]) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
