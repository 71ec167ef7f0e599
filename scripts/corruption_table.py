"""The table of docs/corruptions.md: what our own corruptions cost a plain network, beside published losses.

    python scripts/corruption_table.py cifar10.zip                 # a root of data source cifar10; minutes
    python scripts/corruption_table.py cifar10.zip --seeds 0 1 2   # mean over networks
    python scripts/corruption_table.py cifar10.zip --into docs/corruptions.md

Trains a plain CNN for a few epochs on some CIFAR-10 images, measures it by the protocol corruptions, and prints the
table as Markdown with its conditions. ``--into`` writes them between the markers of a page instead of printing them.
Exit code 2 when the images cannot be read or the page has no markers.
"""

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from jaxtyping import Float
from result_pages import placed, write_table
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.data import DATA, ImageSet, batches, shuffled
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject
from sslkuramoto.evaluation.corruptions import CORRUPTIONS, Corruptions
from sslkuramoto.evaluation.corruptions.strengths import SEVERITIES
from sslkuramoto.randomness import borrowed_global, generator

WIDTHS = (24, 48, 48, 96, 96)
STRIDES = (1, 2, 1, 2, 1)
# WRN-28-10 "Standard" of RobustBench on CIFAR-10-C: errors at severity 5, percent, as papers on test-time adaptation
# list them for "source" (for instance Wang et al. 2022, arXiv 2203.13591), and its clean error.
PUBLISHED = dict(
    zip(
        CORRUPTIONS,
        (72.3, 65.7, 72.9, 46.9, 54.3, 34.8, 42.0, 25.1, 41.3, 26.0, 9.3, 46.7, 26.6, 58.5, 30.3),
        strict=True,
    )
)
PUBLISHED_CLEAN = 5.2


class PlainCNN(Encoder):
    """Five 3 x 3 convolutions with batch norm and a mean over the grid; deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = WIDTHS[-1]
        layers: list[nn.Module] = []
        for before, after, stride in zip((3, *WIDTHS), WIDTHS, STRIDES, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Tensor | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        grid = self.layers(4 * (images - 0.5))
        return Features(grid.mean(dim=(2, 3)), grid)


class Losses(NamedTuple):
    """Accuracies of one network, percent: clean, and of each corruption at each severity."""

    clean: float
    accuracy: dict[str, list[float]]


def trained(train: ImageSet, seed: int, epochs: int, device: torch.device) -> tuple[PlainCNN, nn.Linear]:
    """Return the network after some epochs of AdamW on flipped and shifted images."""
    assert train.classes is not None
    with borrowed_global(generator("cpu", seed, "weights")):
        encoder, head = PlainCNN(), nn.Linear(WIDTHS[-1], len(train.classes))
    network = nn.ModuleList([encoder, head]).to(device).train()
    size = 100
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * (len(train) // size))
    for epoch in range(epochs):
        draw = generator("cpu", seed, "views", epoch)
        for batch in batches(train, shuffled(len(train), size, seed=seed, epoch=epoch), device=device):
            assert batch.targets is not None
            loss = F.cross_entropy(head(encoder(_moved(batch.inputs, draw)).pooled), batch.targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    return encoder, head


def _moved(images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b 3 y x"]:
    """Flip half of the images, and shift each by up to four pixels, the border mirrored."""
    count, size, reach = len(images), images.shape[-1], 4
    images = torch.where((torch.rand(count, 1, 1, 1, generator=draw) < 0.5).to(images.device), images.flip(3), images)
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    place = torch.randint(2 * reach + 1, (count, 2), generator=draw).tolist()
    return torch.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(padded, place, strict=True)])


def measured(network: tuple[PlainCNN, nn.Linear], test: ImageSet, images: int | None, device: torch.device) -> Losses:
    """Return what the protocol corruptions finds."""
    encoder, head = network
    subject = Subject(
        encoder=encoder, head=head, data=lambda split: test, device=device, run_dir=Path("unused"), encoder_hash=""
    )
    subject.report = lambda line: print(line, file=sys.stderr, flush=True)
    result = Corruptions(images=images, calibration=False)(subject)
    rows = result.details["corruptions"]
    accuracy = {name: [100 * row[str(s)]["accuracy"] for s in SEVERITIES] for name, row in rows.items()}
    return Losses(100 * result.metrics["clean_accuracy"].value, accuracy)


def table(found: Sequence[Losses]) -> str:
    """Return the table as Markdown: means over networks, and how far the order of the losses is the published one."""
    clean = fmean(one.clean for one in found)
    lines = ["| corruption | 1 | 2 | 3 | 4 | 5 | loses | published loses |", "|---|---|---|---|---|---|---|---|"]
    loses: dict[str, float] = {}
    means = {name: [fmean(one.accuracy[name][i] for one in found) for i in range(5)] for name in CORRUPTIONS}
    for name, row in means.items():
        loses[name] = clean - row[-1]
        lines.append(_line(name, [*row, loses[name], PUBLISHED[name] - PUBLISHED_CLEAN]))
    columns = [fmean(row[i] for row in means.values()) for i in range(5)]
    published = fmean(PUBLISHED.values()) - PUBLISHED_CLEAN
    lines.append(_line("mean", [*columns, fmean(loses.values()), published]))
    spread = f" (std over networks {stdev(one.clean for one in found):.1f})" if len(found) > 1 else ""
    rank, without = (
        spearmanr([loses[name] for name in names], [PUBLISHED[name] for name in names])[0]
        for names in (list(CORRUPTIONS), [name for name in CORRUPTIONS if name != "frost"])
    )
    words = f"Clean {clean:.1f}{spread}. Spearman with the published losses {rank:.2f}, without frost {without:.2f}."
    return "\n".join([*lines, "", words])


def _line(name: str, values: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="root of data source cifar10: a folder, or a zip of images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train", type=int, default=15_000, help="training images")
    parser.add_argument("--images", type=int, default=1000, help="test images that are measured")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--into", type=Path, metavar="PAGE")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    try:
        if options.into is not None:
            placed(options.into.read_text(), "")  # a page without markers is refused before minutes of training
        train = _in_memory(options.root, "train", options.train)
        test = _in_memory(options.root, "test", None)
        networks = (trained(train, seed, options.epochs, device) for seed in options.seeds)
        found = [measured(network, test, options.images, device) for network in networks]
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    conditions = (
        f"Seeds {options.seeds}, {options.epochs} epochs of {len(train)} images, {options.images} test images, "
        f"{hardware}, {torch.get_num_threads()} threads, torch {torch.__version__}."
    )
    if options.into is None:
        print(table(found), conditions, sep="\n")
    else:
        write_table(options.into, f"{table(found)}\n{conditions}")
    return 0


def _in_memory(root: str, split: str, limit: int | None) -> ImageSet:
    images = DATA.build("cifar10", {"root": root, "limit": limit}, split)
    assert isinstance(images, ImageSet)
    return images


if __name__ == "__main__":
    sys.exit(main())
