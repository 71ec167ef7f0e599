"""Whether the examples that are measured may be among those of a training of the network."""

from sslkuramoto.earlier_trainings import Training, unlike
from sslkuramoto.evaluation.protocol import Protocol, Subject
from sslkuramoto.recipe import Part


def divided_otherwise(subject: Subject, split: str, own: Part | None = None) -> tuple[Training, str] | None:
    """Return the first training that divided the measured examples otherwise, and its option ``data.KEY=VALUE``.

    Args:
        subject: a network, with data options as they were changed for the measurement.
        split: ``"test"`` or ``"val"``.
        own: the data source that a protocol measures in place of the run's.
    """
    for training in subject.trainings:
        trained, source = training.source, subject.trainings[0].source
        measured = own or (source and Part(source.name, {**source.options, **subject.data_options}))
        if measured and trained and (option := unlike(measured, trained, split)):
            return training, option
    return None


def trainings_known(subject: Subject) -> bool:
    """Return whether all trainings of a network are known: no function made it, and no run that it needs is gone."""
    return bool(subject.trainings) and all(training.source for training in subject.trainings)


def notes_of_division(subject: Subject, protocol: Protocol) -> list[str]:
    """Return a sentence for each measured split that may hold examples of a training."""
    notes = []
    for split in protocol.splits:
        if split != "train" and (found := divided_otherwise(subject, split, protocol.own_source)):
            training, option = found
            notes.append(f"{split}: {training.run} was trained with {option}, perhaps on some of these examples")
    return notes
