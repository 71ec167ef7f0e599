"""Protocol ``corruptions``: accuracy and calibration on 15 corruptions at 5 severities.

Hendrycks and Dietterich 2019 (1903.12261). Two figures that the literature both calls "CC" are kept apart:
``accuracy_severity_5`` (AKOrN's table 20, RobustBench) and ``accuracy_mean`` over five severities (OPL's table 10).
"""

from pathlib import Path
from typing import Annotated, Literal

from sslkuramoto.classifier import Initial
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.sanity import check_classes, check_first_chunk
from sslkuramoto.evaluation.classification.subset import chosen_images
from sslkuramoto.evaluation.corruptions.archive import Archive, checked_names
from sslkuramoto.evaluation.corruptions.baseline import Baseline, load_baseline
from sslkuramoto.evaluation.corruptions.corrupt import CORRUPTIONS
from sslkuramoto.evaluation.corruptions.scores import (
    Cell,
    answers,
    corruption_errors,
    error_of,
    increase,
    mean_accuracy,
    mean_ece,
)
from sslkuramoto.evaluation.corruptions.sources import Made, Read, aligned, clean_chunks
from sslkuramoto.evaluation.corruptions.strengths import SEVERITIES
from sslkuramoto.evaluation.forward_cost import classifier_cost
from sslkuramoto.evaluation.inputs import Input
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.examples import Images, Spec
from sslkuramoto.files import at_home
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric, Result
from sslkuramoto.values import Count, Mark, Must, Repeats, checked, small

NAME = "corruptions"
SMALLEST = 4  # pixels per side

Severities = Annotated[
    tuple[int, ...],
    Must(
        "different numbers from 1 to 5",
        lambda found: found and len(set(found)) == len(found) and set(found) <= set(SEVERITIES),
    ),
]


@small(images=4, corruptions=("contrast", "jpeg_compression"), severities=(1, 5))
@checked
class Corruptions(Protocol):
    """Share of corrupted images that are classified correctly.

    Args:
        source: "ours" (made on the device, any image size) or "archive" (CIFAR-10-C, CIFAR-100-C as published).
        archive: folder of the archive, or its .tar file, for source "archive".
        corruptions: a list of names, such as [fog]; None: the usual 15. Archives contain four more.
        severities: from 1 to 5; means over severities are reported only if all five are given.
        images: number of images, None for all. The choice depends on the data set alone, so all runs use the same.
        split: split that the images are taken from; an archive contains the test images.
        draws: fresh draws of a stochastic classifier, at least 20.
        initial: initial oscillators: "random", "fixed", "fixed_per_image" or "averaged".
        average: draws per forward pass of "averaged".
        calibration: whether to also measure the expected calibration error (15 bins of equal width, percent).
        baseline: result file of another run under this protocol; mCE is relative to it.
        corruption_seed: of the random numbers of our own corruptions, the same for every run.
    """

    name = NAME
    needs = frozenset({"head", "labels"})
    columns = tuple(
        Column(
            *(f"{kind}_{key}", title, group, False, place + step, [metric]),
            optional=True,
            made_with=(("source", source),),
            better="lower" if key == "mce" else "higher",
        )
        for place, kind, group, source in (
            (13, "corruption", "Our corruptions", "ours"),
            (15, "archive", "Published corruptions", "archive"),
        )
        for step, key, title, metric in ((0, "accuracy", "mean accuracy", "accuracy_mean"), (1, "mce", "mCE", "mce"))
    )

    def __init__(
        self,
        *,
        source: Literal["ours", "archive"] = "ours",
        archive: Annotated[str | None, Mark.INCIDENTAL] = None,
        corruptions: tuple[str, ...] | str | None = None,
        severities: Severities = SEVERITIES,
        images: Count | None = 1000,
        split: Literal["test", "val"] = "test",
        draws: Repeats = 20,
        initial: Initial = "random",
        average: Repeats = 8,
        calibration: bool = True,
        baseline: Annotated[str | None, Mark.OPEN] = None,
        corruption_seed: int = 0,
    ) -> None:
        self.options = options_of(locals())
        if source == "ours" and archive is not None:
            raise UserError(f"archive={archive}: only source=archive reads one")
        if source == "archive" and split != "test":
            raise UserError(f"split={split}: an archive contains test images only; must be test")
        if baseline is not None and set(severities) != set(SEVERITIES):
            raise UserError(f"baseline={baseline}: mCE is a mean over the severities 1 to 5; give all of them")
        self.names = checked_names(CORRUPTIONS if corruptions is None else corruptions, archive=source == "archive")
        self.source, self.archive = source, archive
        self.severities = tuple(sorted(severities))
        self.images, self.split, self.draws = images, split, draws
        self.splits = (split,)
        self.initial: Initial = initial
        self.average, self.calibration = average, calibration
        self.baseline, self.corruption_seed = baseline, corruption_seed

    def measure(self, subject: Subject) -> Result:
        classifier = classifier_of(subject, self.initial, average=self.average)
        draws = draws_for(classifier.stochastic, self.draws)
        baseline, archive = self._read(subject)
        chosen = chosen_images(subject, self.split, self.images, subject.batch_size)
        check_first_chunk(classifier, *next(clean_chunks(chosen, subject.batch_size)), NAME)
        labels = chosen.labels.cpu()
        source: Made | Read
        if archive is None:
            source = Made(chosen, subject.batch_size, self.corruption_seed)
        else:
            source = Read(subject, archive, chosen.index)
        clean_images = clean_chunks(chosen, subject.batch_size)
        clean = answers(classifier, clean_images, labels, draws, ece=self.calibration, where="clean images")
        cells: dict[str, list[Cell]] = {}
        for place, name in enumerate(self.names, start=1):
            cells[name] = [
                answers(
                    classifier,
                    source.chunks(name, severity),
                    labels,
                    draws,
                    ece=self.calibration,
                    where=f"{name} at severity {severity}",
                )
                for severity in self.severities
            ]
            shown = " ".join(f"{100 * cell.accuracy:.1f}" for cell in cells[name])
            subject.report(f"{place}/{len(self.names)} {name}: {shown} % (clean {100 * clean.accuracy:.1f} %)")
        verdicts = self._verdicts(cells, clean)
        result = Result(
            metrics=self._metrics(cells, clean),
            options=self.options,
            data=described(chosen.images, len(labels)) | source.described(),
            initial=start_of(subject.encoder, self.initial),
            per_image={"index": chosen.index.tolist(), **verdicts},
            verdicts=list(verdicts),
            notes=self._notes(chosen.images.size),
            details={"corruptions": self._table(cells)},
        )
        if baseline is not None:
            result.metrics.update(corruption_errors(cells, clean, baseline))
            if "relative_mce" not in result.metrics:
                result.notes.append("relative mCE is not defined: under some corruption the baseline loses no accuracy")
            result.notes += baseline.differences(result.data)
        return result

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost on this device after timing a few passes; measures nothing."""
        classifier = classifier_of(subject, self.initial, average=self.average)
        self._read(subject)
        passes = (1 + len(self.names) * len(self.severities)) * draws_for(classifier.stochastic, self.draws)
        return [("", classifier_cost(subject, classifier, self.split, images=self.images, passes=passes, look=True))]

    def inputs(self) -> tuple[Input, ...]:
        """Return the archive and the baseline, where they are read."""
        wanted = "the folder of CIFAR-10-C or CIFAR-100-C"
        archive = Input("archive", self.archive, wanted, self.names, self._files)
        parts = (self.source, *self.names)  # what the baseline is checked for
        read = self._baseline_file
        baseline = Input("baseline", self.baseline, "a result of corruptions", parts, read, sampled=False)
        return (archive,) * (self.source == "archive") + (baseline,) * (self.baseline is not None)

    def _files(self, spec: Spec) -> dict[str, Path]:
        """Return the files of the archive by name, after checking that they fit the spec."""
        assert self.archive is not None
        assert isinstance(spec, Images)
        archive = Archive(at_home(self.archive), self.names, size=spec.size, classes=spec.classes or 0)
        return {name: archive.file(name) for name in ("labels", *self.names)}

    def _baseline_file(self, spec: Spec) -> dict[str, Path]:
        """Return the file of the baseline, after checking that it is one."""
        assert self.baseline is not None
        load_baseline(self.baseline, self.names, self.source)
        return {"": at_home(self.baseline)}

    def _read(self, subject: Subject) -> tuple[Baseline | None, Archive | None]:
        """Return the baseline and the archive, where there are any, after checking them and the images of the run."""
        baseline = load_baseline(self.baseline, self.names, self.source) if self.baseline is not None else None
        images = subject.images(self.split)
        check_classes(subject, images)
        if images.size < SMALLEST:
            raise UserError(f"data.size={images.size}: corruptions need images of at least {SMALLEST} pixels per side")
        return baseline, self._archive(subject)

    def _archive(self, subject: Subject) -> Archive | None:
        """Return the archive, checked against the images of the run; None if the corruptions are made here."""
        if self.source == "ours":
            return None
        if self.archive is None:
            raise UserError("source=archive: needs archive=DIR, the folder of CIFAR-10-C or CIFAR-100-C")
        images = subject.images(self.split)
        assert images.classes is not None
        folder = at_home(self.archive)
        archive = Archive(folder, self.names, size=images.size, classes=len(images.classes))
        aligned(archive, images)
        return archive

    def _metrics(self, cells: dict[str, list[Cell]], clean: Cell) -> dict[str, Metric]:
        metrics = {"clean_accuracy": mean_accuracy([clean])}
        if self.calibration:
            metrics["clean_ece"] = mean_ece([clean])
        groups = {f"severity_{s}": [row[i] for row in cells.values()] for i, s in enumerate(self.severities)}
        if self.severities == SEVERITIES:
            groups = {"mean": [cell for row in cells.values() for cell in row], **groups}
        for name, group in groups.items():
            metrics[f"accuracy_{name}"] = mean_accuracy(group)
            metrics[f"error_{name}"] = error_of(metrics[f"accuracy_{name}"])
            metrics[f"relative_error_{name}"] = increase(group, clean)
            if self.calibration:
                metrics[f"ece_{name}"] = mean_ece(group)
        return metrics

    def _table(self, cells: dict[str, list[Cell]]) -> dict[str, dict[str, dict[str, float]]]:
        return {
            name: {str(severity): cell.entry() for severity, cell in zip(self.severities, row, strict=True)}
            for name, row in cells.items()
        }

    def _verdicts(self, cells: dict[str, list[Cell]], clean: Cell) -> dict[str, list]:
        """Return for each image the share of draws (and corruptions) that are correct."""
        verdicts: dict[str, list] = {"clean_correct": _rounded([clean])}
        for i, severity in enumerate(self.severities):
            verdicts[f"correct_severity_{severity}"] = _rounded([row[i] for row in cells.values()])
        if self.severities == SEVERITIES:
            verdicts["correct"] = _rounded([cell for row in cells.values() for cell in row])
        return verdicts

    def _notes(self, size: int) -> list[str]:
        notes = []
        if self.source == "ours":
            notes.append(
                "corruptions made by this package (docs/corruptions.md), with a different texture for frost: results "
                "are close, but not equal, to those on the published archives"
            )
            if size != 32:
                notes.append(f"images of {size} pixels: strengths as for 32 pixels, lengths scaled by the image size")
        if set(self.names) != set(CORRUPTIONS):
            count = f"{len(self.names)} corruption{'s' if len(self.names) > 1 else ''}"
            notes.append(f"{count}, not the 15 of the published means: {', '.join(self.names)}")
        return notes


def _rounded(cells: list[Cell]) -> list[float]:
    total = sum((cell.shares for cell in cells[1:]), cells[0].shares)
    return [round(share, 6) for share in (total / len(cells)).tolist()]
