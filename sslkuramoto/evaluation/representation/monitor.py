"""k-NN accuracy while a run trains, on training images only: nothing is ever selected on the test split.

Shapes: b images, d features.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.data import DataSet, batches
from sslkuramoto.encoders import Encoder
from sslkuramoto.evaluation.representation.knn import NearestNeighbours, knn_predict
from sslkuramoto.examples import accepts
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.run_data import data_of
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import Monitor

BATCH_SIZE = 256
NEIGHBOURS = 20


def online_knn(recipe: Recipe, run: RunDirectory) -> Monitor | None:
    """Return a monitor for ``recipe`` in ``run``, or None when it monitors nothing."""
    return OnlineKNN(recipe, run) if recipe.measure.monitor_every else None


class OnlineKNN:
    """Of ``measure.monitor_images`` training images four fifths vote and the rest are classified.

    Where the data set images aside (``data.holdout``), those are classified instead. 20 weighted neighbours, one draw
    of the oscillators, the same images at every call: a curve to watch, not a result. Unlabelled images yield nothing,
    nor do other examples.

    Args:
        recipe: of the run that is watched; nothing is loaded before the first call.
        run: its directory.
    """

    def __init__(self, recipe: Recipe, run: RunDirectory) -> None:
        self.recipe, self.run = recipe, run
        self._aside: DataSet | None = None

    def __call__(self, encoder: Encoder, train: DataSet, epoch: int) -> dict[str, float]:
        """Return ``{"knn": share of images classified rightly}``."""
        spec = train.spec
        if not accepts(NearestNeighbours.reads, spec) or spec.num_classes is None:
            return {}
        recipe, images = self.recipe, min(self.recipe.measure.monitor_images, len(train))
        chosen = torch.randperm(len(train), generator=generator("cpu", recipe.seed, "monitor"))[:images]
        voters, asked, queries = chosen[: images * 4 // 5], chosen[images * 4 // 5 :], train
        if recipe.data.options.get("holdout"):
            if self._aside is None:
                self._aside = data_of(self.run, recipe.data, "val")
            queries = self._aside
            asked = torch.arange(len(queries))[: len(asked)]
        if not len(voters):
            return {}
        bank, labels = self._features(encoder, train, voters, epoch)
        features, wanted = self._features(encoder, queries, asked, epoch)
        neighbours = min(NEIGHBOURS, len(bank))
        predicted = knn_predict(features, bank, labels, num_classes=spec.num_classes, neighbours=neighbours)
        return {"knn": float((predicted == wanted).float().mean())}

    @torch.no_grad()
    def _features(
        self, encoder: Encoder, images: DataSet, indices: Int64[Tensor, " b"], epoch: int
    ) -> tuple[Float[Tensor, "b d"], Int64[Tensor, " b"]]:
        weight = next(encoder.parameters())
        draw = generator(weight.device, self.recipe.seed, "monitor", epoch, images.split)
        pooled, labels = [], []
        chunks = list(indices.split(BATCH_SIZE))
        for batch in batches(images, chunks, device=weight.device, workers=self.recipe.engine.workers):
            assert batch.targets is not None
            pooled.append(encoder(batch.inputs.to(weight.dtype), draw=draw).pooled.float())
            labels.append(batch.targets)
        return torch.cat(pooled), torch.cat(labels)
