"""Protocol ``worst_state``: accuracy when the attacker chooses the initial oscillators, alone or with the image.

Each of several draws of the network is the start of an ascent within a ball around it. Gradients with respect to the
phases of Kuramoto networks were used to change their synchronisation by Nagahama et al. 2025 (2506.02403); here they
change a class. The threat is stronger than that of robust accuracy, where the network draws after the attack: these
numbers state no reading and enter no union.

Shapes: n images, y x pixels, k draws.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks.counting import seconds_of_passes
from sslkuramoto.attacks.ledger import Unit, ledger_for
from sslkuramoto.attacks.losses import Loss, for_classes, is_targeted
from sslkuramoto.attacks.pass_size import ROWS
from sslkuramoto.attacks.worst_state import state_space_of, worst_state
from sslkuramoto.classifier import Classifier, frozen, predicted, predictions_over_draws
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost, Passes
from sslkuramoto.dynamics.state_space import EVERYWHERE
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.sanity import check_first_chunk
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.forward_cost import LOOKS
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.evaluation.robustness.units import units_of
from sslkuramoto.files import at_home
from sslkuramoto.noise_draws import accuracies, check_equal_scores, draws_for, share_right
from sslkuramoto.randomness import Key, generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.sources import code_behind
from sslkuramoto.threat import BY_NORM, DEFAULT_EPS, Norm, Threat, parse_eps
from sslkuramoto.values import Count, Mark, Repeats, checked, small

NAME = "worst_state"
ANYWHERE = "anywhere"
CODE = "evaluation/robustness/worst_state.py"
"""The source that decides, with the attacks that it imports, what the ledger holds."""
STATE, JOINT = "state", "joint"
GROUP = "Chosen oscillators"


@small(within=[0.5, "anywhere"], images=4, iterations=2)
@checked
class WorstState(Protocol):
    """Accuracy with the initial oscillators that an attacker chooses, on clean images and on images attacked with them.

    Args:
        within: how far each oscillator may turn from the network's own draw, in radians: a number below pi, or
            "anywhere" for all states. 0: the attacker knows the draw and chooses nothing but the image.
        norm: "linf" or "l2", of the images that are attacked jointly.
        eps: their radius in pixels of [0,1]: a number or a fraction such as "8/255"; None: 8/255 in linf, 0.5 in l2.
        loss: what the ascents maximise, as for ``apgd``, without the targeted losses.
        iterations: steps of each ascent.
        images: number of images, None for all; the choice depends on the data set alone.
        split: split that the images are taken from.
        chunk: images per unit of the ledger and per forward pass; it decides which draws an image gets.
        draws: draws of the network, each the start of an ascent, at least 20.
        ledger: folder of the ledger; None: ``RUN/ledger``.
    """

    name = NAME
    needs = frozenset({"head", "labels"})
    by_option = BY_NORM
    # with all states at hand the attacker may begin at any draw: an image counts when no ascent breaks it
    columns = (
        Column(
            "worst_state", "state", GROUP, False, 12.1, [f"{STATE}_accuracy_{ANYWHERE}_all"], optional=True
        ),
        Column(
            "worst_joint", "state and image", GROUP, False, 12.2, [f"{JOINT}_accuracy_{ANYWHERE}_all"], optional=True
        ),
    )  # fmt: skip

    def __init__(
        self,
        *,
        within: tuple[float | Literal["anywhere"], ...] = (0.0, 0.01, 0.05, 0.2, "anywhere"),
        norm: Norm = "linf",
        eps: float | str | None = None,
        loss: Loss = "log_margin",
        iterations: Repeats = 40,
        images: Count | None = 200,
        split: Literal["test", "val"] = "test",
        chunk: Annotated[Count, Mark.INCIDENTAL] = 100,
        draws: Repeats = 20,
        ledger: Annotated[str | None, Mark.INCIDENTAL] = None,
    ) -> None:
        eps = DEFAULT_EPS[norm] if eps is None else eps
        self.options = options_of(locals())
        self.radii = {_named(each): EVERYWHERE if each == ANYWHERE else float(each) for each in within}
        if not within or len(self.radii) < len(within):
            raise UserError(f"within={list(within)}: must name at least one radius, and none twice")
        if wrong := [each for each in within if each != ANYWHERE and not 0 <= float(each) < math.pi]:
            raise UserError(f"within={wrong[0]}: must be in [0, pi), in radians, or {ANYWHERE}")
        if is_targeted(loss):
            raise UserError(f"loss={loss}: worst_state has no targeted losses")
        self.threat = Threat(norm, parse_eps(eps, norm))
        self.loss: Loss = loss
        self.iterations, self.images, self.split, self.chunk = iterations, images, split, chunk
        self.draws, self.ledger = draws, ledger
        self.splits = (split,)

    def check(self, subject: Subject) -> None:
        """Check that the subject has what the protocol needs; a deterministic network has no state to choose."""
        super().check(subject)
        state_space_of(subject.encoder)
        draws_for(subject.encoder.stochastic, self.draws)

    def measure(self, subject: Subject) -> Result:
        """Attack and score.

        Raises:
            UserError: no classifier, too few images, a network whose answers depend on more than image and state.
        """
        classifier = classifier_of(subject)
        chosen = chosen_images(subject, self.split, self.images, self.chunk)
        check_first_chunk(classifier, chosen.pixels[: self.chunk], chosen.index[: self.chunk], NAME)
        assert chosen.images.classes is not None
        loss, note = for_classes(self.loss, len(chosen.images.classes))
        labels = chosen.labels.cpu()
        clean = predictions_over_draws(classifier, chosen.pixels.split(self.chunk), self.draws, NAME, "start")
        self._check_states(classifier, chosen.pixels[: self.chunk])
        result = Result(
            metrics=accuracies(clean, labels, "clean_accuracy"),
            options=self.options,
            data=described(chosen.images, len(chosen.index)),
            initial=start_of(subject.encoder),
            per_image={"index": chosen.index.tolist(), "clean_correct": share_right(clean, labels)},
            verdicts=["clean_correct"],
            notes=[
                *([note] if note else []),
                "the attacker chooses the oscillators: a stronger threat than that of robust accuracy, whose union "
                "these numbers do not enter",
            ],
            details={"threat": str(self.threat)},
        )
        with frozen(classifier):
            for name, radius in self.radii.items():
                for what, threat in ((STATE, Threat(self.threat.norm, 0.0)), (JOINT, self.threat)):
                    attacked, fresh = self._attacked(subject, classifier, chosen, loss, what, name, radius, threat)
                    self._add(result, f"{what}_accuracy_{name}", attacked, labels)
                    if what == JOINT:
                        self._add(result, f"{JOINT}_fresh_accuracy_{name}", fresh, labels)
        result.details["curves"] = self._curves(result)
        return result

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return an upper bound of the cost on this device after timing a few passes; attacks nothing."""
        self.check(subject)
        chosen = chosen_images(subject, self.split, self.images, self.chunk)
        n, still = len(chosen.index), sum(radius == 0 for radius in self.radii.values())
        ascents = 2 * len(self.radii) - still - still * (self.threat.eps == 0)
        each = Passes(n * self.draws, n * self.draws * self.iterations)
        passes = {
            "first images": Passes(min(self.chunk, n) * (LOOKS + 2)),
            "attack": Passes(0).plus(each, ascents),
            "scoring": Passes(n * self.draws * (1 + 4 * len(self.radii))),
        }
        forward, backward = seconds_of_passes(classifier_of(subject), chosen.pixels[: self.chunk])
        seconds = sum(part.forward * forward + part.backward * backward for part in passes.values())
        return [("", Cost(n, passes, seconds))]

    @torch.no_grad()
    def _check_states(self, classifier: Classifier, images: Float[Tensor, "b 3 y x"]) -> None:
        """Check that image and state decide the answer: the first draw, given as a state, is answered alike."""
        states = classifier.encoder.sample_initial(images, _draw(classifier, images, "start", 0, 0))
        given = predicted(classifier(images, initial=states)).cpu()
        drawn = predicted(classifier(images, draw=_draw(classifier, images, "start", 0, 0))).cpu()
        check_equal_scores(drawn[None], given[None], reordered=images.is_cuda)

    def _add(self, result: Result, name: str, predictions: Int64[Tensor, "k n"], labels: Int64[Tensor, " n"]) -> None:
        result.metrics.update(accuracies(predictions, labels, name))
        result.per_image[f"{name}_correct"] = share_right(predictions, labels)
        result.verdicts.append(f"{name}_correct")

    def _attacked(
        self,
        subject: Subject,
        classifier: Classifier,
        chosen: Chosen,
        loss: Loss,
        what: str,
        name: str,
        radius: float,
        threat: Threat,
    ) -> tuple[Int64[Tensor, "k n"], Int64[Tensor, "k n"]]:
        """Return what the network answers from the chosen states, and to the same images from fresh ones."""
        ledger = ledger_for(
            subject.network,
            subject.code,
            at_home(self.ledger) if self.ledger else subject.run_dir / "ledger",
            inside=self.ledger is None,
            seed=subject.seed,
            device=subject.device,
            threat=threat,
            data=described(chosen.images, len(chosen.index)),
            index=chosen.index,
            mode={"protocol": NAME, "chunk": self.chunk},
        )
        settings = {"loss": loss, "iterations": self.iterations, "radius": radius, "draws": self.draws}
        settings["code"] = code_behind(CODE, rooms=("attacks",))

        def make(rows: Int64[Tensor, " b"], number: int) -> Unit:
            own = rows.to(chosen.pixels.device)
            images, labels = chosen.pixels[own], chosen.labels[own]
            groups = torch.arange(self.draws).split(max(1, ROWS // len(rows)))
            answers = [
                self._answers(classifier, images, labels, loss, radius, threat, draws.tolist(), number)
                for draws in groups
            ]
            nothing = torch.zeros(len(rows), dtype=torch.bool)  # the unit holds no candidates: answers are all
            return Unit(rows, images[:0].cpu(), torch.cat(answers, dim=1).flatten(0, 1), nothing)

        label = f"{what} {name}"
        units = units_of(ledger, label, len(chosen.index), self.chunk, settings, make, subject.report)
        attacked, fresh = torch.cat([unit.predictions for unit in units], dim=1).chunk(2)
        return attacked, fresh

    def _answers(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        loss: Loss,
        radius: float,
        threat: Threat,
        draws: Sequence[int],
        number: int,
    ) -> Int64[Tensor, "2 g b"]:
        """Attack images from some draws at once; return the answers from the chosen states and from other draws."""
        encoder, several = classifier.encoder, images.repeat(len(draws), 1, 1, 1)
        start, fresh = (
            torch.cat([encoder.sample_initial(images, _draw(classifier, images, key, k, number)) for k in draws])
            for key in ("start", "fresh")
        )
        candidates, states = worst_state(
            classifier, several, labels.repeat(len(draws)), start, radius=radius, threat=threat,
            iterations=self.iterations, loss=loss,
        )  # fmt: skip
        threat.check(candidates, several, NAME)
        with torch.no_grad():
            answers = torch.stack([predicted(classifier(candidates, initial=field)) for field in (states, fresh)])
        return answers.view(2, len(draws), -1).cpu()

    def _curves(self, result: Result) -> list[dict[str, Any]]:
        """Return the accuracies against the radius, for a report."""
        names = {
            f"{STATE}_accuracy": "the state alone",
            f"{JOINT}_accuracy": "state and image",
            f"{JOINT}_fresh_accuracy": "the same images on fresh draws",
        }
        radii = dict(sorted(self.radii.items(), key=lambda item: item[1]))
        return [
            {
                "title": f"Accuracy against an attacker who chooses {what}, {self.threat}",
                "x_label": "radius of each oscillator's ball (radians)",
                "unit": "fraction",
                "x": [*radii.values()],
                "y": [result.metrics[f"{name}_{radius}"].value for radius in radii],
            }
            for name, what in names.items()
        ]


def _named(within: float | str) -> str:
    return ANYWHERE if within == ANYWHERE else f"within_{within:g}"


def _draw(classifier: Classifier, images: Tensor, *key: Key) -> torch.Generator:
    return generator(images.device, classifier.seed, NAME, *key)
