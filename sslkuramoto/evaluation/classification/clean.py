"""Clean accuracy of a run that holds a classifier, over fresh draws of the initial oscillators."""

from typing import Literal

from sslkuramoto.classifier import Initial, predictions_over_draws
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.data import batches, in_order
from sslkuramoto.evaluation.classification.sanity import check_classes
from sslkuramoto.evaluation.forward_cost import classifier_cost
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.noise_draws import accuracies, draws_for, share_right
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.values import Repeats, checked


@checked
class Clean(Protocol):
    """Share of a split that is classified correctly.

    Args:
        initial: initial oscillators: "random", "fixed", "fixed_per_image", or "averaged" (mean logits of
            fresh draws).
        average: draws in that mean.
        split: split that is scored.
        draws: fresh draws of a stochastic classifier, at least 20.
    """

    name = "clean"
    needs = frozenset({"head", "labels"})
    columns = (Column("clean", "clean accuracy", "Finetuned", False, 6, ["accuracy"]),)

    def __init__(
        self,
        *,
        initial: Initial = "random",
        average: Repeats = 8,
        split: Literal["test", "val"] = "test",
        draws: Repeats = 20,
    ) -> None:
        self.options = options_of(locals())
        self.initial: Initial = initial
        self.average, self.split, self.draws = average, split, draws
        self.splits = (split,)

    def measure(self, subject: Subject) -> Result:
        classifier = classifier_of(subject, self.initial, average=self.average)
        images = subject.images(self.split)
        check_classes(subject, images)
        assert images.labels is not None
        order = in_order(len(images), subject.batch_size)
        chunks = (
            (batch.inputs, batch.indices)
            for batch in batches(images, order, device=subject.device, workers=subject.workers)
        )
        predictions = predictions_over_draws(classifier, chunks, self.draws, "clean")
        labels = images.labels.cpu()
        return Result(
            metrics=accuracies(predictions, labels),
            options=self.options,
            data=described(images),
            initial=start_of(subject.encoder, self.initial),
            per_image={"correct": share_right(predictions, labels)},
            verdicts=["correct"],
        )

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost on this device after timing a few passes; measures nothing."""
        classifier = classifier_of(subject, self.initial, average=self.average)
        passes = draws_for(classifier.stochastic, self.draws)
        return [("", classifier_cost(subject, classifier, self.split, passes=passes))]
