"""One reading of a network under attack (an entry of the option ``ways``): attacks, score over fresh draws, control.

Everything that they need is built once per run and held by :class:`BuiltReading`. The *control* repeats the attacks
with eps = 0, which must change nothing.

Shapes: n images, y x pixels, k draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks import Attack, Ledger, run_battery
from sslkuramoto.attacks.battery import DecidedBy
from sslkuramoto.attacks.ledger import ledger_for
from sslkuramoto.classifier import Classifier, Initial, check_noiseless, predictions_over_draws
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import Chosen
from sslkuramoto.evaluation.protocol import Subject, start_of
from sslkuramoto.evaluation.robustness.attack_progress import AttackProgress
from sslkuramoto.evaluation.robustness.pictures import store_broken
from sslkuramoto.evaluation.robustness.second_look import fault_of_stored
from sslkuramoto.files import at_home
from sslkuramoto.noise_draws import accuracies, check_equal_scores, share_right, worst_of_draws
from sslkuramoto.results import Metric, Reading, Result
from sslkuramoto.threat import MisbehavedError, Threat

NOTHING: dict[str, Any] = {"decided_by": "majority", "chained": False}  # of the control


@dataclass(frozen=True)
class BuiltReading:
    """One reading of a network: how it is attacked and scored, with everything built.

    Attributes:
        name: key of ``ways``; empty if the protocol has none.
        subject: the measured run.
        chosen: the attacked images.
        data: their description in the result.
        options: of the protocol, defaults included.
        classifier: in its mode.
        attacks: prepared for the network.
        notes: sentences about the attacks, and about those that were skipped.
        reading: kind of robust accuracy, or None.
        threat: norm and radius.
        initial, decided_by, chained, chunk, draws, select_draws, control, store: see the protocol.
        ledger_folder: of the ledger; None: that of the run.
    """

    name: str
    subject: Subject
    chosen: Chosen
    data: dict[str, Any]
    options: dict[str, Any]
    classifier: Classifier
    attacks: list[Attack]
    notes: list[str]
    reading: Reading | None
    threat: Threat
    initial: Initial
    decided_by: DecidedBy
    chained: bool
    chunk: int
    draws: int
    select_draws: int
    control: int
    store: int
    ledger_folder: str | None

    def measure(self, progress: AttackProgress) -> tuple[Result, list[Float[Tensor, "n 3 y x"]]]:
        """Attack and score.

        Args:
            progress: of all readings together.

        Returns:
            The result, and the worst candidates: of each attack if the reading has a name (the union needs them),
            otherwise of all attacks together.

        Raises:
            UserError: equal images scored differently; a deterministic network that draws on attacked images.
            MisbehavedError: an attack changed an image with eps = 0.
        """
        classifier, chosen = self.classifier, self.chosen
        found = run_battery(
            classifier,
            chosen.pixels,
            chosen.labels,
            self.attacks,
            threat=self.threat,
            seed=self.subject.seed,
            chunk=self.chunk,
            draws=self.select_draws,
            decided_by=self.decided_by,
            chained=self.chained,
            index=chosen.index,
            ledger=self.ledger(chosen.index),
            keep=bool(self.name),
            report=progress.line,
            finished=partial(progress.finished, self.name),
        )
        check_noiseless(classifier, found.worst, chosen.index, self.chunk)
        clean, robust, theirs = (
            self.predictions(candidates, chosen.index) for candidates in (chosen.pixels, found.worst, found.wrapper)
        )
        if torch.equal(found.worst, chosen.pixels):
            check_equal_scores(clean, robust, reordered=chosen.pixels.is_cuda)
        labels = chosen.labels.cpu()
        metrics = {
            **accuracies(robust, labels, "robust_accuracy"),
            **worst_of_draws(robust, labels, "robust_accuracy"),
            "wrapper_accuracy": accuracies(theirs, labels)["accuracy"],
            **accuracies(clean, labels, "clean_accuracy"),
        }
        metrics["robust_accuracy"] = replace(metrics["robust_accuracy"], reading=self.reading)
        if self.control:
            metrics |= self._controlled()
        if self.store or not self.name:  # else the union over all readings is stored, and looked at
            self.look_again(found.worst, share_right(robust, labels))
        self.store_broken(self.name, found.worst, clean, robust)
        robust_after = ", ".join(f"{name} {share:.4f}" for name, share in found.standing_after.items())
        decided = f" (decided by {self.decided_by})" if classifier.stochastic else ""
        notes = [note for attack in self.attacks for note in attack.findings(found.noticed[attack.label])]
        result = Result(
            metrics=metrics,
            options=self.options,
            data=self.data,
            initial=start_of(self.subject.encoder, self.initial),
            per_image={
                "clean_correct": share_right(clean, labels),
                "correct": share_right(robust, labels),
                "broken_by": found.broken_by,
            },
            verdicts=["clean_correct", "correct"],
            notes=[*self.notes, *notes, f"share of images still robust after each attack{decided}: {robust_after}"],
            details={"threat": str(self.threat), "standing_after": found.standing_after},
        )
        return result, [candidates.cpu() for candidates in (found.candidates.values() if self.name else [found.worst])]

    def predictions(
        self,
        candidates: Float[Tensor, "n 3 y x"],
        index: Int64[Tensor, " n"],
        draws: int | None = None,
        purpose: str = "score",
    ) -> Int64[Tensor, "k n"]:
        """Classify with the same draws whatever the candidates are, so that equal images score equally."""
        chunks = zip(candidates.split(self.chunk), index.split(self.chunk), strict=True)
        return predictions_over_draws(self.classifier, chunks, draws or self.draws, purpose)

    def look_again(self, candidates: Float[Tensor, "n 3 y x"], correct: list[float]) -> None:
        """Classify images that will be stored by plain forward passes.

        Raises:
            UserError: they are not classified as the result says: the run is void.
            MisbehavedError: they are outside the ball or [0,1].
        """
        pixels, labels, index = self.chosen[:3]
        fault = fault_of_stored(
            self.classifier,
            candidates,
            pixels,
            labels,
            correct,
            threat=self.threat,
            index=index,
            chunk=self.chunk,
            draws=self.draws,
            key=("score",),
        )
        if fault is not None:
            raise UserError(f"void: {fault}")

    def store_broken(
        self, name: str, candidates: Float[Tensor, "n 3 y x"], clean: Int64[Tensor, "k n"], robust: Int64[Tensor, "k n"]
    ) -> None:
        """Write ``store`` adversarial images beside the result."""
        if self.store:
            file = f"{self.subject.file or 'robustness'}{f'-{name}' if name else ''}.safetensors"
            path = self.subject.run_dir / "results" / "images" / file
            store_broken(path, self.chosen, candidates, clean, robust, self.store)

    def _controlled(self) -> dict[str, Metric]:
        """Run every attack with eps = 0: the images must be returned unchanged and score the same.

        Returns:
            The accuracy with eps = 0 and the clean accuracy of the same few images; they must be equal.

        Raises:
            MisbehavedError: an attack changed an image.
            UserError: equal images scored differently.
        """
        pixels, labels, index = (part[: self.control] for part in self.chosen[:3])
        nowhere = run_battery(
            self.classifier,
            pixels,
            labels,
            self.attacks,
            threat=Threat(self.threat.norm, 0.0),
            seed=self.subject.seed,
            chunk=self.control,
            draws=self.select_draws,
            index=index,
            ledger=self.ledger(index, self.without_room()),
            **NOTHING,
        )
        if not torch.equal(nowhere.worst, pixels):
            raise MisbehavedError("an attack changed an image with eps = 0")
        controlled, clean = (self.predictions(part, index) for part in (nowhere.worst, pixels))
        check_equal_scores(clean, controlled, reordered=pixels.is_cuda)
        scores = {"control_accuracy": controlled, "control_clean_accuracy": clean}
        return {name: accuracies(predictions, labels.cpu())["accuracy"] for name, predictions in scores.items()}

    def without_room(self) -> dict[str, Any]:
        """Return the options that the control changes."""
        return {"eps": 0.0, "chunk": self.control, **NOTHING}

    def ledger(
        self,
        index: Int64[Tensor, " n"],
        changed: Mapping[str, Any] = MappingProxyType({}),
        *,
        reading: bool = False,
    ) -> Ledger:
        """Return the ledger of these images; options that do not affect this network are not part of its key."""
        options = {**self.options, "eps": self.threat.eps, **changed}
        shared = ["chained", "chunk"]
        if self.subject.encoder.stochastic:
            shared += ["initial", *(["average"] if self.initial == "averaged" else [])]
        if self.classifier.stochastic:
            shared += ["decided_by", "select_draws"]
        return ledger_for(
            self.subject.network,
            self.subject.code,
            at_home(self.ledger_folder) if self.ledger_folder else self.subject.run_dir / "ledger",
            inside=self.ledger_folder is None,
            seed=self.subject.seed,
            device=self.subject.device,
            threat=Threat(self.threat.norm, options["eps"]),
            data=self.data,
            index=index,
            mode={key: options[key] for key in shared},
            reading=reading,
        )
