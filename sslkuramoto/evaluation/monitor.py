"""k-NN accuracy while a run trains, on training images only: nothing is ever selected on the test split."""

import torch

from sslkuramoto.data import DATA, batches, in_order
from sslkuramoto.encoders import Encoder
from sslkuramoto.evaluation.knn import knn_predict
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.training import Monitor

BATCH_SIZE = 256
NEIGHBOURS = 20


def online_knn(recipe: Recipe) -> Monitor | None:
    """Return a monitor for ``recipe``, or None when it monitors nothing.

    ``measure.monitor_images`` images are taken: the first four fifths vote, the rest (images held out as "val" where the
    data has ``holdout``) are classified, by 20 weighted neighbours and one draw of the oscillators. It is a curve to watch, not a
    result.
    """
    if not recipe.measure.monitor_every:
        return None
    train = DATA.build(recipe.data.name, recipe.data.options, "train")
    if train.labels is None or train.classes is None:
        return None
    held_out = bool(recipe.data.options.get("holdout"))
    queries = DATA.build(recipe.data.name, recipe.data.options, "val") if held_out else train
    order = torch.randperm(len(train), generator=generator("cpu", recipe.seed, "monitor"))
    chosen = order[: recipe.measure.monitor_images]
    cut = max(len(chosen) * 4 // 5, 1)
    bank_at = chosen[:cut]
    queries_at = torch.arange(len(queries))[: recipe.measure.monitor_images - cut] if held_out else chosen[cut:]
    if not len(queries_at):
        return None
    num_classes = len(train.classes)

    def measure(encoder: Encoder, epoch: int) -> dict[str, float]:
        device = next(encoder.parameters()).device
        draw = generator(device, recipe.seed, "monitor", epoch)
        found = []
        for images, indices in ((train, bank_at), (queries, queries_at)):
            chunks = [indices[part] for part in in_order(len(indices), BATCH_SIZE)]
            stream = batches(images, chunks, device=device, workers=recipe.engine.workers)
            found.append(torch.cat([encoder(batch.images, draw=draw).pooled.float() for batch in stream]))
        assert train.labels is not None
        assert queries.labels is not None
        bank, wanted = train.labels[bank_at].to(device), queries.labels[queries_at].to(device)
        neighbours = min(NEIGHBOURS, len(bank))
        predicted = knn_predict(found[1], found[0], bank, num_classes=num_classes, neighbours=neighbours)
        return {"knn": float((predicted == wanted).float().mean())}

    return measure
