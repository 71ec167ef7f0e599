"""Finetuning: all weights of a pretrained encoder, with a linear classifier, under cross-entropy.

The second stage of AKOrN (Miyato et al. 2025, section 6) and of Habibi (OIST, 2025), tables 2 and 3. It is a run of its
own, in ``RUN/finetune``, so it can be interrupted, continued, attacked and reported like any other.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sslkuramoto.columns import Column
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.classification.clean import Clean
from sslkuramoto.evaluation.protocol import Protocol, Subject
from sslkuramoto.evaluation.representation.monitor import online_measures
from sslkuramoto.evaluation.subject import subject_of
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.recipe import Recipe, recipe_from
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import left_as_it_is, train
from sslkuramoto.values import Repeats, checked


@checked
class Finetune(Protocol):
    """Train a classifier from the run's encoder and measure its clean accuracy on the test split.

    Args:
        recipe: what differs from the pretraining recipe (sections replaced whole): objective, views, optimizer, ...
            Of that recipe remain data, encoder, seed, measurement and engine, unless they are named here.
        draws: independent draws of the initial oscillators at test time, >= 20 for a stochastic encoder.
        into: folder in the run directory; name another one to finetune the same encoder in two ways. The report
            takes the one called "finetune" for the row of the run. The encoder as it was after epoch N (``checkpoint``
            of the measurement) is finetuned in ``INTO-epoch-N``.

    Raises:
        UserError: a section that no recipe has, or one that the finetuning decides itself.
    """

    name = "finetune"
    needs = frozenset({"recipe"})
    columns = (Column("clean", "clean accuracy", "Finetuned", False, 6.1, ["accuracy"]),)

    def __init__(self, *, recipe: dict[str, Any], draws: Repeats = 20, into: str = "finetune") -> None:
        self.options = options_of(locals())
        if Path(into).name != into or into in ("", ".", "..", "results", "cache", "checkpoints", "pictures"):
            raise UserError(f"into={into!r}: must be the name of a folder of its own, without '/'")
        known = [item.name for item in fields(Recipe) if item.name not in ("init", "encoder")]
        for key in recipe:
            if key not in known:
                raise unknown("key of recipe", key, known)
        self.changes = recipe
        self.draws = draws
        self.into = into

    def recipe_for(self, subject: Subject) -> Recipe:
        """Return the finetuning recipe of a pretrained run, with the subject's own options of encoder and data."""
        base = RunDirectory(subject.run_dir).recipe().to_dict()
        base |= {"init": str(_start(subject).path.resolve()), "schedule": {"name": "constant"}}
        base |= {"weight_ema": None, "clip_grad_norm": None, "accumulate": 1} | self.changes
        base["encoder"] = {**base["encoder"], **subject.encoder_options}
        base["data"] = {**base["data"], **subject.data_options}
        own = {"stop_on_collapse": 0.0, "keep_checkpoints": []} | self.changes.get("measure", {})
        base["measure"] = {**base["measure"], **own}
        base["engine"] = {**base["engine"], "device": str(subject.device)}
        return recipe_from(base)

    def measure(self, subject: Subject) -> Result:
        """Finetune in ``RUN/INTO`` (or continue there), then measure.

        Raises:
            UserError: whatever training raises; too few draws; the raw weights asked for; what stands in ``RUN/INTO``
                began from other weights.
        """
        if subject.weights != "ema":
            raise UserError(
                f"weights={subject.weights!r}: finetuning starts from the weights a run leaves behind (ema)"
            )
        draws_for(subject.encoder.stochastic, self.draws)  # too few: say so before the training, not after
        into = self.into if subject.checkpoint is None else f"{self.into}-epoch-{subject.checkpoint}"
        recipe, run = self.recipe_for(subject), RunDirectory(subject.run_dir / into)
        if run.start() not in (None, subject.encoder_hash):
            raise UserError(
                f"{run.path}: began from other weights than are to be finetuned now; remove it, or name another folder "
                "(into=NAME)"
            )
        if run.finished:  # the whole directory may have been moved since, and another run stand in its old place
            left_as_it_is(replace(recipe, init=run.recipe().init), run)
        else:
            train(recipe, run.path, monitor=online_measures(recipe, run))
        finetuned = subject_of(run.path, device=subject.device, seed=subject.seed, batch_size=subject.batch_size)
        result = Clean(draws=self.draws)(finetuned)
        note = f"clean accuracy of the finetuned run {into}/ in this run directory"
        return replace(result, options=self.options, notes=[*result.notes, note])


def _start(subject: Subject) -> RunDirectory:
    """Return the directory of the weights that finetuning begins from."""
    run = RunDirectory(subject.run_dir)
    return run if subject.checkpoint is None else run.at_epoch(subject.checkpoint)
