"""A battery: several attacks on the same images, and for each image the worst candidate over all of them.

As in AutoAttack (Croce and Hein 2020, 2003.01690), each attack works on the images that the earlier ones did not break.
The *union* over attacks takes, image by image, the candidate that the fewest draws classify correctly
(docs/methods/robustness.md). The work is divided into chunks of images that do not depend on one another; a ledger
stores each finished unit.

Shapes: b batch, n images, r attacked rows of a chunk, y x pixels, k draws, q classes.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Work
from sslkuramoto.attacks.ledger import Ledger, Unit
from sslkuramoto.attacks.worst_candidate import is_worse
from sslkuramoto.classifier import (
    Classifier,
    check_deterministic,
    check_finite,
    frozen,
    predicted,
    predictions_over_draws,
)
from sslkuramoto.errors import UserError
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.sources import PACKAGE, code_behind, code_version, content_key, plugins_behind
from sslkuramoto.threat import MisbehavedError, Threat, check_images, check_logits

DecidedBy = Literal["one draw", "majority"]
CLEAN = "clean"


@dataclass
class Attacked:
    """What a battery found. *Selection draws* are the draws of the network that choose among candidates.

    Attributes:
        worst: for each image the candidate that the fewest selection draws classify correctly (union over attacks).
        wrapper: what AutoAttack's own loop would return: the first candidate that broke the image, else the image.
        broken_by: the attack that first broke the image; "clean" if it was misclassified without an attack; None if
            it survived.
        standing_after: attack -> share of images still robust after it (chained: after it and all before it).
        share_right: attack -> for each image the share of selection draws that classify this attack's worst candidate
            correctly; the share on the clean image where the attack did not work on it.
        clean_share: the same share on the clean images.
        noticed: attack -> events counted over all units of work, also those of other processes.
        candidates: attack -> its own worst candidates; empty unless ``keep`` was set.
    """

    worst: Float[Tensor, "n 3 y x"]
    wrapper: Float[Tensor, "n 3 y x"]
    broken_by: list[str | None]
    standing_after: dict[str, float]
    share_right: dict[str, Float[Tensor, " n"]]
    clean_share: Float[Tensor, " n"]
    noticed: dict[str, Counter[str]]
    candidates: dict[str, Float[Tensor, "n 3 y x"]] = field(default_factory=dict)


def run_battery(
    classifier: Classifier,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    attacks: Sequence[Attack],
    *,
    threat: Threat,
    seed: int,
    chunk: int,
    draws: int,
    decided_by: DecidedBy = "majority",
    chained: bool = True,
    index: Int64[Tensor, " n"] | None = None,
    ledger: Ledger | None = None,
    keep: bool = False,
    everything: bool = False,
    rescaled: bool = False,
    report: Callable[[str], None] = lambda line: None,
    finished: Callable[[str], None] = lambda label: None,
) -> Attacked:
    """Run every attack on every image that is not yet fully broken.

    A deterministic network that misclassifies a candidate always misclassifies it. A stochastic network may be correct
    in some draws although most draws err, and each draw counts in the mean accuracy. Work on an image of a stochastic
    network therefore ends only when no selection draw classifies it correctly.

    Args:
        classifier: the attacked network, in its own mode.
        images: pixels in [0,1].
        labels: true classes.
        attacks: in order, prepared, with different labels.
        threat: norm and radius.
        seed: keys all randomness, together with chunk, attack and restart.
        chunk: images per unit of work and per forward pass.
        draws: selection draws for a stochastic classifier, at least 20.
        decided_by: when an image counts as broken and when work on it ends. "one draw": when one forward pass errs, as
            in AutoAttack; work then ends. "majority": broken when at most half of the selection draws are correct; work
            ends when none is. Both are the same for a deterministic classifier.
        chained: whether each attack sees only the images that the earlier ones did not finish. Otherwise each sees all
            images that some draw classifies correctly without an attack, so that attacks can be compared.
        index: of each image in its data set, for a classifier with one state per image; None: 0 to n - 1.
        ledger: stores the units of work; None: they are not stored.
        keep: whether ``candidates`` are returned.
        everything: whether every image is attacked, and its ``candidates`` are those of the attack even where they fool
            the classifier no more often than the image itself: for candidates that another network is to see.
        rescaled: whether the classifier is a copy with other logits of one that was attacked before. Scaled logits may
            sum to one without being probabilities.
        report: receives one line of progress per unit of work.
        finished: receives the label of an attack when it has finished a chunk.

    For a deterministic classifier the result on a chunk equals that of AutoAttack on that chunk, image by image.

    Raises:
        UserError: pixels outside [0,1], probabilities in place of logits, a network that is declared deterministic
            and is not, two attacks with one label, too few draws.
    """
    check_images(images)
    names = [attack.label for attack in attacks]
    for name in names:
        if names.count(name) > 1 or name == CLEAN:
            raise UserError(f"attacks: two have the label {name!r}; give one of them another label")
    battery = _Battery(
        classifier,
        attacks,
        threat,
        seed,
        draws_for(classifier.stochastic, draws),
        decided_by,
        chained,
        ledger,
        report,
        everything,
    )
    index = torch.arange(len(images)) if index is None else index
    rows = torch.arange(len(images)).split(chunk)
    first = classifier.at(index[rows[0]])
    with torch.no_grad():
        logits = first(images[rows[0]], draw=Work(seed, 0).generator(images.device, "battery", "check"))
    check_finite(logits)
    if not rescaled:
        check_logits(logits)
    check_deterministic(first, images[rows[0]])
    parts: dict[int, _ChunkResult] = {}
    for number in ledger.shared_out(range(len(rows)), report) if ledger else range(len(rows)):
        own = rows[number]
        bound = classifier.at(index[own])
        progress = f"chunk {number + 1} of {len(rows)}"
        parts[number] = battery.on_chunk(bound, images[own], labels[own], number, progress, finished)
    found = _joined([parts[number] for number in range(len(rows))], names, keep)
    for candidates in (found.worst, found.wrapper, *found.candidates.values()):
        threat.check(candidates, images, "the battery")
    return found


def is_held(
    classifier: Classifier,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    attacks: Sequence[Attack],
    *,
    threat: Threat,
    seed: int,
    chunk: int,
    draws: int,
    decided_by: DecidedBy,
    chained: bool,
    ledger: Ledger,
) -> bool:
    """Return whether the ledger holds all units of :func:`run_battery`.

    The battery is run with hooks that stop it at the first forward pass of any network.
    """
    draws = draws_for(classifier.stochastic, draws)
    battery = _Battery(classifier, attacks, threat, seed, draws, decided_by, chained, ledger, lambda line: None)

    def refuse(*_: object) -> None:
        raise _AskedError

    networks = [classifier, *(attack.source for attack in attacks if attack.source is not None)]
    hooks = [network.encoder.register_forward_pre_hook(refuse) for network in networks]
    try:
        for number, rows in enumerate(torch.arange(len(images)).split(chunk)):
            battery.on_chunk(classifier.at(rows), images[rows], labels[rows], number, "")
    except _AskedError:
        return False
    finally:
        for hook in hooks:
            hook.remove()
    return True


class _AskedError(Exception):
    """A network made a forward pass although the ledger was expected to hold everything."""


@dataclass
class _ChunkResult:
    """What was found on one chunk, on the device of its images."""

    worst: Tensor
    wrapper: Tensor
    broken_by: list[str | None]
    clean_share: Tensor
    share_right: dict[str, Tensor]
    broken: dict[str, Bool[Tensor, " b"]]  # by this attack or, if chained, by an earlier one
    noticed: dict[str, Counter[str]]
    candidates: dict[str, Tensor]


@dataclass(frozen=True)
class _Battery:
    """The settings that all chunks share."""

    classifier: Classifier
    attacks: Sequence[Attack]
    threat: Threat
    seed: int
    draws: int
    decided_by: DecidedBy
    chained: bool
    ledger: Ledger | None
    report: Callable[[str], None]
    everything: bool = False

    def on_chunk(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        number: int,
        progress: str,
        finished: Callable[[str], None] = lambda label: None,
    ) -> _ChunkResult:
        clean = self._clean(classifier, images, labels, number)
        shares = (clean.predictions.to(labels.device) == labels).float().mean(dim=0)
        wrong = clean.broken.to(labels.device)
        found = _ChunkResult(
            images.clone(), images.clone(), [CLEAN if gone else None for gone in wrong.tolist()], shares, {}, {}, {}, {}
        )
        best = shares.clone()
        spent = torch.zeros_like(wrong) if self.everything else self._spent(wrong, shares)
        broken, done = wrong.clone(), spent.clone()
        for attack in self.attacks:
            if not self.chained:
                broken, done = wrong.clone(), spent.clone()
            own_best = torch.full_like(shares, torch.inf) if self.everything else shares.clone()
            own = images.clone()
            noticed = found.noticed[attack.label] = Counter()
            for restart in range(attack.restarts):
                rows = (~done).nonzero().squeeze(1)
                if len(rows) == 0:
                    break
                work = Work(self.seed, number, restart)
                unit = self._unit(attack, classifier, images, labels, rows, work, progress)
                noticed.update(unit.noticed)
                fooled = unit.broken.to(rows.device)
                candidates, gone = unit.candidates.to(images.device), rows[fooled]
                share = (unit.predictions.to(labels.device) == labels[rows]).float().mean(dim=0)
                _keep_lower(own, own_best, rows, candidates, share)
                _keep_lower(found.worst, best, rows, candidates, share)
                broken[gone] = True
                done[rows] |= self._spent(fooled, share)
                for place in gone.tolist():
                    if found.broken_by[place] is None:
                        found.broken_by[place] = attack.label
                        found.wrapper[place] = candidates[(rows == place).nonzero()[0, 0]]
            found.share_right[attack.label] = own_best.minimum(shares)
            found.broken[attack.label] = broken.clone()
            found.candidates[attack.label] = own
            finished(attack.label)
        return found

    def _spent(self, broken: Bool[Tensor, " r"], share: Float[Tensor, " r"]) -> Bool[Tensor, " r"]:
        """Return for which images no further attack can lower the score."""
        return share == 0 if self.classifier.stochastic and self.decided_by == "majority" else broken

    def _clean(self, classifier: Classifier, images: Tensor, labels: Tensor, number: int) -> Unit:
        key = content_key({"clean": number, "images": len(images)})
        shapes = {"rows": labels.shape, "predictions": (self.draws, len(images)), "broken": labels.shape}
        unit = self.ledger.read(CLEAN, number, 0, key, shapes) if self.ledger else None
        if unit is None:
            rows = torch.arange(len(images), device=images.device)
            predictions, broken = self._decide(classifier, images, labels, Work(self.seed, number), CLEAN)
            unit = Unit(rows, images[:0], predictions, broken)
            if self.ledger:
                self.ledger.write(CLEAN, number, 0, key, unit, {})
        return unit

    def _unit(
        self,
        attack: Attack,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        rows: Tensor,
        work: Work,
        progress: str,
    ) -> Unit:
        options = _known_by(attack, self.classifier.stochastic)
        about = {"attack": type(attack).__name__, "options": options, "rows": rows.tolist()}
        about |= {"code": _code_of(attack)}
        about |= {"plugins": plugins_behind(attack)}
        key = content_key(about)
        place = (attack.label, work.chunk, work.restart, key)
        shapes = {"rows": rows.shape, "candidates": images[rows].shape, "broken": rows.shape}
        shapes |= {"predictions": torch.Size((self.draws, len(rows)))}
        unit = self.ledger.read(*place, shapes) if self.ledger else None
        if unit is None:
            again = f", start {work.restart + 1} of {attack.restarts}" if attack.restarts > 1 else ""
            self.report(f"{attack.label}: {progress}{again}, {len(rows)} images")
            own = classifier.of(rows)
            own.restart("attack", attack.label, work.chunk, work.restart)
            attack.noticed.clear()
            with frozen(own):
                candidates = attack(own, images[rows], labels[rows], threat=self.threat, work=work)
            candidates = candidates.detach()
            self.threat.check(candidates, images[rows], attack.label)
            predictions, broken = self._decide(own, candidates, labels[rows], work, attack.label)
            unit = Unit(rows, candidates, predictions, broken, dict(attack.noticed))
            if self.ledger:
                self.ledger.write(*place, unit, about)
            return unit
        try:
            self.threat.check(unit.candidates.to(images.device), images[rows], attack.label)
        except MisbehavedError as error:
            file = self.ledger.file_of(*place) if self.ledger else None
            raise UserError(f"{file}: damaged ({error}); remove it, and its images are attacked again") from None
        return unit

    @torch.no_grad()
    def _decide(
        self, classifier: Classifier, candidates: Tensor, labels: Tensor, work: Work, label: str
    ) -> tuple[Int64[Tensor, "k b"], Bool[Tensor, " b"]]:
        """Return what the selection draws predict for the candidates, and which candidates count as adversarial."""
        key = ("select", label, work.chunk, work.restart)
        predictions = predictions_over_draws(classifier, [candidates], self.draws, *key)
        if self.decided_by == "majority" or not classifier.stochastic:
            right = (predictions.to(labels.device) == labels).float().mean(dim=0)
            return predictions, right <= 0.5
        one = classifier(candidates, draw=work.generator(candidates.device, "battery", "decide", label))
        return predictions, predicted(one) != labels


def _known_by(attack: Attack, stochastic: bool) -> dict[str, Any]:
    """Return the options that decide what one restart of an attack finds; the number of restarts is not one of them."""
    idle = () if stochastic else attack.idle_without_noise
    # restarts that the attack makes internally stay among the options
    starts = ("restarts",) if attack.options.get("restarts") == attack.restarts else ()
    return {key: value for key, value in attack.options.items() if key not in (*idle, *starts)}


def _code_of(attack: Attack) -> str:
    """Return the hash of an attack's module and of what it imports; for a plug-in's attack, of all attacks."""
    module = type(attack).__module__.split(".")
    ours = module[0] == PACKAGE.name
    return code_behind(f"{'/'.join(module[1:])}.py") if ours else code_version(("attacks",))


def _keep_lower(kept: Tensor, lowest: Tensor, rows: Tensor, candidates: Tensor, share: Tensor) -> None:
    """Replace the stored candidate of an image where fewer selection draws classify the new one correctly.

    Unlike :func:`worst_of`, a battery cannot wait for all candidates: the outcome of one attack decides which images
    the next one works on. It therefore compares candidates by the single score that the ledger stores with each.
    """
    lower = is_worse(share, lowest[rows])
    kept[rows[lower]] = candidates[lower]
    lowest[rows[lower]] = share[lower]


def _joined(parts: Sequence[_ChunkResult], names: Sequence[str], keep: bool) -> Attacked:
    return Attacked(
        worst=torch.cat([part.worst for part in parts]),
        wrapper=torch.cat([part.wrapper for part in parts]),
        broken_by=[label for part in parts for label in part.broken_by],
        standing_after={
            name: 1 - torch.cat([part.broken[name] for part in parts]).double().mean().item() for name in names
        },
        share_right={name: torch.cat([part.share_right[name] for part in parts]) for name in names},
        clean_share=torch.cat([part.clean_share for part in parts]),
        noticed={name: sum((part.noticed[name] for part in parts), Counter()) for name in names},
        candidates={name: torch.cat([part.candidates[name] for part in parts]) for name in names} if keep else {},
    )
