"""Accuracy under AutoAttack in the l-inf ball, for networks that may draw new oscillators at every forward pass.

Croce and Hein 2020 (2003.01690) through pyautoattack. A result can hold several ways of reading the same network
(``ways``): as published (new oscillators at each forward, version standard), with the oscillators fixed, with EoT.

Differs: an image's adversarial candidate is scored over at least 20 fresh draws rather than one, and the headline takes
the worst candidate over all attacks. AutoAttack's own images are scored beside it.
"""

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.data import ImageSet, batches
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.attacks import DecidedBy, parse_eps, run_attacks
from sslkuramoto.evaluation.classifier import Classifier, Initial, classifier_of, predictions_over_draws
from sslkuramoto.evaluation.draws import accuracies, check_draws, share_right
from sslkuramoto.evaluation.protocol import PROTOCOLS, Result, Subject, described, options_of, start_of
from sslkuramoto.evaluation.pyautoattack_members import Member, Settings, Version, linf_members
from sslkuramoto.randomness import generator, seed_of

NAME = "autoattack_linf"


class AutoAttackLinf:
    """Share of images that stay right inside the l-inf ball, as far as these attacks can tell (an upper bound).

    Args:
        eps: radius in pixels of [0,1]: a number or a fraction such as "8/255". 0 gives exactly the clean accuracy.
        version: "standard" (APGD-CE, APGD-T, FAB-T, Square), "plus", "rand" (APGD-CE and APGD-DLR with EoT 20), or
            "custom" with ``attacks``.
        attacks: names for version "custom": apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square.
        iterations: steps of APGD and FAB; None: the version's 100.
        restarts: of untargeted APGD and FAB and of Square; None: the version's.
        targets: classes of the targeted attacks; None: 9. Never more than the other classes there are.
        queries: of Square; None: 5000.
        eot_iter: gradients averaged a step of APGD; None: the version's. 1 for a deterministic network.
        initial: how the oscillators start, in attack and score: "random", "fixed", or "averaged".
        average: fresh draws behind a forward of "averaged".
        decided_by: when an image counts as broken and is left alone: by "one draw" (AutoAttack) or by the "majority".
        images: how many images are attacked, None for all: a choice that depends on the set alone, so that all runs
            are attacked on the same images.
        split: where they come from.
        draws: fresh draws that score a stochastic network, at least 20.
        ways: name -> options that replace those above; every way is measured and its metrics read WAY/METRIC.
    """

    def __init__(
        self,
        *,
        eps: float | str = "8/255",
        version: Version = "standard",
        attacks: list[Member] | None = None,
        iterations: int | None = None,
        restarts: int | None = None,
        targets: int | None = None,
        queries: int | None = None,
        eot_iter: int | None = None,
        initial: Initial = "random",
        average: int = 8,
        decided_by: DecidedBy = "one draw",
        images: int | None = 1000,
        split: Literal["test", "val"] = "test",
        draws: int = 20,
        ways: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.options = options_of(locals())
        counts = {"iterations": iterations, "restarts": restarts, "targets": targets, "queries": queries}
        for key, value in {**counts, "eot_iter": eot_iter, "average": average, "images": images}.items():
            if value is not None and value < 1:
                raise UserError(f"{key}={value}: must be at least 1")
        if version == "custom" and not attacks:
            raise UserError(f"version=custom: needs attacks, a list of {', '.join(get_args(Member))}")
        if version != "custom" and attacks is not None:
            raise UserError(f"attacks={attacks}: only version=custom takes a list; version={version} has its own")
        self.eps = parse_eps(eps)
        self.version: Version = version
        self.attacks, self.settings = attacks or [], Settings(**counts, eot_iter=eot_iter)
        self.initial: Initial = initial
        self.decided_by: DecidedBy = decided_by
        self.average = average
        self.images, self.split, self.draws = images, split, check_draws(draws)
        self.ways = {name: self._way(name, options) for name, options in (ways or {}).items()}

    def _way(self, name: str, options: dict[str, Any]) -> "AutoAttackLinf":
        shared = ("images", "split", "ways")
        if taken := [key for key in shared if key in options]:
            raise UserError(f"ways.{name}: {taken[0]} is the same for all ways")
        base = {**self.options, "ways": None}
        if options.get("version", "custom") != "custom":
            base["attacks"] = None
        try:
            return AutoAttackLinf(**{**base, **PROTOCOLS.check(NAME, options)})
        except UserError as error:
            raise UserError(f"ways.{name}: {error}") from None

    def __call__(self, subject: Subject) -> Result:
        images = subject.labelled(self.split, "autoattack-linf")
        classifier_of(subject, "autoattack-linf")  # before images are read
        chosen = self._chosen(images)
        pixels, labels = _in_memory(subject, images, chosen)
        data = described(images, len(chosen))
        if not self.ways:
            result = self._measure(subject, images, pixels, labels, data)
            result.per_image = {"index": chosen.tolist(), **result.per_image}
            return result

        initial = "+".join(dict.fromkeys(way.initial for way in self.ways.values()))
        joined = Result({}, self.options, data, start_of(subject.encoder, initial), {"index": chosen.tolist()})
        done: dict[str, tuple[str, Result]] = {}
        for name, way in self.ways.items():
            subject.report(f"way {name}")
            key = repr(way._essence(subject.encoder.stochastic))
            if key in done:
                twin, result = done[key]
                joined.notes.append(f"{name}: the same as {twin}, the network is deterministic")
            else:
                result = way._measure(subject, images, pixels, labels, data)
                joined.notes.extend(f"{name}: {note}" for note in result.notes)
                done[key] = name, result
            joined.metrics.update({f"{name}/{metric}": value for metric, value in result.metrics.items()})
            joined.per_image.update({f"{name}/{entry}": values for entry, values in result.per_image.items()})
        return joined

    def _essence(self, stochastic: bool) -> dict[str, Any]:
        """Return the options that matter for a network: a deterministic one is the same however it starts."""
        idle = () if stochastic else ("initial", "average", "decided_by", "eot_iter", "draws")
        return {key: value for key, value in self.options.items() if key not in idle}

    def _chosen(self, images: ImageSet) -> Int64[Tensor, " n"]:
        wanted = len(images) if self.images is None else self.images
        if wanted > len(images):
            raise UserError(f"images={wanted}: data {images.name!r}, split {images.split!r}, has only {len(images)}")
        # not the first so many: folders are sorted by class
        draw = generator("cpu", "attacked images", len(images))
        return torch.randperm(len(images), generator=draw)[:wanted].sort().values

    def _measure(
        self,
        subject: Subject,
        images: ImageSet,
        pixels: Float[Tensor, "n 3 y x"],
        labels: Int64[Tensor, " n"],
        data: dict[str, Any],
    ) -> Result:
        classifier = classifier_of(subject, "autoattack-linf", self.initial, average=self.average)
        classifier.restart("autoattack", self.version)
        assert images.classes is not None
        members, notes, zero_gradients = linf_members(
            classifier,
            eps=self.eps,
            seed=seed_of(subject.seed, "autoattack") % 2**31,
            num_classes=len(images.classes),
            version=self.version,
            attacks=self.attacks,
            settings=self.settings,
        )
        found = run_attacks(
            classifier,
            pixels,
            labels,
            members,
            eps=self.eps,
            batch_size=subject.batch_size,
            draws=self.draws,
            decided_by=self.decided_by,
            report=subject.report,
        )
        clean, robust, theirs = (
            self._predictions(classifier, candidates, subject.batch_size)
            for candidates in (pixels, found.worst, found.wrapper)
        )
        assert self.eps > 0 or torch.equal(clean, robust), "eps = 0 must give the clean accuracy"
        labels = labels.cpu()
        wrapper = accuracies(theirs, labels, "autoattack_accuracy")["autoattack_accuracy"]
        metrics = {
            "robust_accuracy": accuracies(robust, labels)["accuracy"],
            **accuracies(robust, labels, "robust_accuracy"),
            "autoattack_accuracy": wrapper,
            **accuracies(clean, labels, "clean_accuracy"),
        }
        standing = ", ".join(f"{name} {share:.4f}" for name, share in found.standing_after.items())
        decided = f" (decided by {self.decided_by})" if classifier.stochastic else ""
        return Result(
            metrics=metrics,
            options=self.options,
            data=data,
            initial=start_of(subject.encoder, self.initial),
            per_image={
                "clean_correct": share_right(clean, labels),
                "correct": share_right(robust, labels),
                "broken_by": found.broken_by,
            },
            notes=[*notes, *zero_gradients.notes(), f"share standing after each attack{decided}: {standing}"],
        )

    def _predictions(
        self, classifier: Classifier, candidates: Float[Tensor, "n 3 y x"], batch_size: int
    ) -> Int64[Tensor, "k n"]:
        """Classify with the same noise whatever the candidates are: equal images score equally."""
        return predictions_over_draws(classifier, candidates.split(batch_size), self.draws, "score")


def _in_memory(subject: Subject, images: ImageSet, chosen: Int64[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    order = list(chosen.split(subject.batch_size))
    read = list(batches(images, order, device=subject.device, workers=subject.workers))
    assert images.labels is not None
    return torch.cat([batch.images for batch in read]), images.labels[chosen].to(subject.device)
