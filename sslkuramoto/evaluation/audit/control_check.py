"""The control of an audit: with eps = 0 attacks change nothing, and on a network of known robustness they succeed.

The second part uses a linear classifier, whose robust accuracy is known in closed form. An image with the margin
m = z_y - z_j between two classes with weights w_y and w_j can be moved to class j inside a ball of radius eps exactly
if m / ||w_y - w_j||_* < eps, with the dual norm ||.||_* (l1 for l-inf, l2 for l2; Hoelder's inequality is tight).

Shapes: b batch, n images, y x pixels.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.attacks import Attack
from sslkuramoto.attacks.attack import Work
from sslkuramoto.classifier import Classifier, frozen, predictions_over_draws
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.compare import BROKEN, percent
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.plants.random_pixels import noisy_encoder
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.threat import MisbehavedError, Threat

CONTROL = Question(
    "control",
    "With eps = 0 every attack leaves the clean accuracy, and attacks reach the known accuracy of a linear network",
    "control",
)
UNMOVED_IMAGES = 16  # attacked with eps = 0; a battery leaves alone what is wrong without an attack
KNOWN_SHAPE = (3, 8, 8)
KNOWN_IMAGES = 32
KNOWN_EPS = 0.1  # l-inf; in l2 times the square root of the number of pixel values
KNOWN_STEPS = 20  # enough to test the attack itself, whatever the budget
KNOWN_DRAWS = 8  # per gradient, at most
NOISE = 1e-3  # added if the audited network is stochastic, so that attacks average over draws; moves no boundary


def control(case: Case) -> Check:
    """Check that attacks with eps = 0 change nothing, and that attacks break a network of known robustness.

    With eps = 0 an attack never succeeds and would use its whole budget, so the budget is small and so is the number of
    images, all of them right without an attack. An attack that leaves the ball raises an error in the battery, which
    counts as a failure here.
    """
    nowhere = Threat(case.threat.norm, 0.0)
    arsenal, runs, moved = case.arsenal.for_control(), [], []
    right = (case.bench.clean > BROKEN).nonzero().flatten()
    right = right if len(right) else torch.arange(case.n)
    bench = case.bench.only(right[torch.linspace(0, len(right) - 1, min(UNMOVED_IMAGES, len(right))).long()])
    clean = bench.clean.double().mean().item()
    for attack in [
        *arsenal.black_boxes(),
        arsenal.plain("ce"),
        arsenal.targeted(),
        arsenal.reference(),
        *arsenal.fab(),
    ]:
        try:
            run = bench.run(attack, threat=nowhere)
        except MisbehavedError as error:
            moved.append(f"{attack.label} ({error})")
            continue
        runs.append(run)
        if not torch.equal(run.candidates, bench.images):
            moved.append(run.label)
    figures = {"clean": clean, **{run.label: run.accuracy for run in runs}}
    if moved:
        return CONTROL.answer(False, f"with eps = 0 attacks changed the images: {', '.join(moved)}", figures)
    if not all(torch.equal(run.right, bench.clean) for run in runs):
        return CONTROL.answer(False, "equal images did not score equally", figures)
    expected, left = left_of_known(case)
    figures["known"] = {"expected": expected, **left}
    missed = [f"{label} leaves {percent(share)}" for label, share in left.items() if share != expected]
    if missed:
        reason = (
            "the attacks do not work: the robust accuracy of a linear classifier is "
            f"{percent(expected)}, but {', '.join(missed)}"
        )
        return CONTROL.answer(False, reason, figures)
    return CONTROL.answer(
        True,
        f"with eps = 0 {len(runs)} attacks change none of {bench.n} images that are right without an attack, nor their "
        f"score; {len(left)} attacks reach the robust accuracy of a linear classifier, {percent(expected)}",
        figures,
    )


class Pixels(Encoder):
    """The identity: features are the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = KNOWN_SHAPE[0] * KNOWN_SHAPE[1] * KNOWN_SHAPE[2]

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        """Return them; see :meth:`Encoder.forward`."""
        return Features(images.flatten(1), images)


def known(
    threat: Threat, num_classes: int, device: torch.device, *, draws: bool
) -> tuple[Classifier, Float[Tensor, "n 3 y x"], Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """Return a linear classifier, images, labels and each image's distance to the decision boundary in units of eps.

    Two classes have opposite weights; the others are never predicted. Distances are spread evenly over 0.25 to 0.9 and
    1.1 to 1.75. Images and balls lie inside [0,1].

    Args:
        threat: the ball.
        num_classes: at least 2.
        device: of all that is returned.
        draws: whether the classifier adds a little random noise to its pixels.
    """
    draw = generator("cpu", "known robustness")
    weights = torch.rand(KNOWN_SHAPE, generator=draw).flatten() + 0.5  # none near 0: no pixel has to go far
    weights *= 0.1 * (2 * torch.randint(0, 2, weights.shape, generator=draw) - 1)
    toward = threat.steepest(weights.reshape(1, *KNOWN_SHAPE))[0].flatten()  # of unit norm, and w toward = ||w||_*
    half = KNOWN_IMAGES // 2
    distances = torch.cat([torch.linspace(0.25, 0.9, half), torch.linspace(1.1, 1.75, half)])
    labels = torch.arange(KNOWN_IMAGES) % 2
    sign = 1.0 - 2.0 * labels
    images = 0.5 + (sign * distances * threat.eps)[:, None] * toward
    with borrowed_global(draw):
        head = nn.Linear(len(weights), num_classes)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-100.0)
        head.weight[0], head.weight[1] = weights, -weights
        head.bias[0], head.bias[1] = -0.5 * weights.sum(), 0.5 * weights.sum()
    encoder = noisy_encoder(Pixels(), NOISE) if draws else Pixels()
    classifier = Classifier(encoder.to(device).eval(), head.to(device).eval(), seed=0)
    return classifier, images.reshape(-1, *KNOWN_SHAPE).to(device), labels.to(device), distances


def left_of_known(case: Case) -> tuple[float, dict[str, float]]:
    """Return the exact robust accuracy of the linear classifier, and its accuracy under every kind of ascent."""
    arsenal, norm = case.arsenal, case.threat.norm
    side = 1.0 if norm == "linf" else (KNOWN_SHAPE[0] * KNOWN_SHAPE[1] * KNOWN_SHAPE[2]) ** 0.5
    threat = Threat(norm, KNOWN_EPS * side)
    device = case.bench.images.device
    classifier, images, labels, distances = known(threat, arsenal.num_classes, device, draws=case.stochastic)
    attacks = [
        arsenal.plain("ce", KNOWN_STEPS),
        arsenal.plain("dlr", KNOWN_STEPS),
        arsenal.reference(k=min(case.budget.usual_k, KNOWN_DRAWS), steps=KNOWN_STEPS),
    ]
    if case.stochastic:
        attacks += arsenal.eot(k=KNOWN_DRAWS, steps=KNOWN_STEPS)
    left = {attack.label: _left(attack, classifier, images, labels, threat) for attack in attacks}
    return (distances > 1).double().mean().item(), left


def _left(attack: Attack, classifier: Classifier, images: Tensor, labels: Tensor, threat: Threat) -> float:
    """Return the accuracy under an attack; 1 if its candidates are outside the ball."""
    with frozen(classifier):
        candidates = attack(classifier, images, labels, threat=threat, work=Work(0, 0)).detach()
    try:
        threat.check(candidates, images, attack.label)
    except MisbehavedError:
        return 1.0
    draws = 20 if classifier.stochastic else 1
    right = (predictions_over_draws(classifier, [candidates], draws, "known") == labels.cpu()).double().mean(dim=0)
    return (right > BROKEN).double().mean().item()
