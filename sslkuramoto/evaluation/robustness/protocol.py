"""Accuracy under attack, for networks that may draw new oscillators at every forward pass.

A battery of attacks runs on the same images, and a ledger stores its work. The headline is the union over attacks: each
image counts with its worst candidate (docs/evaluation.md). A result can hold several readings of the same network, the
entries of the option ``ways``: as published (new oscillators at each forward pass, AutoAttack "standard"), with fixed
oscillators, with EoT, with an adaptive attacker that holds the draws.

Shapes: n images, y x pixels, k draws, m stored images.
"""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Annotated, Any, Literal

from torch import Tensor

from sslkuramoto.attacks import Attack
from sslkuramoto.attacks.attack import (
    AttackEntry,
    ImpossibleAttackError,
    built,
    check_name,
    reading_of,
)
from sslkuramoto.attacks.battery import DecidedBy, is_held
from sslkuramoto.attacks.counting import Account, Charged, passes_of
from sslkuramoto.classifier import Classifier, Initial
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.protocol import (
    PROTOCOLS,
    Protocol,
    Subject,
    classifier_of,
    described,
    start_of,
)
from sslkuramoto.evaluation.rehearsal import account_of, rehearsed
from sslkuramoto.evaluation.robustness.attack_progress import AttackProgress
from sslkuramoto.evaluation.robustness.built_reading import NOTHING, BuiltReading
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.evaluation.robustness.union import UNION, join
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.registry import options_of
from sslkuramoto.results import Reading, Result
from sslkuramoto.threat import BY_NORM, DEFAULT_EPS, Norm, Threat, parse_eps
from sslkuramoto.values import Count, Mark, Repeats, Whole, checked

BACKWARD = 3  # duration of a forward and backward pass, in forward passes
NAME = "robustness"
GROUP = "Robust accuracy"


@checked
class Robustness(Protocol):
    """Share of images that no attack breaks within eps: an upper bound of the robust accuracy.

    Args:
        attacks: in order; each a name or ``{name: NAME, OPTION: VALUE}`` (``sslkuramoto list attacks``).
        norm: "linf" or "l2".
        eps: radius in pixels of [0,1]: a number or a fraction such as "8/255"; None: 8/255 in linf, 0.5 in l2. 0 gives
            exactly the clean accuracy.
        initial: initial oscillators in attack and score: "random", "fixed", "fixed_per_image" or "averaged".
        average: draws per forward pass of "averaged".
        decided_by: when an image counts as broken and is not attacked further: when "one draw" errs (as in AutoAttack)
            or by the "majority" of draws.
        chained: whether each attack sees only the images that the earlier ones did not break.
        images: number of attacked images, None for all. The choice depends on the data set alone, so all runs are
            attacked on the same images.
        split: split that the images are taken from.
        chunk: images per unit of the ledger and per forward pass; it decides which draws an image gets.
        draws: fresh draws that score a stochastic network, at least 20.
        select_draws: other fresh draws that choose the worst candidate of an image and decide whether it is broken.
            They should be many, since the minimum of several noisy accuracies is biased low.
        control: number of images on which all attacks also run with eps = 0, which must change nothing; 0 for none.
        store: number of adversarial images that are written beside the result, for pictures; 0 for none.
        ledger: folder of the ledger, shared by processes and machines; None: ``RUN/ledger``.
        ways: readings of the network, name -> options that replace those above. Each is measured, with metrics named
            NAME/METRIC. The headline is union/robust_accuracy: each image counts with the worst candidate of all
            attacks of all readings, on the network of the first reading; all candidates compete on the same draws.
    """

    name = NAME
    needs = frozenset({"head", "labels"})
    by_option = BY_NORM
    columns = (
        Column("clean", "clean accuracy", "Finetuned", False, 6.2, ["clean_accuracy"], beside="as published"),
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
        eps: float | str | None = None,
        initial: Initial = "random",
        average: Repeats = 8,
        decided_by: DecidedBy = "majority",
        chained: bool = True,
        images: Count | None = 1000,
        split: Literal["test", "val"] = "test",
        chunk: Annotated[Count, Mark.INCIDENTAL] = 100,
        draws: Repeats = 20,
        select_draws: Repeats = 100,
        control: Annotated[Whole, Mark.INCIDENTAL] = 4,
        store: Annotated[Whole, Mark.INCIDENTAL] = 0,
        ledger: Annotated[str | None, Mark.INCIDENTAL] = None,
        ways: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        eps = DEFAULT_EPS[norm] if eps is None else eps
        self.options = options_of(locals())
        if not attacks and not ways:
            raise UserError("attacks: name at least one (see sslkuramoto list attacks)")
        self.threat = Threat(norm, parse_eps(eps, norm))
        self.attacks = built(attacks or [])
        self.initial: Initial = initial
        self.decided_by: DecidedBy = decided_by
        self.average, self.chained = average, chained
        self.images, self.split, self.chunk = images, split, chunk
        self.splits = (split,)
        self.draws, self.select_draws = draws, select_draws
        self.control, self.store, self.ledger = control, store, ledger
        self.ways = {name: self._with(name, options) for name, options in (ways or {}).items()}
        named = [attack.source_run for attack in self.attacks] + [run for way in self.ways.values() for run in way.runs]
        self.runs = tuple(dict.fromkeys(run for run in named if run is not None))

    def _with(self, name: str, options: dict[str, Any]) -> "Robustness":
        check_name("ways", name)
        if name == UNION:
            raise UserError(f"ways.{name}: is the name of the union over all of them; choose another")
        if taken := [key for key in ("images", "split", "ledger", "ways") if key in options]:
            raise UserError(f"ways.{name}: {taken[0]} must be the same for all of them; set it outside ways")
        base = {**self.options, "ways": None}
        try:
            own = PROTOCOLS.check(NAME, options)
            PROTOCOLS.check_change(NAME, self.options, own)
            return Robustness(**{**base, **own})
        except UserError as error:
            raise UserError(f"ways.{name}: {error}") from None

    def measure(self, subject: Subject) -> Result:
        """Attack and score.

        Raises:
            UserError: no classifier, no labels, too few images, an attack that cannot be run, a foreign ledger.
        """
        chosen = self._chosen(subject)
        # all readings are built first, so that an error in the last one does not come after hours of attacks
        readings = self._ready(subject, chosen, described(chosen.images, len(chosen.index)))
        progress = self._progress(subject, readings)
        if not self.ways:
            result, (worst, *_) = readings[0].measure(progress)
            subject.keep("adversarial", worst)
            result.per_image = {"index": chosen.index.tolist(), **result.per_image}
            return result

        start = start_of(subject.encoder, "+".join(dict.fromkeys(each.initial for each in readings)))
        joined = Result({}, self.options, readings[0].data, start, {"index": chosen.index.tolist()})
        done: dict[str, tuple[str, Result]] = {}
        found: dict[str, list[Tensor]] = {}
        for each in readings:
            subject.report(f"reading {each.name} ({list(readings).index(each) + 1} of {len(readings)})")
            key = repr(self.ways[each.name]._essence(subject.encoder.stochastic))
            if key in done:
                equal, result = done[key]
                joined.notes.append(f"{each.name}: identical to {equal}, since the network is deterministic")
            else:
                result, found[each.name] = each.measure(progress)
                joined.notes.extend(f"{each.name}: {note}" for note in result.notes)
                done[key] = each.name, result
            robust = replace(result.metrics["robust_accuracy"], reading=each.reading)  # an identical one states its own
            metrics = {**result.metrics, "robust_accuracy": robust}
            joined.metrics.update({f"{each.name}/{metric}": value for metric, value in metrics.items()})
            joined.per_image.update({f"{each.name}/{entry}": values for entry, values in result.per_image.items()})
            joined.verdicts += [f"{each.name}/{entry}" for entry in result.verdicts]
            joined.details[each.name] = result.details
        join(joined, readings, found)
        return joined

    def _progress(self, subject: Subject, readings: Sequence[BuiltReading]) -> AttackProgress:
        """Return the progress of all readings, equal ones once."""
        stochastic = subject.encoder.stochastic
        first = {
            repr(self.ways[each.name]._essence(stochastic)) if each.name else "": each for each in reversed(readings)
        }
        own = {each.name: each for each in first.values()}
        chosen = readings[0].chosen
        assert chosen.images.classes is not None
        classes, (y, x) = len(chosen.images.classes), chosen.pixels.shape[2:]

        def passes(name: str, attack: Attack) -> float:
            counted = passes_of(attack, own[name].classifier, classes, (y, x), own[name].threat.norm)
            return float(attack.restarts * (counted.forward + BACKWARD * counted.backward))

        chunks = {name: len(chosen.index.split(each.chunk)) for name, each in own.items()}
        return AttackProgress({name: each.attacks for name, each in own.items()}, chunks, passes, subject.report)

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return an upper bound of the cost on this device, all readings together; attacks nothing.

        One image of a small stand-in network is measured twice, with and without the control, by attacks that only
        count their passes. Passes of the networks themselves are timed.
        """
        chosen = self._chosen(subject)
        ready = self._ready(subject, chosen, described(chosen.images, len(chosen.index)))
        readings = {each.name: each for each in ready}
        held = {name for name, each in readings.items() if _is_held(each)}
        controlled = min(max(each.control for each in ready), len(chosen.index))
        account = account_of(ready[0].classifier, chosen)
        for control, images in enumerate((len(chosen.index) - controlled, controlled)):
            with rehearsed(subject, account, images) as small:
                self._charging(account, readings, held, control).measure(small)
        notes = [
            f"{name or 'attacks'}: all work is in the ledger already and costs nothing"
            for name in readings
            if name in held
        ]
        return [("", account.cost(chosen.pixels[: self.chunk], len(chosen.index), notes))]

    def _charging(
        self,
        account: Account,
        readings: Mapping[str, BuiltReading],
        held: Collection[str],
        control: int,
        name: str = "",
    ) -> "Robustness":
        """Return the same measurement for one image, with attacks that only count their passes."""
        own = copy(self)
        own.images, own.control, own.ledger = 1, min(self.control, control), None
        own.attacks = [
            Charged(attack, account, f"{name}: {attack.label}" if name else attack.label, free=name in held)
            for attack in (readings[name].attacks if name in readings else [])
        ]
        own.ways = {key: each._charging(account, readings, held, control, key) for key, each in self.ways.items()}
        return own

    def _essence(self, stochastic: bool) -> dict[str, Any]:
        """Return the options that affect the result: for a deterministic network, those about draws do not."""
        idle = () if stochastic else ("initial", "average", "decided_by", "draws", "select_draws")
        return {key: value for key, value in self.options.items() if key not in idle}

    def _classifier(self, subject: Subject) -> Classifier:
        return classifier_of(subject, self.initial, average=self.average)

    def _chosen(self, subject: Subject) -> Chosen:
        return chosen_images(subject, self.split, self.images, self.chunk)

    def _ready(self, subject: Subject, chosen: Chosen, data: dict[str, Any]) -> list[BuiltReading]:
        """Return the readings, with everything built that attacks and scores need.

        Raises:
            UserError: too few draws, an attack that cannot be run, a reading without any attack that can.
        """
        return [each._built(name, subject, chosen, data) for name, each in (self.ways or {"": self}).items()]

    def _built(self, name: str, subject: Subject, chosen: Chosen, data: dict[str, Any]) -> BuiltReading:
        classifier = self._classifier(subject)
        for option in ("draws", "select_draws"):
            draws_for(classifier.stochastic, draws := getattr(self, option), f"{option}={draws}")
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
            raise UserError(f"no attack can be run: {'; '.join(notes)}")
        return BuiltReading(
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
        """Return the kind of robust accuracy, from the attacks and the initial oscillators.

        A deterministic network has a single reading when it is measured alone. Among several ``ways`` each keeps the
        reading that its options state, so that stochastic and deterministic networks fill the same columns.
        """
        if self.threat.eps == 0:  # a control, no robust accuracy
            return None
        reading, initial = reading_of(attacks), str(self.initial)
        if reading and alone and not encoder.stochastic:
            return "fixed" if start_of(encoder) == "fixed" else "as published"
        if reading and initial == "fixed":
            return "fixed"
        return reading if initial == "random" else None


def _is_held(each: BuiltReading) -> bool:
    """Return whether the ledger holds all attacks of a reading and their control."""
    options = {"threat": each.threat, "chunk": each.chunk, "decided_by": each.decided_by, "chained": each.chained}
    nowhere = {"threat": Threat(each.threat.norm, 0.0), "chunk": each.control, **NOTHING}
    whole = len(each.chosen.index)
    for images, changed, own in ((whole, {}, options), (each.control, each.without_room(), nowhere)):
        pixels, labels, index = (part[:images] for part in each.chosen[:3])
        ledger = each.ledger(index, changed, reading=True)
        common = {"seed": each.subject.seed, "draws": each.select_draws, "ledger": ledger}
        if images and not is_held(each.classifier, pixels, labels, each.attacks, **common, **own):
            return False
    return True
