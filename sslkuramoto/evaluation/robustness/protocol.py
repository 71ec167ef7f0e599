"""Accuracy under attack, for networks that may draw new oscillators at every forward pass.

A battery of attacks on the same images, its work kept in a ledger, and the union over attacks an image as the headline
(../shared/METHODS.md, 4 and 7). A result can hold several ways of reading the same network (``ways``): as published
(new oscillators at each forward, AutoAttack standard), with the oscillators fixed, with EoT, with EoT on held noise.

Shapes: n images, y x pixels, k draws, m stored images.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks import Attack, Ledger, run_battery
from sslkuramoto.attacks.attack import (
    AttackEntry,
    ImpossibleAttackError,
    built,
    check_counts,
    check_name,
)
from sslkuramoto.attacks.battery import CLEAN, DecidedBy, left_of_battery
from sslkuramoto.attacks.cost import cost_of, starts_of
from sslkuramoto.attacks.ledger import ledger_for
from sslkuramoto.attacks.worst_candidate import passes_of, worst_of
from sslkuramoto.classifier import Classifier, Initial, predictions_over_draws
from sslkuramoto.cost import Cost
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.protocol import PROTOCOLS, Protocol, Result, Subject, classifier_of, described, start_of
from sslkuramoto.evaluation.robustness.pictures import store_broken
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.noise_draws import accuracies, check_draws, check_equal_scores, draws_for, share_right
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric
from sslkuramoto.threat import MisbehavedError, Norm, Threat, parse_eps

NAME = "robustness"
UNION = "union"  # of all ways
NOTHING: dict[str, Any] = {"decided_by": "majority", "chained": False}  # of the control


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

    name = NAME
    needs = frozenset({"head", "labels"})

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
        self.splits = (split,)
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
        for way in self.ways.values() or [self]:  # whatever is wrong with one is said before the first has taken hours
            way._prepared(subject, chosen)
        data = described(chosen.images, len(chosen.index))
        if not self.ways:
            result, _ = self._measure(subject, chosen, data, "")
            result.per_image = {"index": chosen.index.tolist(), **result.per_image}
            return result

        initial = "+".join(dict.fromkeys(way.initial for way in self.ways.values()))
        joined = Result({}, self.options, data, start_of(subject.encoder, initial), {"index": chosen.index.tolist()})
        done: dict[str, tuple[str, Result]] = {}
        found: dict[str, list[Tensor]] = {}
        for name, way in self.ways.items():
            subject.report(f"way {name}")
            key = repr(way._essence(subject.encoder.stochastic))
            if key in done:
                twin, result = done[key]
                joined.notes.append(f"{name}: the same as {twin}, the network is deterministic")
            else:
                result, found[name] = way._measure(subject, chosen, data, name)
                joined.notes.extend(f"{name}: {note}" for note in result.notes)
                done[key] = name, result
            joined.metrics.update({f"{name}/{metric}": value for metric, value in result.metrics.items()})
            joined.per_image.update({f"{name}/{entry}": values for entry, values in result.per_image.items()})
            joined.details[name] = result.details
        first = next(iter(self.ways.values()))
        if others := [name for name in found if self.ways[name].threat != first.threat]:
            joined.notes.append(f"{UNION}: within {first.threat} only, without {', '.join(others)}")
        within = {name: candidates for name, candidates in found.items() if name not in others}
        metrics, per_image = first._union(subject, chosen, within)
        joined.metrics.update({f"{UNION}/{metric}": value for metric, value in metrics.items()})
        joined.per_image.update({f"{UNION}/{entry}": values for entry, values in per_image.items()})
        joined.notes += self._above(joined.metrics, list(within))
        return joined

    def _above(self, metrics: Mapping[str, Metric], names: list[str]) -> list[str]:
        """Say by how much the union lies above a way of the same reading, where it does: it chose on other draws."""
        first = next(iter(self.ways.values()))
        reading = first.initial, first.average
        same = [name for name in names if (self.ways[name].initial, self.ways[name].average) == reading]
        union = metrics[f"{UNION}/robust_accuracy"].value
        above = {name: union - metrics[f"{name}/robust_accuracy"].value for name in same}
        return [
            f"{UNION}: {100 * gap:.2f} points above {name}, by chance: other draws chose it than those that score"
            for name, gap in above.items()
            if gap > 1e-9
        ]

    def _union(
        self, subject: Subject, chosen: Chosen, found: Mapping[str, Sequence[Float[Tensor, "n 3 y x"]]]
    ) -> tuple[dict[str, Metric], dict[str, list]]:
        """Let each image meet the worst that any attack of any way found for it, on this way's network.

        What was found on another reading of the weights (fixed oscillators) counts too: it is a transfer.
        """
        classifier, labels = self._classifier(subject), chosen.labels.cpu()

        def right(candidates: Tensor, purpose: str) -> Tensor:
            moved = candidates.to(chosen.pixels.device)
            predictions = self._predictions(classifier, moved, chosen.index, self.select_draws, purpose)
            return (predictions == labels).float().mean(dim=0)

        names = [name for name, candidates in found.items() for _ in candidates]
        sets = [candidates for way in found.values() for candidates in way]
        worst = worst_of(sets, right, stochastic=classifier.stochastic)
        best = worst.images.to(chosen.pixels.device)
        scored = self._predictions(classifier, best, chosen.index)
        if self.store:
            clean = self._predictions(classifier, chosen.pixels, chosen.index)
            store_broken(self._pictures(subject, UNION), chosen, best, clean, scored, self.store)
        by = [names[which] for which in worst.which.tolist()]
        return accuracies(scored, labels, "robust_accuracy"), {"correct": share_right(scored, labels), "found_by": by}

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return for each way what it costs at most on this device, after timing a few passes; attacks nothing."""
        chosen = self._chosen(subject)
        data = described(chosen.images, len(chosen.index))
        costs = []
        first = next(iter(self.ways.values()), self)
        stochastic = first._classifier(subject).stochastic
        draws_union, select_union = (draws_for(stochastic, k) for k in (first.draws, first.select_draws))
        sets = 0
        for name, way in (self.ways or {"": self}).items():
            attacks, _ = way._prepared(subject, chosen)
            classifier = way._classifier(subject)
            draws, select = (draws_for(classifier.stochastic, k) for k in (way.draws, way.select_draws))
            cost = cost_of(classifier, attacks, chosen.pixels[: way.chunk], len(chosen.index), draws, select)
            few = min(way.control, cost.images)
            control = math.ceil(few * (select + 2 + 2 * draws) / cost.images)  # clean images judged, both scored
            union, before, sets = 0, sets, sets + len(attacks)
            if self.ways:  # what its candidates add to the choice
                union = passes_of(sets, select_union, stochastic=stochastic)
                union -= passes_of(before, select_union, stochastic=stochastic)
                union += draws_union * (1 + bool(first.store)) if way is first else 0
                union = math.ceil(union * starts_of(first._classifier(subject)) / cost.starts)
            left, whole = way._left(subject, classifier, attacks, chosen, data), cost.images + few
            shares = {attack.label: left[attack.label] / (attack.restarts * whole) for attack in attacks}
            spared = (whole - left[CLEAN]) * select
            scoring = cost.scoring + control + union
            costs.append((name, cost._replace(scoring=scoring, control=few, left=shares, spared=spared)))
        return costs

    def _left(
        self, subject: Subject, classifier: Classifier, attacks: list[Attack], chosen: Chosen, data: dict[str, Any]
    ) -> Counter[str]:
        """Return what the ledger does not hold of the attacks and of their control."""
        options = {"threat": self.threat, "chunk": self.chunk, "decided_by": self.decided_by, "chained": self.chained}
        nowhere = {"threat": Threat(self.threat.norm, 0.0), "chunk": self.control, **NOTHING}
        left = Counter[str]()
        for images, changed, own in ((len(chosen.index), {}, options), (self.control, self._nothing(), nowhere)):
            if images:
                pixels, labels, index = (part[:images] for part in chosen[:3])
                ledger = self._ledger(subject, data, index, changed, reading=True)
                common = {"seed": subject.seed, "draws": self.select_draws, "ledger": ledger}
                left += left_of_battery(classifier, pixels, labels, attacks, **common, **own)
        return left

    def _essence(self, stochastic: bool) -> dict[str, Any]:
        """Return the options that matter for a network: a deterministic one is the same however it starts."""
        idle = () if stochastic else ("initial", "average", "decided_by", "draws", "select_draws")
        return {key: value for key, value in self.options.items() if key not in idle}

    def _classifier(self, subject: Subject) -> Classifier:
        return classifier_of(subject, self.initial, average=self.average)

    def _prepared(self, subject: Subject, chosen: Chosen) -> tuple[list[Attack], list[str]]:
        assert chosen.images.classes is not None
        for draws in (self.draws, self.select_draws):
            draws_for(self._classifier(subject).stochastic, draws)
        ready, notes = [], []
        target = attack_target(subject, len(chosen.images.classes))
        for attack in self.attacks:
            try:
                ready.append(attack.prepared(target))
                ready[-1].check_source(chosen.pixels[:1])
                notes += ready[-1].notes
            except ImpossibleAttackError as reason:
                notes.append(str(reason))
        if not ready:
            raise UserError(f"no attack is left: {'; '.join(notes)}")
        return ready, notes

    def _chosen(self, subject: Subject) -> Chosen:
        return chosen_images(subject, self.split, self.images, self.chunk)

    def _measure(
        self, subject: Subject, chosen: Chosen, data: dict[str, Any], way: str
    ) -> tuple[Result, list[Float[Tensor, "n 3 y x"]]]:
        classifier = self._classifier(subject)
        attacks, notes = self._prepared(subject, chosen)
        found = run_battery(
            classifier,
            chosen.pixels,
            chosen.labels,
            attacks,
            threat=self.threat,
            seed=subject.seed,
            chunk=self.chunk,
            draws=self.select_draws,
            decided_by=self.decided_by,
            chained=self.chained,
            index=chosen.index,
            ledger=self._ledger(subject, data, chosen.index),
            keep=bool(way),
            report=subject.report,
        )
        clean, robust, theirs = (
            self._predictions(classifier, candidates, chosen.index)
            for candidates in (chosen.pixels, found.worst, found.wrapper)
        )
        if torch.equal(found.worst, chosen.pixels):
            check_equal_scores(clean, robust, reordered=chosen.pixels.is_cuda)
        labels = chosen.labels.cpu()
        metrics = {
            **accuracies(robust, labels, "robust_accuracy"),
            "wrapper_accuracy": accuracies(theirs, labels)["accuracy"],
            **accuracies(clean, labels, "clean_accuracy"),
        }
        if self.control:
            metrics |= self._control(subject, classifier, attacks, chosen, data)
        if self.store:
            store_broken(self._pictures(subject, way), chosen, found.worst, clean, robust, self.store)
        standing = ", ".join(f"{name} {share:.4f}" for name, share in found.standing_after.items())
        decided = f" (decided by {self.decided_by})" if classifier.stochastic else ""
        notes += [note for attack in attacks for note in attack.findings(found.noticed[attack.label])]
        result = Result(
            metrics=metrics,
            options=self.options,
            data=data,
            initial=start_of(subject.encoder, self.initial),
            per_image={
                "clean_correct": share_right(clean, labels),
                "correct": share_right(robust, labels),
                "broken_by": found.broken_by,
            },
            notes=[*notes, f"share standing after each attack{decided}: {standing}"],
            details={"threat": str(self.threat), "standing_after": found.standing_after},
        )
        return result, [candidates.cpu() for candidates in found.candidates.values()]

    def _predictions(
        self,
        classifier: Classifier,
        candidates: Float[Tensor, "n 3 y x"],
        index: Int64[Tensor, " n"],
        draws: int | None = None,
        purpose: str = "score",
    ) -> Int64[Tensor, "k n"]:
        """Classify with the same noise whatever the candidates are: equal images score equally."""
        chunks = zip(candidates.split(self.chunk), index.split(self.chunk), strict=True)
        return predictions_over_draws(classifier, chunks, draws or self.draws, purpose)

    def _control(
        self, subject: Subject, classifier: Classifier, attacks: list[Attack], chosen: Chosen, data: dict[str, Any]
    ) -> dict[str, Metric]:
        """Run every attack with no room to move: the images must come back as they were, and score as they did.

        Returns:
            Both scores, of the same few images: what is left with eps = 0, and the clean accuracy that it must equal.

        Raises:
            MisbehavedError: an attack moved an image.
            UserError: equal images scored differently.
        """
        pixels, labels, index = (part[: self.control] for part in chosen[:3])
        nowhere = run_battery(
            classifier,
            pixels,
            labels,
            attacks,
            threat=Threat(self.threat.norm, 0.0),
            seed=subject.seed,
            chunk=self.control,
            draws=self.select_draws,
            index=index,
            ledger=self._ledger(subject, data, index, self._nothing()),
            **NOTHING,
        )
        if not torch.equal(nowhere.worst, pixels):
            raise MisbehavedError("an attack moved an image with eps = 0")
        controlled, clean = (self._predictions(classifier, part, index) for part in (nowhere.worst, pixels))
        check_equal_scores(clean, controlled, reordered=pixels.is_cuda)
        scores = {"control_accuracy": controlled, "control_clean_accuracy": clean}
        return {name: accuracies(predictions, labels.cpu())["accuracy"] for name, predictions in scores.items()}

    def _nothing(self) -> dict[str, Any]:
        return {"eps": 0.0, "chunk": self.control, **NOTHING}

    def _ledger(
        self,
        subject: Subject,
        data: dict[str, Any],
        index: Int64[Tensor, " n"],
        changed: Mapping[str, Any] = MappingProxyType({}),
        *,
        reading: bool = False,
    ) -> Ledger:
        """Return the ledger of these images, with the protocol's options or changed ones; idle options do not count."""
        options = {**self.options, "eps": self.threat.eps, **changed}
        shared = ["chained", "chunk"]
        if subject.encoder.stochastic:
            shared += ["initial", *(["average"] if self.initial == "averaged" else [])]
        if self._classifier(subject).stochastic:
            shared += ["decided_by", "select_draws"]
        threat = Threat(self.threat.norm, options["eps"])
        mode = {key: options[key] for key in shared}
        return ledger_for(
            subject.network,
            Path(self.ledger) if self.ledger else subject.run_dir / "ledger",
            inside=self.ledger is None,
            seed=subject.seed,
            device=subject.device,
            threat=threat,
            data=data,
            index=index,
            mode=mode,
            reading=reading,
        )

    def _pictures(self, subject: Subject, way: str) -> Path:
        name = f"{subject.file or NAME}{f'-{way}' if way else ''}.safetensors"
        return subject.run_dir / "results" / "images" / name
