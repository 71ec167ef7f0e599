"""The bracket: what is proven of the smoothed classifier g and what an l2 attack on the same g leaves, image by image.

*Lower end.* An image counts at radius r when its certificate names the label and holds at r; an abstention does not
count. *Upper end.* An image counts at r unless a candidate within r is confirmed: another class, chosen on draws of its
own, has more votes than the label on ``draws`` fresh draws, by an exact sign test at level alpha. A tie or a difference
that is not significant leaves the image counted. So for each image

    certified at r  <=  g is right within r  <=  not attacked at r

fails on the left with probability at most alpha, and on the right with at most alpha for each candidate: a certificate
says that the label has more than half of the votes within r, a confirmed candidate that another class has more than it.

*Crossing.* An image that is certified at r and attacked at r is examined again on fresh draws. If both are found again,
the bracket is crossed and the result is void. Otherwise the end that fresh draws do not confirm is given up, which only
widens the bracket.

Shapes: n images, r remaining images, y x pixels.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.attacks import Attack, Ledger, run_battery
from sslkuramoto.attacks.ledger import Unit
from sslkuramoto.classifier import Classifier
from sslkuramoto.evaluation.certificates.bound import Certificate, Plan, certificate_of
from sslkuramoto.evaluation.certificates.smoothed import votes
from sslkuramoto.randomness import Key
from sslkuramoto.sources import content_key
from sslkuramoto.statistics import sign_test
from sslkuramoto.threat import Threat

ALONE = "certificates"
"""Label of the units of certificates in a ledger. Such a unit has no candidates; each image has one column of
``predictions``: the chosen class, and the answers by class of the draws that bound it."""
CONFIRMED = "confirmed"
"""Label of the units that hold which candidates are confirmed, in ``broken``."""


@dataclass(frozen=True)
class Bracket:
    """Measures both ends on the same images.

    Attributes:
        classifier: the smoothed classifier g.
        images: pixels in [0,1].
        labels: their classes.
        index: their places in the data set; they key the draws.
        plan: of the certificates.
        draws: votes on a candidate.
        chunk: images per unit of work.
        batch: answers of one image in a forward pass.
        report: receives lines of progress.
    """

    classifier: Classifier
    images: Float[Tensor, "n 3 y x"]
    labels: Int64[Tensor, " n"]
    index: Int64[Tensor, " n"]
    plan: Plan
    draws: int
    chunk: int
    batch: int
    report: Callable[[str], None] = lambda line: None

    def certificates(self, ledger: Ledger | None = None) -> list[Certificate]:
        """Return the certificate of every image; those that the ledger holds are not made again."""
        parts = torch.arange(len(self.images)).split(self.chunk)
        found: dict[int, list[Certificate]] = {}
        for number in ledger.shared_out(range(len(parts)), self.report) if ledger else range(len(parts)):
            rows = parts[number]
            key = content_key({"plan": repr(self.plan), "batch": self.batch, "index": self.index[rows].tolist()})
            shapes = {"rows": rows.shape, "broken": rows.shape}
            unit = ledger.read(ALONE, number, 0, key, shapes) if ledger else None
            if unit is None:
                self.report(f"sigma {self.plan.sigma:g}: certificates, chunk {number + 1} of {len(parts)}")
                made = [self.certificate(int(row)) for row in rows]
                columns = [torch.cat([torch.tensor([each.chosen]), each.counts]) for each in made]
                lost = torch.tensor([each.abstains for each in made])
                unit = Unit(rows, self.images[:0], torch.stack(columns, dim=1), lost)
                if ledger:
                    ledger.write(ALONE, number, 0, key, unit, {"plan": repr(self.plan)})
            found[number] = [self.plan.of(int(column[0]), column[1:]) for column in unit.predictions.unbind(dim=1)]
        return [each for number in range(len(parts)) for each in found[number]]

    def certificate(self, row: int, *again: Key) -> Certificate:
        """Return the certificate of one image; ``again`` names other draws than the first ones."""
        place, image, sigma = int(self.index[row]), self.images[row], self.plan.sigma

        def count(purpose: str, number: int) -> Tensor:
            return votes(self.classifier, image, number, self.batch, "certify", sigma, purpose, place, *again)

        return certificate_of(count, self.plan)

    def confirmed(self, row: int, candidate: Float[Tensor, "3 y x"], radius: float, *again: Key) -> bool:
        """Return whether fresh draws show that g does not answer the label of an image at a candidate.

        Args:
            row: of the image.
            candidate: pixels in [0,1].
            radius: at which it was found; it keys the draws.
            again: names other draws than the first ones.
        """
        label, key = int(self.labels[row]), ("attacked", self.plan.sigma, radius, int(self.index[row]), *again)
        first = votes(self.classifier, candidate, self.plan.n0, self.batch, *key, "choose")
        others = first.clone()
        others[label] = -1
        rival = int(others.argmax())
        if sign_test(int(first[label]), int(first[rival])) <= self.plan.alpha:
            return False  # the label is far ahead: the test would confirm nothing
        then = votes(self.classifier, candidate, self.draws, self.batch, *key, "test")
        return sign_test(int(then[rival]), int(then[label])) <= self.plan.alpha

    def attacked(
        self,
        radii: Sequence[float],
        attacks: Sequence[Attack],
        select_draws: int,
        ledger_at: Callable[[float, Int64[Tensor, " r"]], Ledger | None],
    ) -> tuple[list[float | None], Float[Tensor, "n 3 y x"]]:
        """Attack g at each radius, each image until a candidate is confirmed.

        Args:
            radii: increasing, > 0; before them every image itself is tested, radius 0.
            attacks: prepared for g.
            select_draws: of the battery.
            ledger_at: (radius, places of the attacked images in the data set) -> ledger.

        Returns:
            For each image the smallest radius at which a candidate was confirmed, or None; and that candidate, or the
            image itself.
        """
        at: list[float | None] = [None] * len(self.images)
        worst = self.images.clone()
        for radius in (0.0, *radii):
            rows = torch.tensor([row for row, reached in enumerate(at) if reached is None], dtype=torch.int64)
            if len(rows) == 0:
                break
            ledger, candidates = ledger_at(radius, self.index[rows]), self.images[rows.to(self.images.device)]
            if radius > 0:
                self.report(f"sigma {self.plan.sigma:g}: attack at l2 {radius:g}, {len(rows)} images")
                candidates = self._worst(rows, radius, attacks, select_draws, ledger)
            for row, candidate, gone in zip(
                rows.tolist(), candidates, self._confirmed(rows, candidates, radius, ledger).tolist(), strict=True
            ):
                if gone:
                    at[row], worst[row] = radius, candidate
        return at, worst

    def _worst(
        self, rows: Int64[Tensor, " r"], radius: float, attacks: Sequence[Attack], draws: int, ledger: Ledger | None
    ) -> Float[Tensor, "r 3 y x"]:
        own = rows.to(self.images.device)
        return run_battery(
            self.classifier,
            self.images[own],
            self.labels[own],
            attacks,
            threat=Threat("l2", radius),
            seed=self.classifier.seed,
            chunk=self.chunk,
            draws=draws,
            index=self.index[rows],
            ledger=ledger,
            report=self.report,
        ).worst

    def _confirmed(
        self, rows: Int64[Tensor, " r"], candidates: Float[Tensor, "r 3 y x"], radius: float, ledger: Ledger | None
    ) -> Bool[Tensor, " r"]:
        """Return which candidates are confirmed, from the ledger where it holds them."""
        digest = hashlib.sha256(candidates.cpu().contiguous().numpy().tobytes()).hexdigest()
        settings = {"plan": repr(self.plan), "draws": self.draws, "batch": self.batch, "candidates": digest}
        key = content_key(settings)
        unit = ledger.read(CONFIRMED, 0, 0, key, {"rows": rows.shape, "broken": rows.shape}) if ledger else None
        if unit is None:
            pairs = zip(rows.tolist(), candidates, strict=True)
            found = torch.tensor([self.confirmed(row, candidate, radius) for row, candidate in pairs])
            unit = Unit(rows, self.images[:0], found[None].long(), found)
            if ledger:
                ledger.write(CONFIRMED, 0, 0, key, unit, settings)
        return unit.broken

    def examined(
        self, certificates: list[Certificate], at: list[float | None], worst: Float[Tensor, "n 3 y x"]
    ) -> tuple[list[int], list[int]]:
        """Examine crossed images again on fresh draws; what is not found again is given up, in both lists.

        Returns:
            The images whose crossing was found again, which make the result void, and those whose was not.
        """
        again, gone = [], []
        for row, (certificate, reached) in enumerate(zip(certificates, at, strict=True)):
            label = int(self.labels[row])
            if reached is None or not certificate.holds_at(reached, label):
                continue
            fresh = self.certificate(row, "again")
            holds, confirmed = fresh.holds_at(reached, label), self.confirmed(row, worst[row], reached, "again")
            if holds and confirmed:
                again.append(row)
                continue
            gone.append(row)
            if not holds:
                certificates[row] = fresh
            if not confirmed:
                at[row] = None
        return again, gone
