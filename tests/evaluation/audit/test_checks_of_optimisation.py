"""What a forward pass may not do: take gradients, change weights, read other images, keep what it has seen."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hand_made_cases import Pixels
from torch import Tensor, nn

from sslkuramoto.classifier import Classifier, Initial
from sslkuramoto.encoders import Encoder, Features
from sslkuramoto.evaluation import Subject
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.attacks import Arsenal
from sslkuramoto.evaluation.audit.budget import BUDGETS
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.gradients import GradientFacts
from sslkuramoto.evaluation.audit.network_checks import no_optimisation
from sslkuramoto.evaluation.audit.protocol import CHECKS
from sslkuramoto.evaluation.audit.runner import Bench, Run, copy_of
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.threat import Threat

N = 12


class Remembering(Pixels):
    """Keeps the first images it meets and answers what lies near them as if it were them."""

    def __init__(self, tolerance: float = 0.2) -> None:
        super().__init__()
        self.tolerance = tolerance
        self.kept: Tensor | None = None

    def forward(self, images, **given) -> Features:
        kept = self.kept = images.detach().clone() if self.kept is None else self.kept
        distance, which = (images.detach()[:, None] - kept).abs().amax(dim=(2, 3, 4)).min(dim=1)
        near = (distance <= self.tolerance)[:, None, None, None]
        return super().forward(torch.where(near, kept[which], images))


class Optimising(Pixels):
    """Takes a step along its own gradient before it answers."""

    def forward(self, images, **given) -> Features:
        with torch.enable_grad():
            moved = images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad((self.scale * moved).square().sum(), moved)
        return super().forward(images + 0.1 * gradient.sign())


class Adapting(Pixels):
    """Changes a buffer at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images, **given) -> Features:
        self.seen += 1.0
        return super().forward(images)


class Batched(Pixels):
    """Takes the mean of the batch off."""

    def forward(self, images, **given) -> Features:
        return super().forward(images - images.mean(dim=0))


class Locked(Pixels):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Failing(Pixels):
    """Has a fault that is nothing to do with gradients."""

    def forward(self, images, **given) -> Features:
        raise RuntimeError("out of memory")


class Noisy(Pixels):
    """Starts from noise; remembers which."""

    stochastic = True

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Tensor] = []

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        if initial is None:
            assert draw is not None
            initial = self.sample_initial(images, draw)
        self.started.append(initial)
        return super().forward(images + initial)

    def sample_initial(self, images, draw) -> Tensor:
        return torch.randn(images.shape, generator=draw)


class Quiet(Bench):
    """Asks the classifier nothing when it is made."""

    def share_right(self, candidates) -> Tensor:
        return torch.ones(N)


Build = Callable[..., Case]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def case(encoder: Encoder, mode: Initial = "random") -> Case:
        with borrowed_global(generator("cpu", "head")):
            head = nn.Linear(encoder.num_features, 10)
        classifier = Classifier(encoder, head, mode)
        images = torch.rand(N, 3, 8, 8, generator=generator("cpu", "images"))
        labels = torch.zeros(N, dtype=torch.long)
        bench = Quiet(classifier, images, labels, threat=Threat("linf", 0.1), seed=0, chunk=N, draws=20)
        subject = Subject(
            encoder=encoder,
            head=head,
            data=lambda split: None,  # type: ignore[arg-type, return-value]
            run_dir=tmp_path / "run",
            encoder_hash="0" * 64,
            batch_size=N,
            device=torch.device("cpu"),
        )
        budget = BUDGETS["quick"]
        arsenal = Arsenal(subject, budget, classifier.stochastic, 10)
        return Case(bench, arsenal, budget, (0.1,), (), GradientFacts())

    return case


@pytest.mark.parametrize("mode", ["random", "fixed", "averaged"])
@pytest.mark.parametrize("kind", [Pixels, Noisy])
def test_an_honest_network_passes(kind: type[Encoder], mode: str, build: Build) -> None:
    check = no_optimisation(build(kind(), mode))
    assert check.status == "pass"
    assert check.figures["difference_unseen"] == 0.0


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Remembering, "its answers depend on images seen before"),
        (Optimising, "the forward pass asks for gradients: element 0 of tensors does not require grad"),
        (Adapting, "a forward pass changes encoder.seen"),
        (Batched, "the logits of an image depend on the other images of its batch"),
    ],
)
def test_another_fails_and_says_why(kind: type[Encoder], reason: str, build: Build) -> None:
    check = no_optimisation(build(kind()))
    assert check.status == "fail"
    assert check.reason.startswith(reason)


@pytest.mark.parametrize("tolerance", [0.2, 0.02])
def test_a_memory_that_no_attack_gets_past_shows_under_random_signs(tolerance: float, build: Build) -> None:
    """An attack that breaks nothing gives the images themselves back, which any copy answers in the same way."""
    case = build(Remembering(tolerance))
    images, threat = case.bench.images, case.threat
    case.bench.runs["vain", "itself", threat] = Run("vain", torch.ones(N), torch.ones(N), images)
    assert no_optimisation(case).status == "fail"


def test_what_attacks_made_of_the_images_is_asked(build: Build) -> None:
    """A memory that only recognises what lies very near; random signs do not."""
    case = build(Remembering(0.003))
    assert no_optimisation(case).status == "pass"
    case = build(Remembering(0.003))
    images, threat = case.bench.images, case.threat
    for label, right, moved in (("strong", 0.0, 0.002), ("weak", 0.5, 0.1)):
        case.bench.runs[label, "itself", threat] = Run(label, right * torch.ones(N), torch.ones(N), images + moved)
    assert no_optimisation(case).status == "fail"


def test_an_audit_of_a_network_that_remembers_its_images_is_not_taken_in(subject_of) -> None:
    """Its copy is made before the first call: those that ask whether it is deterministic show it the images."""
    encoder = Remembering()
    subject = subject_of((encoder.eval(), nn.Linear(192, 10)))
    skip = [question.name for question in CHECKS if question.name not in ("one_step", "no_optimisation")]
    options = {"images": 8, "steps": [1, 2], "k": [1, 2], "restarts": 2, "directions": 8}
    audit = Audit(eps=0.1, skip=skip, **options)(subject).details["audit"]
    (check,) = (check for check in audit["checks"] if check["name"] == "no_optimisation")
    assert check["status"] == "fail"
    assert check["reason"].startswith("its answers depend on images seen before")


def test_the_copy_is_made_before_the_network_is_asked_anything(build: Build) -> None:
    network = Remembering()
    case = build(network)
    unseen = case.bench.unseen
    assert isinstance(unseen, Classifier)
    assert unseen.encoder.kept is None
    early = copy_of(Classifier(Remembering(), nn.Linear(192, 10)))
    bench = Quiet(
        case.classifier, case.bench.images, case.bench.labels,
        threat=case.threat, seed=0, chunk=N, draws=20, unseen=early,
    )  # fmt: skip
    assert bench.unseen is early


def test_a_network_that_cannot_be_copied_is_not_judged_and_says_why(build: Build) -> None:
    check = no_optimisation(build(Locked()))
    assert check.status == "not run"
    assert "the network cannot be copied: cannot pickle" in check.reason


def test_another_fault_is_no_answer(build: Build) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        no_optimisation(build(Failing()))


def test_in_mode_fixed_it_looks_at_the_audited_start(build: Build) -> None:
    for mode in ("fixed", "random"):
        network = Noisy()
        case = build(network, mode)
        no_optimisation(case)
        own = case.classifier.field(case.bench.images)
        assert torch.equal(network.started[0], own.expand_as(network.started[0])) == (mode == "fixed")
