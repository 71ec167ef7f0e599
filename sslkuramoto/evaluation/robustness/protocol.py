"""Accuracy under attack, for networks that may draw new oscillators at every forward pass.

A battery of attacks on the same images, its work kept in a ledger, and the union over attacks an image as the headline
(docs/evaluation.md). A result can hold several ways of reading the same network (``ways``): as published
(new oscillators at each forward, AutoAttack standard), with the oscillators fixed, with EoT, with EoT on held noise.

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
from sslkuramoto.attacks.counting import Account, Charged
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
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.evaluation.robustness.union import UNION, join
from sslkuramoto.evaluation.robustness.way import NOTHING, Way
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.registry import options_of
from sslkuramoto.results import Reading, Result
from sslkuramoto.threat import BY_NORM, DEFAULT_EPS, Norm, Threat, parse_eps
from sslkuramoto.values import Count, Mark, Whole, checked

NAME = "robustness"
GROUP = "Robust accuracy"


@checked
class Robustness(Protocol):
    """Share of images that stay right inside the ball, as far as these attacks can tell (an upper bound).

    Args:
        attacks: in order; each a name or ``{name: NAME, OPTION: VALUE}`` (``sslkuramoto list attacks``).
        norm: "linf" or "l2".
        eps: radius in pixels of [0,1]: a number or a fraction such as "8/255"; None: 8/255 in linf, 0.5 in l2. 0 gives
            exactly the clean accuracy.
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
        average: Count = 8,
        decided_by: DecidedBy = "majority",
        chained: bool = True,
        images: Count | None = 1000,
        split: Literal["test", "val"] = "test",
        chunk: Annotated[Count, Mark.INCIDENTAL] = 100,
        draws: Count = 20,
        select_draws: Count = 100,
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
        self.ways = {name: self._way(name, options) for name, options in (ways or {}).items()}

    def _way(self, name: str, options: dict[str, Any]) -> "Robustness":
        check_name("ways", name)
        if name == UNION:
            raise UserError(f"ways.{name}: is the name of the union of all ways; choose another")
        if taken := [key for key in ("images", "split", "ledger", "ways") if key in options]:
            raise UserError(f"ways.{name}: {taken[0]} is the same for all ways")
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
        # whatever is wrong with one way is said before the first has taken hours
        ways = self._ready(subject, chosen, described(chosen.images, len(chosen.index)))
        if not self.ways:
            result, (worst, *_) = ways[0].measure()
            subject.keep("adversarial", worst)
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
            joined.verdicts += [f"{way.name}/{entry}" for entry in result.verdicts]
            joined.details[way.name] = result.details
        join(joined, ways, found)
        return joined

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return what it costs at most on this device, all ways together; attacks nothing.

        One image of a stand-in network is measured, once as one of the control and once not, by attacks that charge
        their passes and do nothing else; passes of the networks themselves are timed.
        """
        chosen = self._chosen(subject)
        ready = self._ready(subject, chosen, described(chosen.images, len(chosen.index)))
        ways = {way.name: way for way in ready}
        held = {name for name, way in ways.items() if _is_held(way)}
        controlled = min(max(way.control for way in ready), len(chosen.index))
        account = account_of(ready[0].classifier, chosen)
        for control, images in enumerate((len(chosen.index) - controlled, controlled)):
            with rehearsed(subject, account, images) as small:
                self._charging(account, ways, held, control).measure(small)
        notes = [
            f"{name or 'attacks'}: all their work is in the ledger and costs nothing" for name in ways if name in held
        ]
        return [("", account.cost(chosen.pixels[: self.chunk], len(chosen.index), notes))]

    def _charging(
        self, account: Account, ways: Mapping[str, Way], held: Collection[str], control: int, name: str = ""
    ) -> "Robustness":
        """Return the same measurement of one image by attacks that charge what they take."""
        own = copy(self)
        own.images, own.control, own.ledger = 1, min(self.control, control), None
        own.attacks = [
            Charged(attack, account, f"{name}: {attack.label}" if name else attack.label, free=name in held)
            for attack in (ways[name].attacks if name in ways else [])
        ]
        own.ways = {way: each._charging(account, ways, held, control, way) for way, each in self.ways.items()}
        return own

    def _essence(self, stochastic: bool) -> dict[str, Any]:
        """Return the options that matter for a network: a deterministic one is the same however it starts."""
        idle = () if stochastic else ("initial", "average", "decided_by", "draws", "select_draws")
        return {key: value for key, value in self.options.items() if key not in idle}

    def _classifier(self, subject: Subject) -> Classifier:
        return classifier_of(subject, self.initial, average=self.average)

    def _chosen(self, subject: Subject) -> Chosen:
        return chosen_images(subject, self.split, self.images, self.chunk)

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
        if self.threat.eps == 0:  # a control: no attack could do anything
            return None
        reading, initial = reading_of(attacks), str(self.initial)
        if reading and alone and not encoder.stochastic:
            return "fixed" if start_of(encoder) == "fixed" else "as published"
        if reading and initial == "fixed":
            return "fixed"
        return reading if initial == "random" else None


def _is_held(way: Way) -> bool:
    """Return whether the ledger holds the attacks of a way and their control."""
    options = {"threat": way.threat, "chunk": way.chunk, "decided_by": way.decided_by, "chained": way.chained}
    nowhere = {"threat": Threat(way.threat.norm, 0.0), "chunk": way.control, **NOTHING}
    whole = len(way.chosen.index)
    for images, changed, own in ((whole, {}, options), (way.control, way.without_room(), nowhere)):
        pixels, labels, index = (part[:images] for part in way.chosen[:3])
        ledger = way.ledger(index, changed, reading=True)
        common = {"seed": way.subject.seed, "draws": way.select_draws, "ledger": ledger}
        if images and not is_held(way.classifier, pixels, labels, way.attacks, **common, **own):
            return False
    return True
