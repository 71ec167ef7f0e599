"""The minimal training loop: AKOrN pretrained with X-PhiNet on digits, without the package's engine.

    python docs/minimal_loop.py                 # about a minute on 2 CPU cores
    python docs/minimal_loop.py --epochs 1 --images 256

The pieces are those of `sslkuramoto train`; what is missing here is what makes a run safe to leave alone: checkpoints,
exact resume, several processes, precision, averaged weights, a watch for collapse.
"""

import argparse
import copy
from pathlib import Path

import torch
from torch import Tensor

from sslkuramoto.checkpoint import export_encoder
from sslkuramoto.data import DATA, batches, in_order, shuffled
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.evaluation.representation.knn import knn_predict
from sslkuramoto.objectives import OBJECTIVES, check_views
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Part
from sslkuramoto.views import VIEWS

DATA_PART = Part("digits", {"size": 16})
VIEWS_PART = Part(
    "phinet", {"horizontal_flip": 0.0, "jitter_strength": 0.0, "grayscale": 0.0, "crop_scale": [0.5, 1.0]}
)
ENCODER_PART = Part("akorn", {"channels": 8, "kernel_sizes": [9, 7, 5], "num_steps": 3})
OBJECTIVE_PART = Part("xphinet", {"projector": {"hidden": 256, "out": 256}, "predictor": {"hidden": 64}})


def pretrain(
    *, epochs: int, batch_size: int, images: int | None, seed: int, learning_rate: float
) -> tuple[torch.nn.Module, list[float]]:
    """Train and return the exported encoder (X-PhiNet: the long-term one) and the loss of every step."""
    # 1. Data: uint8 images; a batch is pixels in [0,1], labels, indices.
    data = DATA.build(DATA_PART.name, {**DATA_PART.options, "limit": images}, "train")

    # 2. Encoder, objective and views. Weights come from a generator of ours, as every draw below does.
    with borrowed_global(generator("cpu", seed, "weights")):
        encoder = ENCODERS.build(ENCODER_PART.name, ENCODER_PART.options)
        objective = OBJECTIVES.build(OBJECTIVE_PART.name, OBJECTIVE_PART.options, encoder, None)
    make_views = VIEWS.build(VIEWS_PART.name, VIEWS_PART.options, data.size)
    check_views(OBJECTIVE_PART.name, objective, make_views.names)

    # 3. Optimizer: the encoder and the objective's heads. Its EMA target asks for no gradient.
    trained = [*encoder.parameters(), *objective.parameters()]
    optimizer = torch.optim.Adam([p for p in trained if p.requires_grad], lr=learning_rate)

    # 4. The step.
    steps_per_epoch = len(shuffled(len(data), batch_size, seed=seed, epoch=0))
    total, step, losses = epochs * steps_per_epoch, 0, []
    encoder.train()
    objective.train()
    for epoch in range(epochs):
        for batch in batches(data, shuffled(len(data), batch_size, seed=seed, epoch=epoch), device="cpu"):
            views = make_views(batch.inputs, generator("cpu", seed, "views", step))
            outcome = objective(encoder, views, draw=generator("cpu", seed, "oscillators", step))
            outcome.loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            objective.after_step(encoder, progress=step / total)  # the long-term encoder moves here
            losses.append(float(outcome.loss.detach()))
        print(f"epoch {epoch + 1}/{epochs}  loss {sum(losses[-steps_per_epoch:]) / steps_per_epoch:.4f}")
    return copy.deepcopy(objective.exported(encoder)).eval().requires_grad_(False), losses


@torch.no_grad()
def knn_accuracy(encoder: torch.nn.Module, *, images: int | None, draws: int, seed: int) -> Tensor:
    """Return k-NN accuracy on the test split for each draw: new oscillators each time, so never one draw alone."""
    accuracies = []
    for draw in range(draws):
        features, labels = {}, {}
        for split in ("train", "test"):
            data = DATA.build(DATA_PART.name, {**DATA_PART.options, "limit": images}, split)
            stream = batches(data, in_order(len(data), 200), device="cpu")  # every image once, the last batch is short
            noise = generator("cpu", seed, "features", split, draw)
            features[split] = torch.cat([encoder(batch.inputs, draw=noise).pooled for batch in stream])
            assert data.labels is not None
            assert data.classes is not None
            labels[split], classes = data.labels, len(data.classes)
        found = knn_predict(features["test"], features["train"], labels["train"], num_classes=classes, neighbours=20)
        accuracies.append((found == labels["test"]).float().mean())
    return torch.stack(accuracies)


def main(arguments: list[str] | None = None) -> None:
    """Pretrain, measure, and leave an encoder that the package can load."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=None, help="training images (all 1,437)")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--draws", type=int, default=20, help="draws of the oscillators behind the k-NN accuracy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/minimal-loop.safetensors"))
    options = parser.parse_args(arguments)
    encoder, _ = pretrain(
        epochs=options.epochs,
        batch_size=options.batch_size,
        images=options.images,
        seed=options.seed,
        learning_rate=options.learning_rate,
    )
    accuracy = knn_accuracy(encoder, images=options.images, draws=options.draws, seed=options.seed)
    print(
        f"k-NN {100 * accuracy.mean():.1f} % (mean over {options.draws} draws, standard deviation "
        f"{100 * accuracy.std(correction=0):.1f})"
    )
    export_encoder(options.out, encoder, ENCODER_PART)
    print(f"wrote {options.out}; sslkuramoto.checkpoint.load_encoder reads it")


if __name__ == "__main__":
    main()
