"""Networks at the edge of what attacks are made for: hard answers, huge logits, two and three classes."""

from typing import Any

import pytest
import torch
from small_networks import NoisyCNN, SmallCNN
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.encoders import Encoder
from sslkuramoto.evaluation import Subject
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.protocol import CHECKS
from sslkuramoto.randomness import generator

TINY: dict[str, Any] = {
    "eps": 0.2, "images": 24, "chunk": 24, "steps": [1, 2, 4], "k": [1, 2], "restarts": 2, "queries": 100,
    "samples": 2, "directions": 8, "select_draws": 20, "grid": [0.1],
}  # fmt: skip


class Nearest(nn.Module):
    """The class of the nearest stored image: c times one-hot."""

    def __init__(self, images: Tensor, labels: Tensor, c: float) -> None:
        super().__init__()
        self.images, self.labels, self.c = images.flatten(1), labels, c
        self.out_features = 10

    def forward(self, features: Tensor) -> Tensor:
        nearest = torch.cdist(features, self.images).argmin(dim=1)
        return self.c * F.one_hot(self.labels[nearest], 10).float()


class Flat(Encoder):
    num_features = 192

    def forward(self, images, *, initial=None, draw=None, trace=False):
        from sslkuramoto.encoders.features import Features

        return Features(images.flatten(1), images)


def checks_of(result) -> dict[str, dict]:
    return {check["name"]: check for check in result.details["audit"]["checks"]}


@pytest.mark.parametrize(("c", "budget"), [(1.0, "quick"), (7.0, "full")])
def test_a_nearest_neighbour_rule_is_audited_and_its_gradients_are_zero(
    c: float, budget: str, digits, subject_of
) -> None:
    train = digits["train"]
    head = Nearest(train.images[:300].float() / 255, train.labels[:300], c)
    result = Audit(**TINY, budget=budget)(subject_of((Flat(), head)))
    checks = checks_of(result)
    assert checks["control"]["status"] == "pass"
    assert checks["zero_gradients"]["status"] == "fail"
    assert checks["zero_gradients"]["figures"] == {"zero_cross_entropy": 1.0, "zero_margin": 1.0}
    assert checks["logit_scale"]["status"] == "pass"
    assert result.metrics["clean_accuracy"].value > 0.8
    assert result.details["audit"]["word"] in ("masked", "suspect")


def test_answers_like_probabilities_after_scaling_are_audited(cnn, subject_of) -> None:
    """Ten times a softmax is no probability, but a tenth of it sums to one."""
    encoder, head = cnn
    soft = nn.Sequential(head, nn.Softmax(dim=1), Scaled(10.0))
    soft.out_features = head.out_features
    checks = checks_of(Audit(**TINY, skip=["black_box", "eps"])(subject_of((encoder, soft))))
    assert "x0.1" in checks["logit_scale"]["reason"]


def test_logits_too_large_to_scale_are_left_as_they_are(cnn, subject_of) -> None:
    encoder, head = cnn
    large = nn.Sequential(head, Scaled(1e35))
    large.out_features = head.out_features
    checks = checks_of(Audit(**TINY, skip=["black_box", "eps"])(subject_of((encoder, large))))
    assert "x10 not run, since its logits would overflow" in checks["logit_scale"]["reason"]
    assert set(checks["logit_scale"]["figures"]) == {"x0.1", "margin of 1", "dlr"}


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.factor


def few_classes(subject_of, classes: int, *, noisy: bool) -> Subject:
    """A network trained for a moment to tell 2 or 3 classes: which third of the image is bright."""
    draw = generator("cpu", "few classes", classes)
    labels = torch.arange(48) % classes
    images = torch.randint(0, 90, (48, 3, 8, 8), generator=draw)
    for image, label in zip(images, labels, strict=True):
        image[:, :, int(label) * 2 : int(label) * 2 + 3] += 150
    data = MemorySet("few", "test", tuple(map(str, range(classes))), labels, 8, "few", images.to(torch.uint8))
    torch.manual_seed(0)
    encoder = NoisyCNN(0.3) if noisy else SmallCNN()
    head = nn.Linear(encoder.num_features, classes)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(60):
        given = {"draw": draw} if noisy else {}
        loss = F.cross_entropy(head(encoder(images / 255, **given).pooled), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return subject_of((encoder.eval(), head), data=lambda split: data)


@pytest.mark.parametrize(
    ("classes", "noisy", "budget"),
    [(2, True, "quick"), (2, False, "full"), (3, True, "full"), (3, False, "quick")],
)
def test_two_and_three_classes_get_an_answer_to_every_question(classes, noisy, budget, subject_of) -> None:
    result = Audit(**TINY, budget=budget)(few_classes(subject_of, classes, noisy=noisy))
    checks = checks_of(result)
    assert set(checks) == {question.name for question in CHECKS} | {"reported"}
    assert checks["control"]["status"] == "pass", checks["control"]["reason"]
    idle = {"surrogate", "saturation", "transfer", "fab", "k", "held_fresh", "fixed_random", "gradient_draws"}
    assert {name for name, check in checks.items() if check["status"] == "not run"} <= idle
    assert result.metrics["clean_accuracy"].value > 0.9
    assert not any("classes, there are" in check["reason"] for check in checks.values())
