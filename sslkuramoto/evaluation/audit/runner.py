"""Runs the attacks of an audit: each once, all on the same images, all scored with the same draws.

An attack may be run on another classifier than the audited one, such as its version with fixed oscillators or a copy
with smaller logits. Its candidates are always scored on the audited classifier, even where they do not fool the
attacked one. Every candidate inside the ball counts for the union over all attacks.

Shapes: n images, y x pixels, k draws.
"""

import copy
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks import Attack, Ledger, run_battery
from sslkuramoto.attacks.gradients import connected
from sslkuramoto.attacks.losses import wrong_by
from sslkuramoto.attacks.worst_candidate import is_worse, worst_of
from sslkuramoto.classifier import Classifier, Initial, differences_of_two_calls, predictions_over_draws
from sslkuramoto.evaluation.audit.compare import BROKEN
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator
from sslkuramoto.threat import Threat

ITSELF = "itself"
LedgerOf = Callable[[Threat, str], Ledger | None]


@dataclass(frozen=True)
class Run:
    """The candidates of one attack and their scores.

    Attributes:
        label: of the attack, and of the classifier it was run on if that is not the audited one.
        right: for each image the share of draws of the audited classifier that are correct on the candidate.
        there: the same for the classifier that was attacked.
        candidates: one per image.
    """

    label: str
    right: Float[Tensor, " n"]
    there: Float[Tensor, " n"]
    candidates: Float[Tensor, "n 3 y x"]

    @property
    def accuracy(self) -> float:
        """Accuracy of the audited classifier under this attack."""
        return self.right.double().mean().item()


@dataclass(frozen=True)
class Tightest:
    """The union over all attacks.

    Attributes:
        images: for each image the candidate that the fewest draws classify correctly.
        broken_by: the attack that produced it, if at least half of the draws err on it; "clean" if they do on the image
            itself, even if an attack found a worse candidate; None if the image survived.
    """

    images: Float[Tensor, "n 3 y x"]
    broken_by: list[str | None]


class Bench:
    """Runs attacks and keeps what they found.

    Args:
        classifier: the audited one, in its own mode.
        images: pixels in [0,1].
        labels: true classes.
        threat: norm and radius of the audit; attacks may also be run with others.
        seed: of the measurement.
        chunk: images per unit of work.
        draws: selection draws of a stochastic classifier.
        ledger_of: (threat, name of the attacked classifier) -> ledger.
        report: receives one line per attack.
        unseen: copy of the classifier, made before its first call; None: made now.

    Attributes:
        clean: for each image the share of draws that are correct without an attack.
        runs: all attacks that were run, in order.
        unseen: copy of the classifier that has seen no images, or the reason why there is none.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "n 3 y x"],
        labels: Int64[Tensor, " n"],
        *,
        threat: Threat,
        seed: int,
        chunk: int,
        draws: int,
        ledger_of: LedgerOf = lambda threat, name: None,
        report: Callable[[str], None] = lambda line: None,
        unseen: Classifier | str | None = None,
    ) -> None:
        self.classifier, self.images, self.labels = classifier, images, labels
        self.threat, self.seed, self.chunk, self.draws = threat, seed, chunk, draws
        self._ledger_of, self._report = ledger_of, report
        self.runs: dict[tuple[str, str, Threat], Run] = {}
        self.unseen = copy_of(classifier) if unseen is None else unseen
        self.clean = self.share_right(images)

    @property
    def n(self) -> int:
        """Images."""
        return len(self.images)

    def only(self, rows: Int64[Tensor, " m"]) -> "Bench":
        """Return a bench for some of the images, which has run nothing and keeps no ledger."""
        part = copy.copy(self)
        part.images, part.labels, part.runs = self.images[rows], self.labels[rows], {}
        part._ledger_of = lambda threat, name: None
        part.clean = part.share_right(part.images)
        return part

    def inside(self) -> list[Run]:
        """Return the attacks whose candidates lie in the ball of the audit."""
        norm, eps = self.threat.norm, self.threat.eps
        return [run for (*_, threat), run in self.runs.items() if threat.norm == norm and threat.eps <= eps]

    def predictions(
        self, candidates: Float[Tensor, "n 3 y x"], key: str, *, draws: int | None = None
    ) -> Int64[Tensor, "k n"]:
        """Return the predictions over draws; one key means the same draws, whatever the candidates."""
        draws = draws_for(self.classifier.stochastic, draws or self.draws)
        return predictions_over_draws(self.classifier, candidates.split(self.chunk), draws, "audit", key)

    def share_right(
        self, candidates: Float[Tensor, "n 3 y x"], key: str = "select", *, draws: int | None = None
    ) -> Float[Tensor, " n"]:
        """Return for each image the share of the selection draws, or of those of another key, that are correct."""
        return (self.predictions(candidates, key, draws=draws) == self.labels.cpu()).float().mean(dim=0)

    def looked(self, runs: Sequence[Run]) -> Float[Tensor, " n"]:
        """Return for each image the share of correct draws on its worst candidate, on draws that did not choose it."""
        if not self.classifier.stochastic:
            return union(runs)
        return self.share_right(worse_of(runs)[0], "look")

    @torch.no_grad()
    def margin(self, candidates: Float[Tensor, "n 3 y x"]) -> Float[Tensor, " n"]:
        """Return the mean over draws of the true logit minus the largest other one, on the CPU."""
        draws, parts = draws_for(self.classifier.stochastic, self.draws), []
        for i, (images, labels) in enumerate(
            zip(*(each.split(self.chunk) for each in (candidates, self.labels)), strict=True)
        ):
            noise = [generator(images.device, self.seed, "audit", "margin", k, i) for k in range(draws)]
            logits = self.classifier.over_draws(images, noise)
            parts.append(torch.stack([-wrong_by(each, labels) for each in logits]).mean(0))
        return torch.cat(parts).cpu()

    def differences_of_two_calls(self) -> Float[Tensor, " n"]:
        """Return the difference of each image's logits in two calls of a classifier that is not stochastic."""
        return torch.cat([differences_of_two_calls(self.classifier, part) for part in self.images.split(self.chunk)])

    def run(
        self,
        attack: Attack,
        *,
        threat: Threat | None = None,
        against: Classifier | None = None,
        name: str = ITSELF,
        rescaled: bool = False,
    ) -> Run:
        """Run an attack, or return what it found before.

        Args:
            attack: prepared.
            threat: another norm or radius than the audit's.
            against: another classifier to attack; needs ``name``.
            name: of that classifier, in labels and in the ledger.
            rescaled: whether it is a copy of the audited one with scaled logits.
        """
        threat = threat or self.threat
        key = (f"{type(attack).__name__} {dict(attack.options)}", name, threat)
        if key not in self.runs:
            self.runs[key] = self._made(attack, threat, against or self.classifier, name, rescaled)
        return self.runs[key]

    def _made(self, attack: Attack, threat: Threat, against: Classifier, name: str, rescaled: bool) -> Run:
        start = time.perf_counter()
        with connected(against):
            found = run_battery(
                against,
                self.images,
                self.labels,
                [attack],
                threat=threat,
                seed=self.seed,
                chunk=self.chunk,
                draws=self.draws,
                chained=False,
                ledger=self._ledger_of(threat, name),
                keep=True,
                everything=against is not self.classifier and not rescaled,
                rescaled=rescaled,
            )
        candidates = found.candidates[attack.label]
        label = _label(attack, name)
        run = Run(label, self.share_right(candidates), found.share_right[attack.label].cpu(), candidates)
        seconds = time.perf_counter() - start
        self._report(f"{label} ({threat}): {100 * run.accuracy:.1f} % robust, {seconds:.1f} s")
        return run

    def tightest(self, draws: int) -> Tightest:
        """Return the worst of all candidates inside the ball, image by image.

        It is chosen by :func:`~sslkuramoto.attacks.worst_candidate.worst_of`; the first score is that of the runs.

        Args:
            draws: of both further scores together.
        """
        inside = self.inside()
        labels = ["clean", *(run.label for run in inside)]
        candidates = [self.images, *(run.candidates for run in inside)]
        first = torch.stack([self.clean, *(run.right for run in inside)])

        worst = worst_of(
            candidates,
            lambda images, key, more: self.share_right(images, key, draws=more),
            stochastic=self.classifier.stochastic,
            draws=draws,
            first=(first, self.draws),
        )
        first_to = worst.which.where(self.clean > BROKEN, 0)
        shares = zip(first_to.tolist(), worst.share, strict=True)
        by = [labels[which] if share <= BROKEN else None for which, share in shares]
        return Tightest(worst.images, by)


def copy_of(classifier: Classifier) -> Classifier | str:
    """Return a copy that shares nothing with a classifier, or the reason why it cannot be copied."""
    ours = classifier
    try:
        encoder, head = copy.deepcopy((ours.encoder, ours.head))
    except (RuntimeError, TypeError, ValueError, copy.Error, pickle.PicklingError) as error:
        return f"the network cannot be copied: {str(error).splitlines()[0]}"
    mode = cast(Initial, ours.mode)
    return Classifier(encoder, head, mode, seed=ours.seed, draws=ours.draws, held=ours.held)


def _label(attack: Attack, name: str) -> str:
    return attack.label if name == ITSELF else f"{attack.label} on {name}"


def union(runs: Sequence[Run]) -> Float[Tensor, " n"]:
    """Return for each image the share of draws that are correct on its worst candidate over some attacks.

    It uses the one score that all runs have in common; of a network that draws it is too low, as the smallest of many
    scores is (:meth:`Bench.looked`).
    """
    return worse_of(runs)[1]


def worse_of(runs: Sequence[Run]) -> tuple[Float[Tensor, "n 3 y x"], Float[Tensor, " n"]]:
    """Return for each image the worst candidate of some runs by the score they have in common, and that score."""
    candidates, share = runs[0].candidates.clone(), runs[0].right.clone()
    for run in runs[1:]:
        lower = is_worse(run.right, share)
        candidates[lower.to(candidates.device)] = run.candidates[lower.to(run.candidates.device)]
        share = torch.where(lower, run.right, share)
    return candidates, share
