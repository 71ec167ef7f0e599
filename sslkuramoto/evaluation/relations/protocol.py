"""Protocol ``relations``: same/different and match-to-sample on icons that training never showed.

Veliz, Altabaa and Lafferty, "Binding by oscillatory dynamics in neural architectures for relational reasoning" (poster,
Yale University), which publishes no numbers. Shapes: k draws, n examples, b batch, p images per example, d oscillators
of an object, t steps.
"""

from typing import Annotated, Any, ClassVar, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.data import DataSet, batches
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.division import divided_otherwise, trainings_known
from sslkuramoto.evaluation.forward_cost import passes_cost
from sslkuramoto.evaluation.protocol import Protocol, Subject, described, start_of
from sslkuramoto.evaluation.relations.measured import MATCH, NAME, PAIR, Answer, Measured, joined, scored
from sslkuramoto.evaluation.relations.samples import ENDING, chosen_samples, store_samples
from sslkuramoto.evaluation.relations.scores import (
    accuracy_metrics,
    combination_of,
    combinations,
    histograms,
    means_by_kind,
    rises,
    separation,
    trajectories,
)
from sslkuramoto.evaluation.representation.progress import Progress
from sslkuramoto.examples import Pairs, Reads
from sslkuramoto.heads import taken
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric, Result
from sslkuramoto.values import Count, Mark, Repeats, Steps, Whole, checked, small

UNSEEN, SEEN = "test", "val"
GROUP = "Relations"
_WORDS = {UNSEEN: "icons that training did not show", SEEN: "icons of the training set"}


@small(examples=8, store=2)
@checked
class Relations(Protocol):
    """Accuracy on icons that training showed and on others, with coherences and energies of oscillator networks.

    Args:
        num_steps: oscillator steps at test time; null: as trained.
        energy_steps: steps of the energy trajectories; null: as many as for the answers.
        draws: draws of a stochastic network.
        examples: examples of each split at most, null for all; the choice depends on the number of examples alone.
        store: pairs of each kind (same, different) of which a report shows images and phases; 0 for none.
    """

    name = NAME
    reads: ClassVar[Reads] = (Pairs,)
    needs = frozenset({"head", "labels"})
    splits = (UNSEEN, SEEN)
    columns = (
        Column("relations_unseen", "unseen icons", GROUP, False, 19.5, ["accuracy"], optional=True),
        Column("relations_seen", "seen icons", GROUP, False, 19.6, [f"{SEEN}/accuracy"], optional=True),
        Column("relations_rho", "AUC of coherence", GROUP, False, 19.7, ["rho/auc"], optional=True),
        Column("relations_energy", "AUC of energy", GROUP, False, 19.8, ["energy/auc"], optional=True),
    )

    def __init__(
        self,
        *,
        num_steps: Steps | None = None,
        energy_steps: Steps | None = None,
        draws: Repeats = 20,
        examples: Count | None = None,
        store: Annotated[Whole, Mark.INCIDENTAL] = 2,
    ) -> None:
        self.options = options_of(locals())
        self.num_steps, self.energy_steps, self.draws = num_steps, energy_steps, draws
        self.examples, self.store = examples, store

    def check(self, subject: Subject) -> None:
        super().check(subject)
        for split in self.splits:
            if found := divided_otherwise(subject, split):
                training, option = found
                raise UserError(
                    f"{NAME}: {training.run} was trained with {option}, so that training showed icons of the test; "
                    f"measure icons of training by {SEEN}/accuracy, or train with the same value"
                )
        encoder, spec = subject.encoder, subject.spec or subject.data(UNSEEN).spec
        if images_of(spec) not in (PAIR, MATCH):
            raise UserError(
                f"{NAME}: examples of {images_of(spec)} images: reads {PAIR} (same/different) or {MATCH} (matching)"
            )
        if self.num_steps and not encoder.num_steps:
            raise UserError(f"{NAME}: num_steps={self.num_steps}: this network does not iterate; must be null")
        if self.energy_steps and not encoder.has_energy:
            raise UserError(f"{NAME}: energy_steps={self.energy_steps}: this network has no energy; must be null")
        if self.energy_steps and images_of(spec) != PAIR:
            raise UserError(f"{NAME}: energy_steps={self.energy_steps}: energies are of same/different; must be null")

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        """Answer, and compare same with different pairs.

        Raises:
            UserError: the data do not say which icons their images show.
        """
        unseen, seen = (self._measured(subject, split) for split in self.splits)
        index = self._index(subject.data(UNSEEN))
        metrics = accuracy_metrics(unseen.correct, unseen.same, unseen.icons)
        metrics |= accuracy_metrics(seen.correct, seen.same, seen.icons, f"{SEEN}/")
        details: dict[str, Any] = {"images": unseen.icons.shape[1]}
        if unseen.icons.shape[1] == PAIR:
            metrics |= _of_pairs(unseen)
            details |= _details(unseen)
        if self.store:
            self._store(subject, index, unseen)
        return Result(
            metrics=metrics,
            options=self.options,
            data=described(subject.data(UNSEEN), len(index)),
            initial=start_of(subject.encoder),
            per_image={
                "index": index.tolist(),
                "correct": [round(share, 6) for share in unseen.correct.double().mean(dim=0).tolist()],
                "same": unseen.same.int().tolist(),
                "group": combination_of(unseen.icons).tolist(),
            },
            verdicts=["correct"],
            details={NAME: details},
            notes=self._notes(subject, {UNSEEN: unseen, SEEN: seen}),
        )

    def _index(self, data: DataSet) -> Int64[Tensor, " n"]:
        """Return the places of the examples that are measured."""
        draw = generator("cpu", NAME, "examples", len(data))
        wanted = len(data) if self.examples is None else min(self.examples, len(data))
        return torch.randperm(len(data), generator=draw)[:wanted].sort().values

    def _measured(self, subject: Subject, split: str) -> Measured:
        data = subject.data(split)
        index, draws = self._index(data), draws_for(subject.encoder.stochastic, self.draws)
        progress = Progress(subject.report, f"{NAME}, {split}", len(index), "examples")
        found: list[Measured] = []
        order = list(index.split(subject.batch_size))
        for i, batch in enumerate(batches(data, order, device=subject.device, workers=subject.workers)):
            keys = ((NAME, split, k, i) for k in range(draws))
            answers = [self._answer(subject, batch.inputs, *key) for key in keys]
            found.append(scored(answers, batch, data))
            progress.done(min(len(index), (i + 1) * subject.batch_size))
        return joined(found)

    @property
    def _apart(self) -> bool:
        """Whether the energies are those of a pass of their own."""
        return self.energy_steps not in (None, self.num_steps)

    def _answer(self, subject: Subject, inputs: Tensor, *key: int | str) -> Answer:
        """Return what the network says in one draw; both passes of a draw begin with the same oscillators."""
        encoder, head = subject.encoder, subject.head
        assert head is not None
        oscillators = encoder.gives_coherence and encoder.has_energy and inputs.shape[1] == PAIR
        apart = self._apart

        def encode(num_steps: int | None, energy: bool) -> Any:
            options: dict[str, Any] = (
                {"draw": generator(subject.device, subject.seed, *key)} if encoder.stochastic else {}
            )
            options |= {"num_steps": num_steps} if num_steps else {}
            return encoder(inputs, trace="energy" if energy else False, **options)

        features = encode(self.num_steps, oscillators and not apart)
        logits = head(taken(head, features.pooled, features.map))
        if not oscillators:
            return Answer(logits)
        traced = encode(self.energy_steps, True) if apart else features
        return Answer(logits, features.pooled, traced.trace[-1].energy)

    def _store(self, subject: Subject, index: Int64[Tensor, " n"], measured: Measured) -> None:
        """Store a few examples of each kind beside the result, with the last states of their oscillators."""
        data, encoder = subject.data(UNSEEN), subject.encoder
        chosen = index[chosen_samples(measured.same, self.store)]
        (batch,) = batches(data, [chosen], device=subject.device)
        assert batch.targets is not None
        options: dict[str, Any] = {"num_steps": self.num_steps} if self.num_steps else {}
        if encoder.stochastic:
            options["draw"] = generator(subject.device, subject.seed, NAME, "samples")
        states = None
        if encoder.oscillator_dim and images_of(data.spec) == PAIR:
            states = by_object(encoder(batch.inputs, **options).map, encoder.oscillator_dim)
        path = subject.run_dir / "results" / "images" / f"{subject.file or NAME}{ENDING}"
        store_samples(path, chosen, batch.inputs.cpu(), batch.targets.cpu(), states)

    def _notes(self, subject: Subject, measured: dict[str, Measured]) -> list[str]:
        notes, known = [], trainings_known(subject)
        for training in subject.trainings:
            if training.source is None:
                notes.append(f"{training.run}: its recipe cannot be read, so which icons it showed is not known")
        for split, of_split in measured.items():
            icons, count = len(of_split.icons.unique()), len(combinations(of_split.icons))
            word = _WORDS[split] if known else f"icons of the {split} split"
            notes.append(f"{split}: {len(of_split.icons)} examples, {count} different combinations of {icons} {word}")
        notes.append(
            "intervals and paired tests count examples with the same icons as one, and combinations that share an "
            "icon as independent; how much the choice of icons matters is seen by other icon splits only"
        )
        if subject.encoder.num_steps:
            trained = ", ".join(map(str, subject.encoder.num_steps))
            notes.append(f"steps at test time: {self.num_steps or trained}; as trained: {trained}")
        return notes

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost on this device after timing a few passes; measures nothing."""
        draws, each = draws_for(subject.encoder.stochastic, self.draws), 1 + self._apart

        def forward(inputs: Tensor, draw: torch.Generator) -> None:
            self._answer(subject, inputs, "cost")

        return [
            (split, passes_cost(subject, forward, split, self._number(subject, split), draws, each=each))
            for split in self.splits
        ]

    def _number(self, subject: Subject, split: str) -> int:
        return len(self._index(subject.data(split)))


def images_of(spec: object) -> int:
    """Return the number of images of an example."""
    return cast(Pairs, spec).per_example


def by_object(x: Float[Tensor, "b c p 1"], n: int) -> Float[Tensor, "b p d n"]:
    """Return the oscillators of each object; ``n`` consecutive channels are one, the objects are rows of the grid."""
    return x.squeeze(3).unflatten(1, (-1, n)).permute(0, 3, 1, 2)


def _of_pairs(measured: Measured) -> dict[str, Metric]:
    """Return the numbers that compare same with different pairs."""
    same = measured.same
    both = bool(same.any() and (~same).any())
    found = {"auc": separation(measured.margin, same)} if both else {}
    if measured.energy is None or measured.coherence is None or measured.locked is None:
        return found
    last, up = measured.energy[-1], rises(measured.energy)
    found |= means_by_kind(measured.coherence, same, "rho", "coherence")
    found |= means_by_kind(measured.locked, same, "locked", "fraction")
    found |= means_by_kind(last, same, "energy", "energy")
    found["energy/rises"] = Metric(up.mean().item(), n=len(same), draws=len(up))
    if both:
        found["rho/auc"] = separation(measured.coherence, same)
        found["energy/auc"] = separation(-last, same)  # the poster: same pairs have the lower energy
    return found


def _details(measured: Measured) -> dict[str, Any]:
    """Return curves and histograms for a report; none without oscillators."""
    if measured.energy is None or measured.counts is None:
        return {}
    return {"coherence": histograms(measured.counts), "energy": trajectories(measured.energy, measured.same)}
