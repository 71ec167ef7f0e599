"""What is measured while a run trains, on training images only: nothing is ever selected on the test split.

Shapes: b images, d features.
"""

from statistics import fmean
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.data import DataSet, batches
from sslkuramoto.encoders import Encoder
from sslkuramoto.encoders.features import one_field
from sslkuramoto.evaluation.representation.knn import NearestNeighbours, knn_predict
from sslkuramoto.evaluation.representation.linear import fit_probe
from sslkuramoto.evaluation.representation.rank import alpha_req, rankme
from sslkuramoto.examples import accepts
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.run_data import data_of
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import Monitor

BATCH_SIZE = 256
NEIGHBOURS = 20
PENALTY, ITERATIONS = 1e-3, 100
"""Of the online linear probe: no penalty is chosen, and L-BFGS takes at most so many iterations."""
_Use = Literal["bank", "queries"]  # names the draw: both may be of one split, and share no noise


def online_measures(recipe: Recipe, run: RunDirectory) -> Monitor | None:
    """Return a monitor for ``recipe`` in ``run``, or None when it monitors nothing."""
    measure = recipe.measure
    return OnlineMeasures(recipe, run) if measure.monitor_every and measure.monitors else None


class OnlineMeasures:
    """The measures of ``measure.monitors`` on ``measure.monitor_images`` training images: curves to watch, not results.

    Four fifths of the images serve as bank. The rest are classified, or as many of the images that the data set aside
    (``data.holdout``). The images are the same at every call, and each is encoded from oscillators of its own draw.

    - ``knn``: accuracy of 20 weighted neighbours from the bank.
    - ``linear``: accuracy of a linear probe that is fitted on the bank anew at every call, so a resumed run needs
      nothing of an earlier call.
    - ``rankme``: RankMe and alpha-ReQ of the bank, all images from the same field of oscillators.
    - ``saturation``: ``gamma_f_L``, the median |gamma F| of the steps of Kuramoto layer L, or ``open_fields_L``, the
      share of fields of Winfree layer L that the rectifier lets pass (means over steps; at most 256 images).

    Data without labels or with one class have no accuracy, and examples other than images have no measure.

    Args:
        recipe: of the run that is watched; nothing is loaded before the first call.
        run: its directory.
    """

    def __init__(self, recipe: Recipe, run: RunDirectory) -> None:
        self.recipe, self.run = recipe, run
        self._aside: DataSet | None = None

    @torch.no_grad()
    def __call__(self, encoder: Encoder, train: DataSet, epoch: int) -> dict[str, float]:
        """Return the measures by name, accuracies in [0, 1]; empty where the data allow none."""
        spec = train.spec
        if not accepts(NearestNeighbours.reads, spec):
            return {}
        recipe, images = self.recipe, min(self.recipe.measure.monitor_images, len(train))
        chosen = torch.randperm(len(train), generator=generator("cpu", recipe.seed, "monitor"))[:images]
        voters, asked, queries = chosen[: images * 4 // 5], chosen[images * 4 // 5 :], train
        if recipe.data.options.get("holdout"):
            if self._aside is None:
                self._aside = data_of(self.run, recipe.data, "val")
            queries = self._aside
            order = torch.randperm(len(queries), generator=generator("cpu", recipe.seed, "monitor", "aside"))
            asked = order[: len(asked)]
        if not len(voters):
            return {}
        found: dict[str, float] = {}
        wanted, bank = set(recipe.measure.monitors), None
        if wanted & {"knn", "linear"} and spec.num_classes is not None and spec.num_classes > 1:
            bank, labels = self._labelled(encoder, train, voters, epoch, "bank")
            features, classes = self._labelled(encoder, queries, asked, epoch, "queries")
            if "knn" in wanted:
                near = min(NEIGHBOURS, len(bank))
                predicted = knn_predict(features, bank, labels, num_classes=spec.num_classes, neighbours=near)
                found["knn"] = float((predicted == classes).float().mean())
            if "linear" in wanted:
                probe = fit_probe(
                    bank.cpu(),
                    labels.cpu(),
                    num_classes=spec.num_classes,
                    penalty=PENALTY,
                    max_iterations=ITERATIONS,
                )
                right = probe(features.cpu()).argmax(dim=1) == classes.cpu()
                found["linear"] = float(right.float().mean())
        if "rankme" in wanted and len(voters) > 1:
            if bank is None or encoder.stochastic:
                bank = self._features(encoder, train, voters, epoch, "bank", shared_field=True)[0]
            found |= {"rankme": rankme(bank), "alpha_req": alpha_req(bank)}
        if "saturation" in wanted:
            found |= self._saturation(encoder, train, voters[:BATCH_SIZE], epoch)
        return found

    def _saturation(
        self, encoder: Encoder, images: DataSet, indices: Int64[Tensor, " b"], epoch: int
    ) -> dict[str, float]:
        from sslkuramoto.evaluation.audit.saturation import step_fields, step_turns  # loads the whole audit

        weight = next(encoder.parameters())
        draw = generator(weight.device, self.recipe.seed, "monitor", epoch, "saturation")
        (batch,) = batches(images, [indices], device=weight.device, workers=self.recipe.engine.workers)
        pixels = batch.inputs.to(weight.dtype)
        start = encoder.sample_initial(pixels, draw) if encoder.stochastic else None
        by_layer: dict[str, list[float]] = {}
        for turn in step_turns(encoder, pixels, start):
            by_layer.setdefault(f"gamma_f_{turn.layer}", []).append(turn.median)
        for field in step_fields(encoder, pixels, start):
            by_layer.setdefault(f"open_fields_{field.layer}", []).append(field.open)
        return {name: fmean(steps) for name, steps in by_layer.items()}

    def _labelled(
        self, encoder: Encoder, images: DataSet, indices: Int64[Tensor, " b"], epoch: int, use: _Use
    ) -> tuple[Float[Tensor, "b d"], Int64[Tensor, " b"]]:
        features, labels = self._features(encoder, images, indices, epoch, use)
        return features, torch.cat(labels)

    def _features(
        self,
        encoder: Encoder,
        images: DataSet,
        indices: Int64[Tensor, " b"],
        epoch: int,
        use: _Use,
        *,
        shared_field: bool = False,
    ) -> tuple[Float[Tensor, "b d"], list[Int64[Tensor, " _"]]]:
        weight = next(encoder.parameters())
        draw = generator(weight.device, self.recipe.seed, "monitor", epoch, use)
        pooled, labels, field = [], [], None
        chunks = list(indices.split(BATCH_SIZE))
        for batch in batches(images, chunks, device=weight.device, workers=self.recipe.engine.workers):
            inputs = batch.inputs.to(weight.dtype)
            if shared_field and field is None:
                field = one_field(encoder, inputs, draw)
            pooled.append(encoder(inputs, initial=field, draw=draw).pooled.float())
            labels += [] if batch.targets is None else [batch.targets]
        return torch.cat(pooled), labels
