"""Protocol ``distance``: how far the nearest mistake of each image lies.

Minimal-norm attacks propose one candidate per image. A distance at which a mistake was found is an upper bound of the
true distance. Of a stochastic network other draws than those of the search decide whether a candidate is a mistake
(docs/evaluation.md): the vote of the draws that score clean images must be wrong, and that of selection draws wrong
beyond chance (one-sided sign test, 5 %), or luck would decide where half of the draws err. The perturbation gets the
shortest length at which both are (:mod:`~sslkuramoto.evaluation.robustness.ray`).

The share of images whose distance exceeds eps is the accuracy against eps: one run yields the whole curve.

Shapes: n images, y x pixels, k draws.
"""

from copy import copy
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks import Attack, Ledger, run_battery
from sslkuramoto.attacks.attack import AttackEntry, built
from sslkuramoto.attacks.battery import is_held
from sslkuramoto.attacks.counting import Charged
from sslkuramoto.attacks.ledger import ledger_for
from sslkuramoto.classifier import Classifier, Initial, check_noiseless, predictions_over_draws
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.evaluation.rehearsal import account_of, rehearsed
from sslkuramoto.evaluation.robustness.prepared import prepared_for
from sslkuramoto.evaluation.robustness.ray import LOOKS, nearest_on_rays
from sslkuramoto.files import at_home
from sslkuramoto.noise_draws import draws_for, right_by_vote, votes
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import at_least, median_interval, wilson
from sslkuramoto.threat import Norm, Threat, parse_eps, shown_eps
from sslkuramoto.values import Count, Mark, Repeats, checked, small

BY_CHANCE = 0.05
"""Probability of a confirmation by selection draws where label and other class are equally likely."""


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
        draws: draws of a stochastic network whose vote must then err, and that score clean images, at least 20.
        select_draws: other draws, which must show beyond chance that a perturbation makes a mistake.
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
            UserError: no classifier, no labels, too few images or draws, no attack that can be run.
        """
        classifier, chosen, attacks, notes = self._ready(subject)
        found = run_battery(
            classifier,
            *chosen[:2],
            attacks,
            index=chosen.index,
            ledger=self._ledger(subject, chosen),
            keep=True,
            report=subject.report,
            **self._battery(subject),
        )
        nearest = torch.full((len(chosen.index),), torch.inf)
        worst = chosen.pixels.clone()
        right = self._right(classifier, chosen, chosen.pixels)
        for candidates in found.candidates.values():
            kept = torch.where(right.to(worst.device)[:, None, None, None], candidates.to(worst.device), chosen.pixels)
            self._take_nearer(classifier, chosen, kept, nearest, worst)
        check_noiseless(classifier, worst, chosen.index, self.chunk)
        distances = nearest.where(right, 0.0)
        subject.keep("adversarial", worst.cpu())
        result = Result(
            metrics=self._metrics(distances, draws_for(classifier.stochastic, self.draws)),
            options=self.options,
            data=described(chosen.images, len(chosen.index)),
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

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return an upper bound of the cost on this device; attacks nothing.

        One image of a small stand-in network is measured by attacks that only count their passes. Passes of the network
        itself are timed.
        """
        classifier, chosen, attacks, _ = self._ready(subject)
        ledger = self._ledger(subject, chosen, reading=True)
        held = is_held(classifier, *chosen[:2], attacks, ledger=ledger, **self._battery(subject))
        account, own = account_of(classifier, chosen), copy(self)
        own.images, own.ledger = 1, None
        own.attacks = [Charged(attack, account, attack.label, free=held) for attack in attacks]
        with rehearsed(subject, account, len(chosen.index)) as small:
            own.measure(small)
        notes = ["attacks: all work is in the ledger already and costs nothing"] if held else []
        return [("", account.cost(chosen.pixels[: self.chunk], len(chosen.index), notes))]

    def _ready(self, subject: Subject) -> tuple[Classifier, Chosen, list[Attack], list[str]]:
        """Return the classifier, the images, the attacks, and sentences about attacks that are skipped or changed."""
        classifier = classifier_of(subject, self.initial, average=self.average)
        for option in ("draws", "select_draws"):
            draws_for(classifier.stochastic, draws := getattr(self, option), f"{option}={draws}")
        chosen = chosen_images(subject, self.split, self.images, self.chunk)
        return classifier, chosen, *prepared_for(subject, classifier, chosen, self.attacks)

    def _battery(self, subject: Subject) -> dict[str, Any]:
        """Return the options of a battery that every look at it shares: each attack sees every image."""
        options = {"threat": self.threat, "seed": subject.seed, "chunk": self.chunk, "draws": self.select_draws}
        return {**options, "decided_by": "majority", "chained": False}

    def _ledger(self, subject: Subject, chosen: Chosen, *, reading: bool = False) -> Ledger:
        mode = {"chunk": self.chunk, "initial": self.initial, "average": self.average, "chained": False}
        return ledger_for(
            subject.network,
            subject.code,
            at_home(self.ledger) if self.ledger else subject.run_dir / "ledger",
            inside=self.ledger is None,
            seed=subject.seed,
            device=subject.device,
            threat=self.threat,
            data=described(chosen.images, len(chosen.index)),
            index=chosen.index,
            mode={**mode, "decided_by": "majority", "select_draws": self.select_draws},
            reading=reading,
        )

    def _take_nearer(
        self, classifier: Classifier, chosen: Chosen, candidates: Tensor, nearest: Tensor, worst: Tensor
    ) -> None:
        """Put the confirmed points that are nearer than ``nearest`` into ``worst``."""

        def mistaken(points: Tensor) -> Tensor:
            wrong = ~self._right(classifier, chosen, points)
            return wrong & self._confirmed(classifier, chosen, points) if classifier.stochastic else wrong

        looks = LOOKS if classifier.stochastic else 1
        points, distances = nearest_on_rays(candidates, chosen.pixels, self.threat, mistaken, looks=looks)
        taken = distances < nearest.to(distances.device)
        worst[taken] = points[taken]
        nearest[taken.cpu()] = distances[taken].cpu()

    def _right(self, classifier: Classifier, chosen: Chosen, candidates: Float[Tensor, "n 3 y x"]) -> Tensor:
        """Return whether the vote of the scoring draws is right."""
        predictions = self._predictions(classifier, chosen, candidates, self.draws, "score")
        return right_by_vote(predictions, chosen.labels.cpu())

    def _confirmed(self, classifier: Classifier, chosen: Chosen, candidates: Float[Tensor, "n 3 y x"]) -> Tensor:
        """Return whether the vote of the selection draws is wrong beyond chance."""
        predictions = self._predictions(classifier, chosen, candidates, self.select_draws, "confirm")
        own, other = (counts.tolist() for counts in votes(predictions, chosen.labels.cpu()))
        return torch.tensor([at_least(b, a + b, 0.5) <= BY_CHANCE for a, b in zip(own, other, strict=True)])

    def _predictions(
        self, classifier: Classifier, chosen: Chosen, candidates: Float[Tensor, "n 3 y x"], draws: int, purpose: str
    ) -> Int64[Tensor, "k n"]:
        """Classify with the same draws whatever the candidates are."""
        chunks = zip(candidates.split(self.chunk), chosen.index.split(self.chunk), strict=True)
        return predictions_over_draws(classifier, chunks, draws, "distance", purpose)

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
