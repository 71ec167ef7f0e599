"""Finetuning: all weights of a pretrained encoder, with a linear classifier, under cross-entropy.

The second stage of AKOrN (Miyato et al. 2025, section 6) and of the robustness report. It is a run of its own, in
``RUN/finetune``, so it can be interrupted, continued, attacked and reported like any other.
"""

from dataclasses import replace
from typing import Any

from sslkuramoto.evaluation.clean import Clean
from sslkuramoto.evaluation.protocol import Result, Subject, options_of
from sslkuramoto.evaluation.subject import subject_of
from sslkuramoto.recipe import Recipe, recipe_from
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train


class Finetune:
    """Train a classifier from the run's encoder and measure its clean accuracy on the test split.

    Args:
        recipe: what differs from the pretraining recipe (sections replaced whole): objective, views, optimizer, ...
        draws: independent draws of the initial oscillators at test time, >= 20 for a stochastic encoder.
    """

    def __init__(self, *, recipe: dict[str, Any], draws: int = 20) -> None:
        self.options = options_of(locals())
        self.changes = recipe
        self.draws = draws

    def recipe_for(self, pretrained: RunDirectory) -> Recipe:
        """Return the finetuning recipe of a pretrained run."""
        base = pretrained.recipe().to_dict()
        base |= {"init": str(pretrained.path), "weight_ema": None, "clip_grad_norm": None, "accumulate": 1}
        base["schedule"] = {"name": "constant"}
        return recipe_from(base | self.changes)

    def __call__(self, subject: Subject) -> Result:
        """Finetune in ``run_dir/finetune`` (or go on there), then measure."""
        pretrained = RunDirectory(subject.run_dir)
        run = train(self.recipe_for(pretrained), subject.run_dir / "finetune")
        finetuned = subject_of(run.path, device=subject.device, seed=subject.seed, batch_size=subject.batch_size)
        result = Clean(draws=self.draws)(finetuned)
        note = f"clean accuracy of the finetuned run {run.path.name}/ in this run directory"
        return replace(result, options=self.options, notes=[*result.notes, note])
