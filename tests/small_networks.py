"""Small networks to measure: a CNN trained for a second on digits, and the same with a noisy start, like AKOrN."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.data import DATA, ImageSet, batches, shuffled
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.evaluation import Subject
from sslkuramoto.randomness import generator


class SmallCNN(Encoder):
    """Two convolutions; deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 24
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 24, 3, stride=2, padding=1)
        self.calls = 0

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        self.calls += 1
        grid = F.relu(self.second(F.relu(self.first(images - 0.5))))
        return Features(grid.amax(dim=(2, 3)), grid)


class NoisyCNN(SmallCNN):
    """The same network with a starting state that is added to its features: stochastic, like AKOrN at test time."""

    stochastic = True

    def __init__(self, noise: float = 1.0) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        assert (initial is None) != (draw is None), "a stochastic encoder needs one source of oscillators"
        if initial is None:
            initial = self.sample_initial(images, draw)
        pooled, grid, _ = super().forward(images)
        return Features(pooled + self.noise * initial.flatten(1), grid)

    def sample_initial(self, images, draw: torch.Generator) -> Tensor:
        return torch.randn(len(images), self.num_features, 1, 1, generator=draw)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> dict[str, ImageSet]:
    return {split: DATA.build("digits", {}, split) for split in ("train", "test")}


@pytest.fixture(scope="session")
def _trained(digits) -> tuple[SmallCNN, nn.Linear]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, head = SmallCNN(), nn.Linear(24, 10)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 5e-3)
    train = digits["train"]
    for epoch in range(6):
        for batch in batches(train, shuffled(len(train), 64, seed=0, epoch=epoch), device="cpu"):
            loss = F.cross_entropy(head(encoder(batch.inputs).pooled), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return encoder.eval(), head.eval()


@pytest.fixture
def cnn(_trained) -> tuple[SmallCNN, nn.Linear]:
    """A deterministic encoder and its head, about 95 % right on digits."""
    return copy.deepcopy(_trained)


@pytest.fixture
def noisy(_trained) -> tuple[NoisyCNN, nn.Linear]:
    """The trained weights in the stochastic network."""
    encoder, head = copy.deepcopy(_trained)
    twin = NoisyCNN()
    twin.load_state_dict(encoder.state_dict())
    return twin.eval(), head


@pytest.fixture
def subject_of(digits, tmp_path: Path) -> Callable[..., Subject]:
    """Build a subject on digits; keyword arguments replace its parts."""

    def build(network: tuple[Encoder, nn.Linear | None], **parts) -> Subject:
        encoder, head = network
        fields = {"data": digits.__getitem__, "run_dir": tmp_path / "run", "encoder_hash": "0" * 64, "batch_size": 64}
        return Subject(encoder=encoder, head=head, **{"device": torch.device("cpu"), **fields, **parts})

    return build


@pytest.fixture
def some_set() -> Callable[..., MemorySet]:
    """Build a labelled set of random images in memory."""

    def build(n: int = 30, classes: int = 10, *, split: str = "test", labelled: bool = True) -> MemorySet:
        images = torch.randint(0, 256, (n, 3, 8, 8), generator=generator("cpu", "some set", n), dtype=torch.uint8)
        names = tuple(str(k) for k in range(classes)) if labelled else None
        labels = torch.arange(n) % classes if labelled else None
        return MemorySet("random", split, names, labels, 8, f"random-{n}-{classes}", images)

    return build
