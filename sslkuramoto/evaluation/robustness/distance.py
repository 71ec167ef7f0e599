"""Protocol ``distance``: how far the nearest mistake of each image lies.

Minimal-norm attacks propose one candidate per image. A distance at which a mistake was found is an upper bound of the
true distance. Draws of a stochastic network that took no part in the search decide whether a candidate is a mistake:
the majority of them must err (docs/evaluation.md). A perturbation that falls just short, since it was fitted to the
search's draws, is stretched away from the image until selection draws confirm it.

The share of images whose distance exceeds eps is the accuracy against eps: one run yields the whole curve.

Shapes: n images, y x pixels, s stretched sets.
"""

from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks import Attack, run_battery
from sslkuramoto.attacks.attack import AttackEntry, ImpossibleAttackError, built
from sslkuramoto.attacks.ledger import ledger_for
from sslkuramoto.classifier import Classifier, Initial, predictions_over_draws
from sslkuramoto.columns import Column
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.noise_draws import draws_for, right_by_vote
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import median_interval, wilson
from sslkuramoto.threat import Norm, Threat, parse_eps, shown_eps
from sslkuramoto.values import Count, Mark, Repeats, checked, small

STRETCHES = (1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0)
"""Factors by which a perturbation is lengthened until selection draws confirm the mistake."""


@small(images=4, attacks=[{"name": "fmn", "iterations": 2, "k": 2}], select_draws=20)
@checked
class Distance(Protocol):
    """Distance of each image to the nearest mistake found, and the accuracy against eps.

    Args:
        attacks: each a name or ``{name: NAME, OPTION: VALUE}``; those that shorten perturbations are ``ddn`` and
            ``fmn``. Each sees all images; an image keeps the shortest confirmed perturbation.
        norm: "linf" or "l2".
        largest: distance at which the search ends, in pixels of [0,1], a number or a fraction such as "64/255".
        grid: radii at which the accuracy is stated, at most ``largest``.
        initial: initial oscillators: "random", "fixed", "fixed_per_image" or "averaged".
        average: draws per forward pass of "averaged".
        images: number of images, None for all; the choice depends on the data set alone.
        split: split that the images are taken from.
        chunk: images per unit of the ledger and per forward pass.
        draws: fresh draws of a stochastic network that decide whether an image is misclassified, at least 20.
        select_draws: other fresh draws that choose the stretch of a perturbation.
        ledger: folder of the ledger; None: ``RUN/ledger``.
    """

    name = "distance"
    needs = frozenset({"head", "labels"})
    columns = tuple(
        Column(
            *(f"{key}_{norm}", f"{shown}, {title}", "Nearest mistake", False, place + step, [metric]),
            optional=True,
            made_with=(("norm", norm),),
            unit=unit,
        )
        for place, norm, shown in ((11.5, "l2", "l2"), (11.7, "linf", "l-inf"))
        for step, key, title, metric, unit in (
            (0, "distance", "median [pixels]", "median_distance", "pixels"),
            (0.1, "never_fooled", "never fooled", "never_fooled", "%"),
        )
    )

    def __init__(
        self,
        *,
        attacks: list[AttackEntry],
        norm: Norm = "l2",
        largest: float | str = 1.0,
        grid: tuple[float | str, ...] = (0.1, 0.25, 0.5),
        initial: Initial = "random",
        average: Repeats = 8,
        images: Count | None = 1000,
        split: Literal["test", "val"] = "test",
        chunk: Annotated[Count, Mark.INCIDENTAL] = 100,
        draws: Repeats = 20,
        select_draws: Repeats = 100,
        ledger: Annotated[str | None, Mark.INCIDENTAL] = None,
    ) -> None:
        self.options = options_of(locals())
        if not attacks:
            raise UserError("attacks: name at least one (see sslkuramoto list attacks)")
        self.threat = Threat(norm, parse_eps(largest, norm))
        self.grid = [parse_eps(eps, norm) for eps in grid]
        if not self.threat.eps:
            raise UserError(f"largest={largest}: must be above 0")
        if beyond := [eps for eps, radius in zip(grid, self.grid, strict=True) if radius > self.threat.eps]:
            raise UserError(f"grid: {beyond[0]} is above largest={largest}")
        if len(set(self.grid)) < len(self.grid):
            raise UserError(f"grid={list(grid)}: must not contain the same radius twice")
        self.attacks = built(attacks)
        self.initial: Initial = initial
        self.average, self.images, self.split, self.chunk = average, images, split, chunk
        self.splits = (split,)
        self.draws, self.select_draws, self.ledger = draws, select_draws, ledger

    def measure(self, subject: Subject) -> Result:
        """Search, confirm and score.

        Raises:
            UserError: no classifier, no labels, too few images, no attack that can be run.
        """
        classifier = classifier_of(subject, self.initial, average=self.average)
        draws = draws_for(classifier.stochastic, self.draws)
        chosen = chosen_images(subject, self.split, self.images, self.chunk)
        assert chosen.images.classes is not None
        attacks, notes = self._prepared(subject, len(chosen.images.classes))
        data = described(chosen.images, len(chosen.index))
        mode = {"chunk": self.chunk, "initial": self.initial, "average": self.average, "chained": False}
        found = run_battery(
            classifier,
            chosen.pixels,
            chosen.labels,
            attacks,
            threat=self.threat,
            seed=subject.seed,
            chunk=self.chunk,
            draws=self.select_draws,
            chained=False,
            index=chosen.index,
            ledger=ledger_for(
                subject.network,
                subject.code,
                Path(self.ledger) if self.ledger else subject.run_dir / "ledger",
                inside=self.ledger is None,
                seed=subject.seed,
                device=subject.device,
                threat=self.threat,
                data=data,
                index=chosen.index,
                mode={**mode, "decided_by": "majority", "select_draws": self.select_draws},
            ),
            keep=True,
            report=subject.report,
        )
        nearest = torch.full((len(chosen.index),), torch.inf)
        worst = chosen.pixels.clone()
        for candidates in found.candidates.values():
            self._take_nearer(classifier, chosen, candidates, nearest, worst)
        wrong = ~self._right(classifier, chosen, chosen.pixels, self.draws, "score")
        fooled = ~self._right(classifier, chosen, worst, self.draws, "score")
        distances = nearest.where(fooled, torch.inf).where(~wrong, 0.0)
        subject.keep("adversarial", worst.cpu())
        result = Result(
            metrics=self._metrics(distances, draws),
            options=self.options,
            data=data,
            initial=start_of(subject.encoder, self.initial),
            per_image={
                "index": chosen.index.tolist(),
                "distance": [round(each, 7) if each < torch.inf else None for each in distances.tolist()],
            },
            notes=[*notes, *(line for each in attacks for line in each.findings(found.noticed[each.label]))],
            details={
                "threat": str(self.threat),
                "distance": {"norm": self.threat.norm, "images": len(distances), **curve(distances, self.threat.eps)},
            },
        )
        for eps in self.grid:
            name = f"{_named(eps)}_correct"
            result.per_image[name] = (distances > eps).double().tolist()
            result.verdicts.append(name)
        result.notes.append(
            "each distance is an upper bound of the true one; an image that was never fooled counts in the median as "
            f"{shown_eps(self.threat.eps)}, the largest distance searched"
        )
        return result

    def _prepared(self, subject: Subject, classes: int) -> tuple[list[Attack], list[str]]:
        target = attack_target(subject, classes)
        ready: list[Attack] = []
        notes: list[str] = []
        for attack in self.attacks:
            try:
                ready.append(attack.prepared(target))
            except ImpossibleAttackError as reason:
                notes.append(str(reason))
                continue
            notes += ready[-1].notes
        if not ready:
            raise UserError(f"no attack can be run: {'; '.join(notes)}")
        return ready, notes

    def _take_nearer(
        self, classifier: Classifier, chosen: Chosen, candidates: Tensor, nearest: Tensor, worst: Tensor
    ) -> None:
        """Put the confirmed candidates that are nearer than ``nearest`` into ``worst``, the smallest stretch first."""
        candidates = candidates.to(chosen.pixels.device)
        moved = candidates - chosen.pixels
        some = moved.flatten(1).abs().amax(dim=1).cpu() > 0
        for stretch in STRETCHES if classifier.stochastic else STRETCHES[:1]:
            longer = candidates if stretch == 1 else (chosen.pixels + stretch * moved).clamp(0.0, 1.0)
            distances = self.threat.distances(longer, chosen.pixels).cpu()
            fooled = ~self._right(classifier, chosen, longer, self.select_draws, "confirm")
            taken = some & fooled & (distances < nearest) & (distances <= self.threat.eps)
            nearest[taken] = distances[taken]
            worst[taken] = longer[taken]

    def _right(
        self, classifier: Classifier, chosen: Chosen, candidates: Float[Tensor, "n 3 y x"], draws: int, purpose: str
    ) -> Tensor:
        """Return whether the majority of draws, the same whatever the candidates are, classifies correctly."""
        chunks = zip(candidates.split(self.chunk), chosen.index.split(self.chunk), strict=True)
        predictions: Int64[Tensor, "k n"] = predictions_over_draws(classifier, chunks, draws, "distance", purpose)
        return right_by_vote(predictions, chosen.labels.cpu())

    def _metrics(self, distances: Float[Tensor, " n"], draws: int) -> dict[str, Metric]:
        n = len(distances)
        median, low, high = median_interval(distances.clamp_max(self.threat.eps).tolist())

        def share(value: float) -> Metric:
            return Metric(value, *wilson(value, n), n, draws)

        accuracies = {f"accuracy_{_named(eps)}": share(accuracy_at(distances, eps)) for eps in self.grid}
        return {
            "median_distance": Metric(median, low, high, n, draws, unit="pixels"),
            "never_fooled": share(float(distances.isinf().double().mean())),
            "clean_accuracy": share(accuracy_at(distances, 0.0)),
            **accuracies,
        }


def _named(eps: float) -> str:
    return shown_eps(eps).replace("/", "_")


def accuracy_at(distances: Float[Tensor, " n"], eps: float) -> float:
    """Return the share of images that have no mistake within eps; ``inf`` is the distance of one never fooled."""
    return float((distances > eps).double().mean())


def curve(distances: Float[Tensor, " n"], largest: float) -> dict[str, list[float]]:
    """Return the accuracy against eps, at 0, at each distance where it falls, and at the largest."""
    ends = sorted({0.0, *(each for each in distances.tolist() if each < torch.inf), largest})
    return {"eps": ends, "accuracy": [accuracy_at(distances, eps) for eps in ends]}
