"""The two sections of a recipe that change no result: what a run records about itself, and how it is carried out."""

from dataclasses import dataclass
from typing import Literal

from sslkuramoto.values import Count, NotNegative, Whole, checked


@checked
@dataclass(frozen=True)
class Measure:
    """What a run records about itself. Changing it changes no weight.

    Attributes:
        log_every: steps between lines of metrics.csv, >= 1; the end of an epoch is always logged.
        checkpoint_every: epochs between checkpoints, >= 1; the end of the run always has one.
        keep_checkpoints: epochs after which encoder and head are kept, for ``evaluate --checkpoint EPOCH``.
        monitor_every: epochs between measurements of the encoder while it trains (``monitors``), 0 for none. Images
            only: boards have none.
        monitor_images: training images that these take, >= 1.
        monitors: which ones: ``knn`` (k-NN accuracy) and ``linear`` (accuracy of a linear probe, fitted anew each
            time), both for data with two classes or more, ``rankme`` (and alpha-ReQ), ``saturation`` (|gamma F|).
        stop_on_collapse: smallest ``feature_std`` at the end of an epoch with which the run continues (1: directions of
            the features are spread evenly over the sphere; 0: all images have the same one), 0 for any. All images
            start from the same field of oscillators, so that noise does not count. Small AKOrNs begin at 0.06 to 0.6.
    """

    log_every: Count = 1
    checkpoint_every: Count = 1
    keep_checkpoints: tuple[Count, ...] = ()
    monitor_every: Whole = 0
    monitor_images: Count = 2000
    monitors: tuple[Literal["knn", "linear", "rankme", "saturation"], ...] = ("knn", "linear", "rankme")
    stop_on_collapse: NotNegative = 0.02


@checked
@dataclass(frozen=True)
class Engine:
    """How a run is carried out. Should not affect results.

    Everything but the precision may change when a run continues.

    Attributes:
        device: auto, cpu, cuda, cuda:INDEX or mps.
        precision: of the weights and, with bf16, of the products alone; stays as the run began.
        strategy: how several processes share the work: ``ddp`` (each holds all weights, gradients are averaged),
            ``fsdp2`` (each keeps a share of weights, gradients and optimiser state), ``auto``: ``ddp``. Nothing is
            shared where torchrun or SLURM started one process.
        compile: whether torch.compile speeds up the steps.
        checkpoint_steps: steps of a layer between two states that are kept for the backward pass, which computes the
            steps between them once more: less memory, more time, the same gradients (on a CPU up to rounding, since
            convolutions then stay direct). 0 keeps everything.
        workers: processes that decode images that are not held in memory.
        loggers: beside metrics.csv.
        wandb_project: name of the project at Weights & Biases.
    """

    device: str = "auto"
    precision: Literal["32", "bf16", "64"] = "32"
    strategy: Literal["auto", "ddp", "fsdp2"] = "auto"
    compile: bool = False
    checkpoint_steps: Whole = 0
    workers: Whole = 4
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    wandb_project: str = "sslkuramoto"
