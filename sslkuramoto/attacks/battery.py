"""A battery: many attacks on the same images, and the worst candidate of each image over all of them.

Croce and Hein 2020 (2003.01690): each attack works on the images that the earlier ones left standing. Scoring follows
docs/evaluation.md: the union over attacks an image, over fresh draws for a stochastic network. The work is
cut into chunks of images, which depend on nothing but themselves; a ledger keeps what is done.

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
from sslkuramoto.sources import PACKAGE, code_behind, code_version, content_key, foreign_code
from sslkuramoto.threat import MisbehavedError, Threat, check_images, check_logits

DecidedBy = Literal["one draw", "majority"]
CLEAN = "clean"


@dataclass
class Attacked:
    """What a battery found.

    Attributes:
        worst: for each image the candidate that the fewest selection draws get right (the union over attacks).
        wrapper: what AutoAttack itself returns: the candidate that was decided to break an image, else the clean one.
        broken_by: the attack that first broke an image, "clean" when it was wrong from the start, None when it stands.
        standing_after: attack -> share of images that stand after it (chained: and after all before it).
        share_right: attack -> share of selection draws that get its own worst candidate of an image right; that of the
            clean image where the attack did not work on it.
        clean_share: the same for the images themselves.
        noticed: attack -> what it counted in all units of work, also of other processes.
        candidates: attack -> its own worst candidates; empty unless they were to be kept.
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
    report: Callable[[str], None] = lambda line: None,
) -> Attacked:
    """Attack every image with every attack until nothing of it is left.

    A deterministic network that is fooled is fooled for good. One that draws may be right in some draws after most err,
    and each of them counts in the mean: work on its image ends when no selection draw gets it right.

    Args:
        classifier: what is attacked, in its own mode.
        images: pixels in [0,1].
        labels: right classes.
        attacks: in order, prepared, with labels of their own.
        threat: norm and radius.
        seed: keys all randomness, together with chunk, attack and restart.
        chunk: images a unit of work; also those of a forward pass.
        draws: selection draws for a stochastic classifier, at least 20.
        decided_by: "one draw": one forward pass decides that an image is broken, and it is left alone from then on, as
            in AutoAttack; "majority": it is called broken when not more than half of the selection draws are right, and
            left alone when none is. The same for a deterministic classifier.
        chained: each attack sees only the images that the earlier ones did not use up; otherwise each sees all that
            some draw gets right when clean, so that their strengths can be compared.
        index: of each image in its data set, for a classifier with one state an image; 0 to n - 1 when None.
        ledger: where units of work are kept; nowhere when None.
        keep: whether ``candidates`` are returned.
        report: receives a line a unit of work.

    For a deterministic classifier the result on a chunk is AutoAttack's on that chunk, image by image.

    Raises:
        UserError: pixels outside [0,1], probabilities for logits, a network that says it is deterministic and is not,
            two attacks of one label, too few draws.
    """
    check_images(images)
    names = [attack.label for attack in attacks]
    for name in names:
        if names.count(name) > 1 or name == CLEAN:
            raise UserError(f"attacks: two are called {name!r}; give one another label")
    battery = _Battery(
        classifier, attacks, threat, seed, draws_for(classifier.stochastic, draws), decided_by, chained, ledger, report
    )
    index = torch.arange(len(images)) if index is None else index
    rows = torch.arange(len(images)).split(chunk)
    first = classifier.at(index[rows[0]])
    with torch.no_grad():
        logits = first(images[rows[0]], draw=Work(seed, 0).generator(images.device, "battery", "check"))
    check_finite(logits)
    check_logits(logits)
    check_deterministic(first, images[rows[0]])
    parts: dict[int, _Part] = {}
    for number in ledger.shared_out(range(len(rows)), report) if ledger else range(len(rows)):
        own = rows[number]
        bound = classifier.at(index[own])
        progress = f"chunk {number + 1} of {len(rows)}"
        parts[number] = battery.on_chunk(bound, images[own], labels[own], number, progress)
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
    """Return whether the ledger holds all that :func:`run_battery` would do: it is done with networks that must not
    be asked."""
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
    """A network was asked that must not be."""


@dataclass
class _Part:
    """What was found on one chunk, on the device of its images."""

    worst: Tensor
    wrapper: Tensor
    broken_by: list[str | None]
    clean_share: Tensor
    share_right: dict[str, Tensor]
    broken: dict[str, Bool[Tensor, " b"]]  # by this attack or, chained, one before
    noticed: dict[str, Counter[str]]
    candidates: dict[str, Tensor]


@dataclass(frozen=True)
class _Battery:
    """What all chunks share."""

    classifier: Classifier
    attacks: Sequence[Attack]
    threat: Threat
    seed: int
    draws: int
    decided_by: DecidedBy
    chained: bool
    ledger: Ledger | None
    report: Callable[[str], None]

    def on_chunk(self, classifier: Classifier, images: Tensor, labels: Tensor, number: int, progress: str) -> _Part:
        clean = self._clean(classifier, images, labels, number)
        shares = (clean.predictions.to(labels.device) == labels).float().mean(dim=0)
        wrong = clean.broken.to(labels.device)
        found = _Part(
            images.clone(), images.clone(), [CLEAN if gone else None for gone in wrong.tolist()], shares, {}, {}, {}, {}
        )
        best = shares.clone()
        spent = self._spent(wrong, shares)
        broken, done = wrong.clone(), spent.clone()
        for attack in self.attacks:
            if not self.chained:
                broken, done = wrong.clone(), spent.clone()
            own_best, own = shares.clone(), images.clone()
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
            found.share_right[attack.label] = own_best
            found.broken[attack.label] = broken.clone()
            found.candidates[attack.label] = own
        return found

    def _spent(self, broken: Bool[Tensor, " r"], share: Float[Tensor, " r"]) -> Bool[Tensor, " r"]:
        """Return which images have nothing left to lose."""
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
        about |= {"foreign": foreign_code(attack, self.classifier.encoder, self.classifier.head)}
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
            raise UserError(f"{file}: damaged ({error}); remove it and its images are attacked again") from None
        return unit

    @torch.no_grad()
    def _decide(
        self, classifier: Classifier, candidates: Tensor, labels: Tensor, work: Work, label: str
    ) -> tuple[Int64[Tensor, "k b"], Bool[Tensor, " b"]]:
        """Return what the selection draws predict for the candidates, and which of these fool the network."""
        key = ("select", label, work.chunk, work.restart)
        predictions = predictions_over_draws(classifier, [candidates], self.draws, *key)
        if self.decided_by == "majority" or not classifier.stochastic:
            right = (predictions.to(labels.device) == labels).float().mean(dim=0)
            return predictions, right <= 0.5
        one = classifier(candidates, draw=work.generator(candidates.device, "battery", "decide", label))
        return predictions, predicted(one) != labels


def _known_by(attack: Attack, stochastic: bool) -> dict[str, Any]:
    """Return the options that decide what one start of an attack finds; how many there are is not among them."""
    idle = () if stochastic else attack.idle_without_noise
    starts = ("restarts",) if attack.options.get("restarts") == attack.restarts else ()  # else made inside the attack
    return {key: value for key, value in attack.options.items() if key not in (*idle, *starts)}


def _code_of(attack: Attack) -> str:
    """Return the hash of an attack's own module and what it needs; of all attacks' for one of another package."""
    module = type(attack).__module__.split(".")
    ours = module[0] == PACKAGE.name
    return code_behind(f"{'/'.join(module[1:])}.py") if ours else code_version(("attacks",))


def _keep_lower(kept: Tensor, lowest: Tensor, rows: Tensor, candidates: Tensor, share: Tensor) -> None:
    """Keep a candidate in place of the one that is kept where fewer draws get it right.

    A battery cannot wait for all candidates, as :func:`worst_of` does: what an attack found decides which images the
    next one works on, so it compares each on the one score that the ledger keeps with it.
    """
    lower = is_worse(share, lowest[rows])
    kept[rows[lower]] = candidates[lower]
    lowest[rows[lower]] = share[lower]


def _joined(parts: Sequence[_Part], names: Sequence[str], keep: bool) -> Attacked:
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
