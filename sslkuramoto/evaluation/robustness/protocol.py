"""Accuracy under attack, for networks that may draw new oscillators at every forward pass.

A battery of attacks on the same images, its work kept in a ledger, and the union over attacks an image as the headline
(../shared/METHODS.md, 4 and 7). A result can hold several ways of reading the same network (``ways``): as published
(new oscillators at each forward, AutoAttack standard), with the oscillators fixed, with EoT, with EoT on held noise.

Shapes: n images, y x pixels, k draws, m stored images.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from sslkuramoto.attacks import Attack
from sslkuramoto.attacks.attack import (
    AttackEntry,
    ImpossibleAttackError,
    built,
    check_counts,
    check_name,
    reading_of,
)
from sslkuramoto.attacks.battery import CLEAN, DecidedBy, left_of_battery
from sslkuramoto.attacks.cost import cost_of, starts_of
from sslkuramoto.attacks.worst_candidate import passes_of
from sslkuramoto.classifier import Classifier, Initial
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.protocol import PROTOCOLS, Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.evaluation.robustness.union import UNION, join
from sslkuramoto.evaluation.robustness.way import NOTHING, Way
from sslkuramoto.noise_draws import check_draws, draws_for
from sslkuramoto.registry import options_of
from sslkuramoto.results import Reading, Result
from sslkuramoto.threat import Norm, Threat, parse_eps

NAME = "robustness"
GROUP = "Robust accuracy"


class Robustness(Protocol):
    """Share of images that stay right inside the ball, as far as these attacks can tell (an upper bound).

    Args:
        attacks: in order; each a name or ``{name: NAME, OPTION: VALUE}`` (``sslkuramoto list attacks``).
        norm: "linf" or "l2".
        eps: radius in pixels of [0,1]: a number or a fraction such as "8/255". 0 gives exactly the clean accuracy.
        initial: how the oscillators start, in attack and score: "random", "fixed", "fixed_per_image" or "averaged".
        average: draws behind a forward of "averaged".
        decided_by: when an image counts as broken and is left alone: by "one draw" (AutoAttack) or by the "majority".
        chained: whether an attack sees only the images that the earlier ones left standing.
        images: how many images are attacked, None for all: a choice that depends on the set alone, so that all runs
            are attacked on the same images.
        split: where they come from.
        chunk: images a unit of the ledger and a forward pass; it decides which noise an image meets.
        draws: fresh draws that score a stochastic network, at least 20.
        select_draws: other fresh draws that decide which candidate of an image is the worst and whether it is broken;
            more than score it, since the lowest of several noisy shares is too low and its choice too random.
        control: images on which all attacks run with eps = 0 too, which must change nothing; 0 for none.
        store: adversarial images that are written beside the result, for pictures; 0 for none.
        ledger: folder of the ledger, shared by processes and machines; None: ``RUN/ledger``.
        ways: name -> options that replace those above; every way is measured and its metrics read WAY/METRIC. The
            headline is union/robust_accuracy: the worst that any attack of any way found for an image, on the first
            way's network; all candidates compete on the same draws.
    """

    columns = (
        Column("clean", "clean accuracy", "Finetuned", False, 6.2, ["clean_accuracy", "published/clean_accuracy"]),
        Column("robust_as_published", "as published", GROUP, False, 7, reading="as published"),
        Column("robust_fixed", "fixed oscillators", GROUP, False, 8, reading="fixed"),
        Column("robust_eot", "EoT", GROUP, False, 9, reading="EoT"),
        Column("robust_held", "adaptive", GROUP, False, 10, reading="adaptive"),
        Column("robust_union", "union of all", GROUP, False, 11, reading="union"),
    )

    def __init__(
        self,
        *,
        attacks: list[AttackEntry] | None = None,
        norm: Norm = "linf",
        eps: float | str = "8/255",
        initial: Initial = "random",
        average: int = 8,
        decided_by: DecidedBy = "majority",
        chained: bool = True,
        images: int | None = 1000,
        split: Literal["test", "val"] = "test",
        chunk: int = 100,
        draws: int = 20,
        select_draws: int = 100,
        control: int = 4,
        store: int = 0,
        ledger: str | None = None,
        ways: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.options = options_of(locals())
        check_counts(images=images, average=average, chunk=chunk)
        for key, value in {"control": control, "store": store}.items():
            if value < 0:
                raise UserError(f"{key}={value}: must be at least 0")
        if not attacks and not ways:
            raise UserError("attacks: name at least one (see sslkuramoto list attacks)")
        self.threat = Threat(norm, parse_eps(eps, norm))
        self.attacks = built(attacks or [])
        self.initial: Initial = initial
        self.decided_by: DecidedBy = decided_by
        self.average, self.chained = average, chained
        self.images, self.split, self.chunk = images, split, chunk
        self.draws, self.select_draws = check_draws(draws), check_draws(select_draws)
        self.control, self.store, self.ledger = control, store, ledger
        self.ways = {name: self._way(name, options) for name, options in (ways or {}).items()}

    def _way(self, name: str, options: dict[str, Any]) -> "Robustness":
        check_name("ways", name)
        if name == UNION:
            raise UserError(f"ways.{name}: is the name of the union of all ways; choose another")
        if taken := [key for key in ("images", "split", "ledger", "ways") if key in options]:
            raise UserError(f"ways.{name}: {taken[0]} is the same for all ways")
        base = {**self.options, "ways": None}
        try:
            return Robustness(**{**base, **PROTOCOLS.check(NAME, options)})
        except UserError as error:
            raise UserError(f"ways.{name}: {error}") from None

    def measure(self, subject: Subject) -> Result:
        """Attack and score.

        Raises:
            UserError: no classifier, no labels, too few images, an attack that cannot be run, a foreign ledger.
        """
        chosen = self._chosen(subject)
        # whatever is wrong with one way is said before the first has taken hours
        ways = self._ready(subject, chosen, described(chosen.images, len(chosen.index)))
        if not self.ways:
            result, _ = ways[0].measure()
            result.per_image = {"index": chosen.index.tolist(), **result.per_image}
            return result

        start = start_of(subject.encoder, "+".join(dict.fromkeys(way.initial for way in ways)))
        joined = Result({}, self.options, ways[0].data, start, {"index": chosen.index.tolist()})
        done: dict[str, tuple[str, Result]] = {}
        found: dict[str, list[Tensor]] = {}
        for way in ways:
            subject.report(f"way {way.name}")
            key = repr(self.ways[way.name]._essence(subject.encoder.stochastic))
            if key in done:
                twin, result = done[key]
                joined.notes.append(f"{way.name}: the same as {twin}, the network is deterministic")
            else:
                result, found[way.name] = way.measure()
                joined.notes.extend(f"{way.name}: {note}" for note in result.notes)
                done[key] = way.name, result
            robust = replace(result.metrics["robust_accuracy"], reading=way.reading)  # a twin has its own
            metrics = {**result.metrics, "robust_accuracy": robust}
            joined.metrics.update({f"{way.name}/{metric}": value for metric, value in metrics.items()})
            joined.per_image.update({f"{way.name}/{entry}": values for entry, values in result.per_image.items()})
            joined.details[way.name] = result.details
        join(joined, ways, found)
        return joined

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return for each way what it costs at most on this device, after timing a few passes; attacks nothing."""
        chosen = self._chosen(subject)
        ways = self._ready(subject, chosen, described(chosen.images, len(chosen.index)))
        costs = []
        first = ways[0]
        stochastic = first.classifier.stochastic
        draws_union, select_union = (draws_for(stochastic, k) for k in (first.draws, first.select_draws))
        sets = 0
        for way in ways:
            attacks, classifier = way.attacks, way.classifier
            draws, select = (draws_for(classifier.stochastic, k) for k in (way.draws, way.select_draws))
            cost = cost_of(classifier, attacks, chosen.pixels[: way.chunk], len(chosen.index), draws, select)
            few = min(way.control, cost.images)
            control = math.ceil(few * (select + 2 + 2 * draws) / cost.images)  # clean images judged, both scored
            union, before, sets = 0, sets, sets + len(attacks)
            if self.ways:  # what its candidates add to the choice
                union = passes_of(sets, select_union, stochastic=stochastic)
                union -= passes_of(before, select_union, stochastic=stochastic)
                union += draws_union * (1 + bool(first.store)) if way is first else 0
                union = math.ceil(union * starts_of(first.classifier) / cost.starts)
            left, whole = self._left(way), cost.images + few
            shares = {attack.label: left[attack.label] / (attack.restarts * whole) for attack in attacks}
            spared = (whole - left[CLEAN]) * select
            scoring = cost.scoring + control + union
            costs.append((way.name, cost._replace(scoring=scoring, control=few, left=shares, spared=spared)))
        return costs

    def _left(self, way: Way) -> Counter[str]:
        """Return what the ledger does not hold of the attacks and of their control."""
        options = {"threat": way.threat, "chunk": way.chunk, "decided_by": way.decided_by, "chained": way.chained}
        nowhere = {"threat": Threat(way.threat.norm, 0.0), "chunk": way.control, **NOTHING}
        left = Counter[str]()
        count = len(way.chosen.index)
        for images, changed, own in ((count, {}, options), (way.control, way.without_room(), nowhere)):
            if images:
                pixels, labels, index = (part[:images] for part in way.chosen[:3])
                ledger = way.ledger(index, changed, reading=True)
                common = {"seed": way.subject.seed, "draws": way.select_draws, "ledger": ledger}
                left += left_of_battery(way.classifier, pixels, labels, way.attacks, **common, **own)
        return left

    def _essence(self, stochastic: bool) -> dict[str, Any]:
        """Return the options that matter for a network: a deterministic one is the same however it starts."""
        idle = () if stochastic else ("initial", "average", "decided_by", "draws", "select_draws")
        return {key: value for key, value in self.options.items() if key not in idle}

    def _classifier(self, subject: Subject) -> Classifier:
        return classifier_of(subject, NAME, self.initial, average=self.average)

    def _chosen(self, subject: Subject) -> Chosen:
        self._classifier(subject)  # before images are read
        return chosen_images(subject, NAME, self.split, self.images, self.chunk)

    def _ready(self, subject: Subject, chosen: Chosen, data: dict[str, Any]) -> list[Way]:
        """Return the ways, with everything built that attacks and scores need.

        Raises:
            UserError: too few draws, an attack that cannot be run, a way of which none can.
        """
        return [way._built(name, subject, chosen, data) for name, way in (self.ways or {"": self}).items()]

    def _built(self, name: str, subject: Subject, chosen: Chosen, data: dict[str, Any]) -> Way:
        classifier = self._classifier(subject)
        for draws in (self.draws, self.select_draws):
            draws_for(classifier.stochastic, draws)
        assert chosen.images.classes is not None
        target = attack_target(subject, len(chosen.images.classes))
        ready: list[Attack] = []
        taken: list[Attack] = []
        notes: list[str] = []
        for attack in self.attacks:
            try:
                ready.append(attack.prepared(target))
            except ImpossibleAttackError as reason:
                notes.append(str(reason))
                continue
            ready[-1].check_source(chosen.pixels[:1])
            notes += ready[-1].notes
            taken.append(attack)
        if not ready:
            raise UserError(f"no attack is left: {'; '.join(notes)}")
        return Way(
            name=name,
            subject=subject,
            chosen=chosen,
            data=data,
            options=self.options,
            classifier=classifier,
            attacks=ready,
            notes=notes,
            reading=self._reading(taken, subject.encoder, alone=not name),
            threat=self.threat,
            initial=self.initial,
            decided_by=self.decided_by,
            chained=self.chained,
            chunk=self.chunk,
            draws=self.draws,
            select_draws=self.select_draws,
            control=self.control,
            store=self.store,
            ledger_folder=self.ledger,
        )

    def _reading(self, attacks: Sequence[Attack], encoder: Encoder, *, alone: bool) -> Reading | None:
        """Return what kind of number the attacks lead to, as they and the start of the oscillators are written.

        A network without noise can be read in one way only, and a result of its own says so. Among several ways each
        keeps the reading that is written, so that networks with and without noise stand beside each other.
        """
        reading, initial = reading_of(attacks), str(self.initial)
        if reading and alone and not encoder.stochastic:
            return "fixed" if start_of(encoder) == "fixed" else "as published"
        if reading and initial == "fixed":
            return "fixed"
        return reading if initial == "random" else None
