"""Protocol ``feature_attack``: how far an attack without labels moves the features of an encoder.

It needs no head. Away: the feature of each image leaves its own clean feature, the attack of FARE (Schlarmann et al.
2024, 2402.12336). Towards: it approaches the feature of another image, as in Sabour et al. 2016 (1511.05122).

The draws of a stochastic encoder are held during an ascent. Fresh draws score the result, and the difference of the
encoder from itself without an attack (eps 0) is stated beside it.

Shapes: n images, y x pixels, k draws, d features, m images of the split.
"""

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.attacks import Work
from sslkuramoto.attacks.counting import seconds_of_passes
from sslkuramoto.attacks.feature_objective import (
    Direction,
    Distance,
    FeatureObjective,
    compared,
    held_fields,
    passes_of_fields,
    pooled_under,
)
from sslkuramoto.attacks.gradients import CUT
from sslkuramoto.attacks.held_noise import Optimiser, climb
from sslkuramoto.attacks.ledger import Unit, ledger_for
from sslkuramoto.classifier import Classifier, check_deterministic, check_noiseless, frozen
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost, Passes
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import chosen_indices, pixels_of
from sslkuramoto.evaluation.forward_cost import LOOKS, features_cost
from sslkuramoto.evaluation.protocol import Protocol, Subject, described, start_of
from sslkuramoto.evaluation.representation.features import split_features, split_values
from sslkuramoto.evaluation.representation.knn import check_neighbours, knn_predict
from sslkuramoto.evaluation.robustness.feature_scores import Clean, add_scores, curves
from sslkuramoto.evaluation.robustness.units import units_of
from sslkuramoto.files import at_home
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.sources import code_behind
from sslkuramoto.threat import Norm, Threat, check_images, parse_eps
from sslkuramoto.values import Count, Mark, Repeats, checked, small

NAME = "feature_attack"
CODE = "evaluation/robustness/feature_attack.py"
"""The source that decides, with the attacks that it imports, what the ledger holds."""
RADII = {"linf": ["2/255", "4/255", "8/255"], "l2": [0.125, 0.25, 0.5]}
"""Default radii of each norm; the largest are the usual ones of robust accuracy."""
BY_NORM = {"eps": ("norm", RADII)}


@small(eps=[0.1], images=4, iterations=2, k=2, neighbours=5)
@checked
class FeatureAttack(Protocol):
    """Similarity of attacked and clean features against eps, top-1 retrieval and, with labels, k-NN accuracy.

    Args:
        direction: "away" from the image's own clean feature, or "towards" that of another image, its partner in a
            permutation that is drawn by the seed and leaves no image in its place.
        distance: what the attack changes: "l2", the length of the difference of two features, or "cosine".
        norm: "linf" or "l2", of the pixels.
        eps: radii in pixels of [0,1], numbers or fractions such as "8/255"; None: 2, 4 and 8/255 in linf, 0.125, 0.25
            and 0.5 in l2. Each is attacked anew; radius 0 is added.
        optimiser: "momentum", which steps along the sum of all gradients so far, or "apgd".
        iterations: steps of each ascent.
        k: held draws of a stochastic encoder in an ascent; as many others make up the clean feature.
        images: number of attacked images, None for all; the choice depends on the data set alone.
        split: split that the images are taken from; all its images are candidates of the retrieval.
        chunk: images per unit of the ledger and per forward pass.
        draws: passes over clean and attacked images with a stochastic encoder, at least 20.
        neighbours: voters of the k-NN accuracy, at most the size of the training set; None: no k-NN.
        ledger: folder of the ledger; None: ``RUN/ledger``.
    """

    name = NAME
    needs = frozenset({"features"})
    by_option = BY_NORM
    # no robust accuracy: nothing is classified by a head, and no reading is stated
    columns = (
        Column(
            "feature_attack", "still nearest to itself", "Attacked features", True, 2.7,
            ["retrieved_8_255", "retrieved_0.1"], optional=True, made_with=(("direction", "away"),),
        ),
        Column(
            "feature_attack_knn", "k-NN", "Attacked features", True, 2.8,
            ["knn_accuracy_8_255", "knn_accuracy_0.1"], optional=True, made_with=(("direction", "away"),),
        ),
    )  # fmt: skip

    def __init__(
        self,
        *,
        direction: Direction = "away",
        distance: Distance = "l2",
        norm: Norm = "linf",
        eps: tuple[float | str, ...] | None = None,
        optimiser: Optimiser = "momentum",
        iterations: Repeats = 100,
        k: Repeats = 16,
        images: Count | None = 1000,
        split: Literal["test", "val"] = "test",
        chunk: Annotated[Count, Mark.INCIDENTAL] = 100,
        draws: Repeats = 20,
        neighbours: Count | None = 20,
        ledger: Annotated[str | None, Mark.INCIDENTAL] = None,
    ) -> None:
        eps = tuple(RADII[norm]) if eps is None else eps
        self.options = options_of(locals())
        radii = [parse_eps(each, norm) for each in eps]
        if not radii or min(radii) == 0:
            raise UserError(f"eps={list(eps)}: name at least one radius, each above 0")
        if len(set(radii)) < len(radii):
            raise UserError(f"eps={list(eps)}: must not contain the same radius twice")
        self.threats = [Threat(norm, each) for each in sorted(radii)]
        self.direction: Direction = direction
        self.distance: Distance = distance
        self.optimiser: Optimiser = optimiser
        self.iterations, self.k, self.images, self.split, self.chunk = iterations, k, images, split, chunk
        self.draws, self.neighbours, self.ledger = draws, neighbours, ledger
        self.splits = (split,)

    def measure(self, subject: Subject) -> Result:
        """Attack and score.

        Raises:
            UserError: too few images, pixels outside [0,1], features that are not finite, an encoder that draws and
                does not say so, a foreign ledger.
        """
        images = subject.images(self.split)
        index = chosen_indices(images, self.images)
        self._check_counts(subject, len(index))
        draws_for(subject.encoder.stochastic, self.draws)
        pixels = pixels_of(subject, images, index, self.chunk)
        network = Classifier(subject.encoder, nn.Identity(), seed=subject.seed)
        self._check(network, pixels[: self.chunk])
        values, _ = split_values(subject, self.split, draws=self.draws)
        notes = [f"retrieval is among the clean features of all {len(images)} images of {self.split}"]
        clean = Clean(values, index, self._partner(subject, len(index)), self.distance)
        if self.neighbours is not None and images.labels is not None:
            clean = self._with_labels(subject, clean, images.labels[index])
        else:
            notes.append("no k-NN accuracy: " + ("neighbours=null" if self.neighbours is None else "no labels"))
        if subject.encoder.stochastic:
            notes.append("attacked and clean features are of different draws: eps 0 is the encoder's own difference")
        result = Result(
            metrics={},
            options=self.options,
            data=described(images, len(index)),
            initial=start_of(subject.encoder),
            per_image={"index": index.tolist()},
            notes=notes,
        )
        if clean.partner is not None:
            result.per_image["target"] = index[clean.partner].tolist()
        radii = [0.0, *(threat.eps for threat in self.threats)]
        with frozen(subject.encoder):
            add_scores(result, clean, self._features(network, pixels), 0.0)
            references = self._references(subject, pixels)
            if clean.partner is not None:
                references = references[clean.partner.to(references.device)]
            for threat in self.threats:
                attacked = self._attacked(subject, pixels, index, references, threat, result)
                check_noiseless(network, attacked, index, self.chunk)
                add_scores(result, clean, self._features(network, attacked), threat.eps)
        subject.keep("adversarial", attacked.cpu())
        norm = {"linf": "l-inf", "l2": "l2"}[self.threats[0].norm]
        result.details["curves"] = curves(result, radii, f"{norm} radius (pixels)", f"attack {self.direction}")
        return result

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return an upper bound of the cost on this device after timing a few passes; attacks nothing."""
        images = subject.images(self.split)
        index = chosen_indices(images, self.images)
        self._check_counts(subject, len(index))
        few = pixels_of(subject, images, index[: self.chunk], self.chunk)
        stochastic, n, radii = subject.encoder.stochastic, len(index), len(self.threats)
        k, draws = (self.k, draws_for(True, self.draws)) if stochastic else (1, 1)
        passes = {
            "first images": Passes(len(few) * LOOKS),
            "clean features of the attack": Passes(n * k),
            "attack": Passes(n * radii * k, n * radii * k * self.iterations),
            "attacked images, twice": Passes(0 if stochastic else 2 * n * radii),
            "scoring": Passes(n * (radii + 1) * draws),
        }
        network = Classifier(subject.encoder, nn.Identity(), seed=subject.seed)
        forward, backward = seconds_of_passes(network, few)
        seconds = sum(each.forward * forward + each.backward * backward for each in passes.values())
        known = [("train", features_cost(subject, "train"))] if self.neighbours and images.labels is not None else []
        return [(self.split, features_cost(subject, self.split, self.draws)), *known, (NAME, Cost(n, passes, seconds))]

    def _check_counts(self, subject: Subject, n: int) -> None:
        if self.direction == "towards" and n < 2:
            raise UserError("feature_attack: direction=towards needs at least two images")
        if self.neighbours is not None and subject.images(self.split).labels is not None:
            check_neighbours(subject, self.neighbours, NAME)

    def _check(self, network: Classifier, pixels: Float[Tensor, "b 3 y x"]) -> None:
        check_images(pixels)
        with torch.no_grad():
            features = network(pixels, draw=generator(pixels.device, network.seed, NAME, "check"))
        if not bool(features.isfinite().all()):
            raise UserError("feature_attack: the encoder returns features that are NaN or infinite")
        check_deterministic(network, pixels)

    def _partner(self, subject: Subject, n: int) -> Int64[Tensor, " n"] | None:
        """Return the place of each image's target: one cycle through all images in a random order."""
        if self.direction == "away":
            return None
        order = torch.randperm(n, generator=generator("cpu", subject.seed, NAME, "targets"))
        partner = torch.empty_like(order)
        partner[order] = order.roll(-1)
        return partner

    def _with_labels(self, subject: Subject, clean: Clean, labels: Int64[Tensor, " n"]) -> Clean:
        """Add the k-NN classifier of the training features, which only scores."""
        train = split_features(subject, "train")
        assert train.images.classes is not None
        assert self.neighbours is not None
        predict = partial(
            knn_predict,
            bank=train.values[0],
            labels=train.labels,
            num_classes=len(train.images.classes),
            neighbours=self.neighbours,
        )
        return replace(clean, predict=predict, labels=labels)

    @torch.no_grad()
    def _references(self, subject: Subject, pixels: Float[Tensor, "n 3 y x"]) -> Float[Tensor, "n d"]:
        """Return the clean feature of each image as the attack sees it: a mean over draws that no ascent holds."""
        encoder, found = subject.encoder, []
        for number, images in enumerate(pixels.split(self.chunk)):
            draw = partial(Work(subject.seed, number).generator, pixels.device, NAME, "reference")
            fields = held_fields(encoder, images, draw, self.k)
            passes = [pooled_under(encoder, images, part) for part in passes_of_fields(fields, len(images))]
            found.append(compared(torch.cat(passes), self.distance).mean(dim=0))
        return torch.cat(found)

    def _attacked(
        self,
        subject: Subject,
        pixels: Float[Tensor, "n 3 y x"],
        index: Int64[Tensor, " n"],
        references: Float[Tensor, "n d"],
        threat: Threat,
        result: Result,
    ) -> Float[Tensor, "n 3 y x"]:
        """Return the attacked images; those that the ledger holds are not attacked again."""
        ledger = ledger_for(
            subject.network,
            subject.code,
            at_home(self.ledger) if self.ledger else subject.run_dir / "ledger",
            inside=self.ledger is None,
            seed=subject.seed,
            device=subject.device,
            threat=threat,
            data=result.data,
            index=index,
            mode={"protocol": NAME, "chunk": self.chunk},
        )
        settings = {key: self.options[key] for key in ("direction", "distance", "optimiser", "iterations", "k")}
        settings["code"] = code_behind(CODE, rooms=("attacks",))
        device = pixels.device

        def make(rows: Int64[Tensor, " b"], number: int) -> Unit:
            own = rows.to(device)
            return self._unit(subject, pixels[own], references[own], threat, rows, number)

        label = f"features {self.direction} {threat}"
        units = units_of(ledger, label, len(pixels), self.chunk, settings, make, subject.report)
        if any(CUT in unit.noticed for unit in units):
            result.notes = list(dict.fromkeys([*result.notes, f"{CUT}: these numbers say nothing of robustness"]))
        return torch.cat([unit.candidates for unit in units]).to(device)

    def _unit(
        self,
        subject: Subject,
        images: Float[Tensor, "b 3 y x"],
        references: Float[Tensor, "b d"],
        threat: Threat,
        rows: Int64[Tensor, " b"],
        number: int,
    ) -> Unit:
        work = Work(subject.seed, number)
        fields = held_fields(subject.encoder, images, partial(work.generator, images.device, NAME, "held"), self.k)
        objective = FeatureObjective(subject.encoder, references, self.direction, self.distance, fields)
        start = threat.random_start(images, work.generator(images.device, NAME, "start"))
        candidates = climb(
            objective, images, start, threat=threat, iterations=self.iterations, optimiser=self.optimiser
        )
        threat.check(candidates, images, NAME)
        nothing = torch.zeros(0, len(rows), dtype=torch.int64)  # no draw classifies anything
        return Unit(rows, candidates.cpu(), nothing, torch.zeros(len(rows), dtype=torch.bool), objective.noticed)

    @torch.no_grad()
    def _features(self, network: Classifier, images: Float[Tensor, "n 3 y x"]) -> Float[Tensor, "k n d"]:
        """Return the features on fresh draws, the same whatever the images are."""
        draws, found = draws_for(network.stochastic, self.draws), []
        for number, part in enumerate(images.split(self.chunk)):
            noise = [generator(part.device, network.seed, NAME, "score", draw, number) for draw in range(draws)]
            found.append(network.over_draws(part, noise).float().cpu())
        return torch.cat(found, dim=1)
