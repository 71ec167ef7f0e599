"""Protocol ``certify``: the accuracy of a smoothed network between a proof and an attack (docs/certify.md).

Randomised smoothing (Cohen, Rosenfeld and Kolter 2019, 1902.02918) proves, for each image, an l2 radius within which
the vote of a network under Gaussian noise is constant. An l2 attack on the same vote bounds its accuracy from above.
All numbers are of the smoothed network, not of the network itself.

Shapes: n images, y x pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from sslkuramoto.attacks import Attack, Ledger
from sslkuramoto.attacks.attack import AttackEntry, built
from sslkuramoto.attacks.counting import passes_of, seconds_of_passes
from sslkuramoto.attacks.ledger import ledger_for
from sslkuramoto.classifier import Classifier
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost, Passes, seconds_of
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.certificates.bound import Plan
from sslkuramoto.evaluation.certificates.bracket import Bracket
from sslkuramoto.evaluation.certificates.scores import Scored, joined, scored
from sslkuramoto.evaluation.certificates.smoothed import check_alone, smoothed, votes
from sslkuramoto.evaluation.classification.sanity import check_first_chunk
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.forward_cost import LOOKS
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.evaluation.robustness.prepared import prepared_for
from sslkuramoto.files import at_home
from sslkuramoto.noise_draws import MINIMUM_DRAWS
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.sources import code_behind
from sslkuramoto.threat import Threat
from sslkuramoto.values import Count, Mark, Positive, Repeats, checked, small

NAME = "certify"
CODE = tuple(f"evaluation/certificates/{file}.py" for file in ("bracket", "bound", "smoothed"))
"""Sources that decide what the ledger holds, besides those of every battery."""
CERTIFICATES, VOTES = "certificates", "votes on candidates"
"""Purposes of passes in an estimate."""
ALONE = 8
"""Most images that are asked whether their answers depend on one another."""
ATTACKS: tuple[AttackEntry, ...] = (
    {"name": "held_noise", "k": 16, "max_k": 16, "iterations": 40},
    {"name": "pgd", "label": "pgd-fresh", "loss": "log_margin", "momentum": 1.0, "schedule": "cosine", "noise": "fresh",
     "k": 16, "iterations": 40},
)  # fmt: skip
"""The default attacks: ascents on the clipped margin with held noise, and with noise that is new at each step."""


@small(
    sigma=[0.25],
    n0=20,
    n=20,
    radii=[0.1],
    images=4,
    draws=20,
    select_draws=20,
    attacks=[{"name": "pgd", "k": 2, "iterations": 1}],
)
@checked
class Certify(Protocol):
    """Certified accuracy of the smoothed network at some l2 radii, and what an l2 attack on it leaves.

    Args:
        sigma: standard deviations of the noise, pixels in [0,1]; each is a smoothed network of its own. One names its
            numbers plainly; of several each begins with ``sigma_SIGMA/``.
        n0: draws that choose the class of an image.
        n: most draws that bound its probability, at least n0.
        alpha: probability, for each image, that its certificate is false; also the level at which a candidate of the
            attack is confirmed.
        stages: looks at the growing draws of an image, which ends at the first one that decides it; each look takes
            alpha / stages. 1: the published procedure.
        radii: l2 radii in pixels of [0,1] at which accuracies are printed and g is attacked, > 0; radius 0 is added.
            None: half of the largest sigma, and that sigma.
        attacks: attacks on the smoothed network, as for ``robustness``; None: ascents with held and with fresh noise;
            []: none, and no bracket.
        draws: votes on each candidate, at least 20.
        select_draws: draws that choose among the candidates of an image, at least 20.
        initial: oscillators of the base network: "random" (part of its draw) or "fixed".
        images: number of images, None for all; the choice depends on the data set alone.
        split: split that the images are taken from.
        chunk: images per unit of the ledger.
        batch: draws of one image in a forward pass; it decides which draws an image gets.
        ledger: folder of the ledger, shared by processes and machines; None: ``RUN/ledger``.
    """

    name = NAME
    needs = frozenset({"head", "labels"})
    # none states a reading: these are accuracies of the vote under noise, in l2, and belong beside no robust accuracy
    columns = (
        Column("smoothed", "clean", "Smoothed network", False, 12.3, ["smoothed_accuracy"], optional=True),
        Column(
            "certified_radius", "mean certified l2 radius [pixels]", "Smoothed network", False, 12.4,
            ["mean_certified_radius"], optional=True, unit="pixels",
        ),
    )  # fmt: skip

    def __init__(
        self,
        *,
        sigma: tuple[Positive, ...] = (0.25,),
        n0: Repeats = 100,
        n: Repeats = 10_000,
        alpha: Annotated[float, Field(gt=0, lt=1)] = 0.001,
        stages: Annotated[int, Field(ge=1, le=20)] = 1,
        radii: tuple[Positive, ...] | None = None,
        attacks: list[AttackEntry] | None = None,
        draws: Repeats = 1000,
        select_draws: Annotated[Repeats, Field(ge=MINIMUM_DRAWS)] = 32,
        initial: Literal["random", "fixed"] = "random",
        images: Count | None = 500,
        split: Literal["test", "val"] = "test",
        chunk: Annotated[Count, Mark.INCIDENTAL] = 20,
        batch: Annotated[Count, Mark.INCIDENTAL] = 250,
        ledger: Annotated[str | None, Mark.INCIDENTAL] = None,
    ) -> None:
        self.options = options_of(locals())
        for key, values in {"sigma": sigma, "radii": radii}.items():
            if values is not None and not values:
                raise UserError(f"{key}=[]: must name at least one")
            if values and len({f"{value:g}" for value in values}) < len(values):
                raise UserError(f"{key}={self.options[key]}: two are shown as the same number")
        if n < n0:
            raise UserError(f"n={n}: must be at least n0={n0}, the draws that only choose the class")
        if draws >= MINIMUM_DRAWS and 0.5**draws > alpha:  # fewer are refused as by every protocol, when it measures
            raise UserError(f"draws={draws}: no vote of so few confirms a candidate at alpha={alpha:g}; raise draws")
        self.radii = sorted((max(sigma) / 2, max(sigma)) if radii is None else radii)
        self.plans = [Plan(each, n0, n, alpha, stages, self.radii[-1]) for each in sigma]
        widest = max(self.plans, key=lambda plan: plan.largest)
        if widest.largest < self.radii[-1]:
            raise UserError(
                f"radii={self.radii[-1]:g}: n={n} draws at alpha={alpha:g} show at most {widest.largest:.3g}, with "
                f"sigma={widest.sigma:g}; raise n or sigma, or leave it out"
            )
        self.attacks = built([*ATTACKS] if attacks is None else attacks)
        self.draws, self.select_draws = draws, select_draws
        self.initial: Literal["random", "fixed"] = initial
        self.images, self.split, self.chunk, self.batch, self.ledger = images, split, chunk, batch, ledger
        self.splits = (split,)

    def measure(self, subject: Subject) -> Result:
        """Certify and attack.

        Raises:
            UserError: no classifier, one whose answer to an image depends on the others of its batch, too few images,
                an attack that cannot be run, a foreign ledger.
        """
        base, chosen = self._base(subject)
        check_first_chunk(base, chosen.pixels[: self.chunk], chosen.index[: self.chunk], NAME)
        check_alone(smoothed(base, self.plans[0].sigma), chosen.pixels[:ALONE])
        ready = [prepared_for(subject, smoothed(base, plan.sigma), chosen, self.attacks) for plan in self.plans]
        data = described(chosen.images, len(chosen.index))
        result = Result({}, self.options, data, start_of(subject.encoder, self.initial))
        result.per_image["index"] = chosen.index.tolist()
        parts: list[Scored] = []
        for plan, (attacks, notes) in zip(self.plans, ready, strict=True):
            parts.append(self._scored(subject, base, chosen, data, plan, attacks, notes))
            for line in parts[-1].lines:
                subject.report(line)
        joined(result, parts)
        return result

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return an upper bound of the cost on this device, all sigma together; certifies and attacks nothing."""
        base, chosen = self._base(subject)
        assert chosen.images.classes is not None
        count, classes, side = len(chosen.index), len(chosen.images.classes), tuple(chosen.pixels.shape[2:])
        passes = {CERTIFICATES: Passes(count * len(self.plans) * (self.plans[0].n0 + self.plans[0].n))}
        for plan in self.plans:
            classifier, radii = smoothed(base, plan.sigma), self._radii(plan)
            attacks, _ = prepared_for(subject, classifier, chosen, self.attacks)
            for attack in attacks:
                each = passes_of(attack, classifier, classes, cast(tuple[int, int], side), "l2")
                times = count * len(radii) * attack.restarts
                each = each.plus(Passes(self.select_draws))
                passes[attack.label] = passes.get(attack.label, Passes(0)).plus(each, times)
            if attacks:
                voting = Passes((1 + len(radii)) * (plan.n0 + self.draws))
                passes[VOTES] = passes.get(VOTES, Passes(0)).plus(voting, count)
                looks = Passes(len(radii) * self.select_draws)
                passes["clean images"] = passes.get("clean images", Passes(0)).plus(looks, count)
        first = min(self.chunk, count)
        checks = LOOKS * first + 3 * max(2, min(ALONE, count))  # as they are, and in two other companies
        if self.attacks:  # each battery looks once, too
            checks += first * sum(1 + len(self._radii(plan)) for plan in self.plans)
        passes["first images"] = Passes(checks)
        own = smoothed(base, self.plans[0].sigma)
        forward, backward = seconds_of_passes(own, chosen.pixels[: self.chunk])

        def asked(few: int) -> None:  # with states of their own, which a plain network answers one by one
            votes(own, chosen.pixels[0], few, few, "cost")

        vote = seconds_of(asked, self.batch, subject.device)
        seconds = sum(
            each.forward * (vote if name in (CERTIFICATES, VOTES) else forward) + each.backward * backward
            for name, each in passes.items()
        )
        notes = ["images that are decided at an early look cost less"] if self.plans[0].stages > 1 else []
        return [("", Cost(count, passes, seconds, notes, early=bool(self.attacks)))]

    def _base(self, subject: Subject) -> tuple[Classifier, Chosen]:
        if self.draws < MINIMUM_DRAWS:
            raise UserError(
                f"draws={self.draws}: must be at least {MINIMUM_DRAWS}, since a smoothed network draws noise at every "
                "forward pass"
            )
        return classifier_of(subject, self.initial), chosen_images(subject, self.split, self.images, self.chunk)

    def _radii(self, plan: Plan) -> list[float]:
        """Return the radii that draws of this sigma can show."""
        return [radius for radius in self.radii if radius <= plan.largest]

    def _scored(
        self,
        subject: Subject,
        base: Classifier,
        chosen: Chosen,
        data: Mapping[str, Any],
        plan: Plan,
        attacks: Sequence[Attack],
        notes: Sequence[str],
    ) -> Scored:
        own = smoothed(base, plan.sigma)
        parts = (chosen.pixels, chosen.labels, chosen.index)
        bracket = Bracket(own, *parts, plan, self.draws, self.chunk, self.batch, subject.report)

        def ledger_at(radius: float, index: Int64[Tensor, " r"]) -> Ledger:
            shared = {"sigma": plan.sigma, "initial": self.initial, "chunk": self.chunk, "code": code_behind(*CODE)}
            return ledger_for(
                subject.network,
                subject.code,
                at_home(self.ledger) if self.ledger else subject.run_dir / "ledger",
                inside=self.ledger is None,
                seed=subject.seed,
                device=subject.device,
                threat=Threat("l2", radius),
                data=data,
                index=index,
                mode={"protocol": NAME, "select_draws": self.select_draws, **shared},
            )

        certificates = bracket.certificates(ledger_at(0.0, chosen.index))
        radii = self._radii(plan)
        at, again, gone = None, list[int](), list[int]()
        if attacks:
            at, worst = bracket.attacked(radii, attacks, self.select_draws, ledger_at)
            again, gone = bracket.examined(certificates, at, worst)
        labels = chosen.labels.cpu()
        prefix = f"sigma_{plan.sigma:g}/" if len(self.plans) > 1 else ""
        left_out = [f"{radius:g}" for radius in self.radii if radius not in radii]
        more = [*notes]
        if left_out:
            more.append(f"sigma {plan.sigma:g} shows at most {plan.largest:.3g}: no number at {', '.join(left_out)}")
        return scored(plan, certificates, at, labels, radii, prefix, self.draws, (again, gone), more)
