"""What the protocols on boards share: draws of the initial oscillators, their scores, votes of several, over T and K.

More oscillator steps at test time and votes: Miyato et al. 2025 (AKOrN, arXiv 2410.13821), section 6.2.
Shapes: k draws, n boards, b batch, y x cells.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.classifier import predicted
from sslkuramoto.cost import Cost
from sslkuramoto.data import DataSet, batches, in_order
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.boards.scores import Judge, distributions, energy_metric, mean_metric, score_metrics
from sslkuramoto.evaluation.boards.tally import Measured, Tally
from sslkuramoto.evaluation.boards.votes import BY_ENERGY, Draw, VoteName
from sslkuramoto.evaluation.forward_cost import passes_cost
from sslkuramoto.evaluation.own_source import own_source
from sslkuramoto.evaluation.protocol import Protocol, Result, Subject, described, start_of
from sslkuramoto.examples import Batch, Boards, Reads, Spec
from sslkuramoto.noise_draws import MINIMUM_DRAWS, draws_for
from sslkuramoto.randomness import generator
from sslkuramoto.results import Metric
from sslkuramoto.statistics import spread_steps

FORMED = 3  # boards whose answers are kept after each step
FORMING_STEPS = 8  # of those answers; of more steps some are kept


class Kept(NamedTuple):
    """A score that is kept board by board.

    Attributes:
        score: its name among the metrics.
        name: that of its list.
        votes: whether it is kept of votes and drawn in curves too.
        verdict: whether its list may be compared with that of another network.
    """

    score: str
    name: str
    votes: bool = False
    verdict: bool = True


class BoardProtocol(Protocol):
    """Share of boards that are answered correctly. What correct means, the final protocols say.

    Attributes:
        part: name of what a report draws, in the details of a result.
        kept: scores that are kept board by board. Energies are compared for the first of them.
        meaning: what the scores mean, a note of every result.
        puzzles: what the boards are called beside their hash.
        mean_energies: whether the mean energies are among the metrics.
        num_steps, draws, groups, votes, energy, steps: options, see :class:`~.sudoku.SudokuAccuracy`.
    """

    reads: ClassVar[Reads] = (Boards,)
    needs = frozenset({"head", "labels"})
    part: ClassVar[str]
    kept: ClassVar[tuple[Kept, ...]]
    meaning: ClassVar[str]
    puzzles: ClassVar[str]
    mean_energies: ClassVar[bool] = False

    def _set(
        self,
        split: str,
        option: str,
        source: Mapping[str, Any] | None,
        num_steps: int | None,
        draws: int,
        groups: int,
        votes: Sequence[VoteName],
        energy: Literal["code", "paper"],
        steps: Sequence[int],
    ) -> None:
        """Keep the options; ``source`` is the value of the one that names other data."""
        self.splits = (split,)
        self.num_steps, self.draws, self.groups, self.energy = num_steps, draws, groups, energy
        self.votes = tuple(dict.fromkeys(votes))
        self.steps = tuple(sorted(set(steps)))
        self.own_source = own_source(option, source, self.reads)

    @abstractmethod
    def check_boards(self, given: str, spec: Boards) -> None:
        """Check that boards are of the kind that is measured.

        Raises:
            UserError: they are of another kind.
        """

    @abstractmethod
    def judge(self, batch: Batch) -> Judge:
        """Return what scores answers to the boards of a batch."""

    @abstractmethod
    def facts(self, batch: Batch) -> dict[str, list]:
        """Return what is known of each board, by name."""

    @abstractmethod
    def shade(self, draw: Draw) -> Float[Tensor, "b y x"]:
        """Return the probability in each cell by which pictures of a forming answer are shaded."""

    @property
    def curves(self) -> tuple[str, ...]:
        """Scores that are drawn against T and K."""
        return tuple(each.score for each in self.kept if each.votes)

    def check_spec(self, given: str, spec: Spec) -> None:
        super().check_spec(given, spec)
        given, spec = (f"data {own.name}", own.spec) if (own := self.own_source) else (given, spec)
        assert isinstance(spec, Boards)
        self.check_boards(given, spec)

    def check(self, subject: Subject) -> None:
        super().check(subject)
        encoder = subject.encoder
        if (self.num_steps or self.steps) and not encoder.num_steps:
            key = "num_steps" if self.num_steps else "steps"
            raise UserError(f"{self.name}: {key}={getattr(self, key)}: this network does not iterate")
        if (lacking := BY_ENERGY & {*self.votes}) and not encoder.has_energy:
            raise UserError(
                f"{self.name}: votes={sorted(lacking)}: this network has no energy; confidence, majority and mean"
                " need none"
            )
        if self.energy != "code" and not encoder.has_energy:
            raise UserError(f"{self.name}: energy={self.energy}: this network has no energy; must be code")

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        (split,) = self.splits
        boards = subject.data(split)
        total = self._total(subject)
        found = self._measured(subject, self.num_steps, total, min(self.draws, total))
        few = min(total, MINIMUM_DRAWS)
        by_steps: dict[str, dict[int, Any]] = {score: {} for score in self.curves}
        for steps in self.steps:
            measured = self._measured(subject, steps, few, few)
            for score, curve in by_steps.items():
                curve[steps] = measured.by_vote(score, few)
        metrics = {name: mean_metric(values, total) for name, values in found.one.items()}
        for vote, values in found.votes.items():
            metrics |= {f"{vote}/{name}": mean_metric(shares, total) for name, shares in values.items()}
        if self.mean_energies:
            metrics |= {name: energy_metric(values) for name, values in found.scores.items() if name in BY_ENERGY}
        drawn: dict[str, dict[str, Any]] = {}
        for place, score in enumerate(self.curves):
            right = found.one[score].bool()
            if total > 1:
                metrics |= score_metrics(found.scores, right, f"_{score}" if place else "")
            drawn[score] = {
                "steps": by_steps[score],
                "draws": found.over_draws(score, total),
                "scores": distributions(found.scores, right) if total > 1 else {},
            }
        first, *others = drawn
        details = {**drawn[first], "boards": found.shown, **self._forming(subject, boards)}
        if others:
            details |= {"of": first, "others": {score: drawn[score] for score in others}}
        lists, of_votes = {each.name: each.score for each in self.kept}, [each for each in self.kept if each.votes]
        voted = {f"{vote}/{each.name}": values[each.score] for vote, values in found.votes.items() for each in of_votes}
        return Result(
            metrics=metrics,
            options=self.options,
            data=described(boards),
            initial=start_of(subject.encoder),
            per_image={
                **{name: _per_board(found.one[score]) for name, score in lists.items()},
                **{name: _per_board(values) for name, values in voted.items()},
                **{name: _per_board(values) for name, values in found.scores.items() if name in BY_ENERGY},
                **found.facts,
            },
            verdicts=[*(each.name for each in self.kept if each.verdict), *voted],
            details={self.part: details},
            notes=self._notes(subject, boards.fingerprint, total, metrics),
        )

    def _total(self, subject: Subject) -> int:
        asked = f"draws={self.draws}" + (f" times groups={self.groups}" if self.groups > 1 else "")
        return draws_for(subject.encoder.stochastic, self.draws * self.groups, asked)

    def _measured(self, subject: Subject, num_steps: int | None, total: int, size: int) -> Measured:
        """Measure all boards with one number of oscillator steps: ``total`` draws, votes of ``size`` each."""
        data, found = subject.data(self.splits[0]), []
        for i, batch in enumerate(batches(data, in_order(len(data), subject.batch_size), device=subject.device)):
            each = Tally(batch, self.judge(batch), self.votes, size, self.curves, self.facts(batch))
            for k in range(total):
                draw = generator(subject.device, subject.seed, "boards", k, i)
                each.add(self._drawn(subject, batch.inputs, draw, num_steps))
            found.append(each)
        return Measured(found)

    def _drawn(
        self, subject: Subject, boards: Tensor, draw: torch.Generator, num_steps: int | Sequence[int] | None
    ) -> Draw:
        """Return the answer, its probabilities and its energy under one draw."""
        encoder = subject.encoder
        assert subject.head is not None
        options: dict[str, Any] = {"draw": draw if encoder.stochastic else None}
        if num_steps is not None:
            options["num_steps"] = num_steps
        if encoder.has_energy:
            options["trace"] = "energy"
        features = encoder(boards, **options)
        logits = subject.head(features.map)
        flat = logits.permute(0, 2, 3, 1).flatten(0, 2)
        answers = (predicted(flat) + 1).view(boards.shape)
        answers = answers.masked_fill(answers > logits.shape[1], 0)
        probabilities = logits.float().softmax(dim=1).masked_fill((answers == 0).unsqueeze(1), 0.0)
        return Draw(answers, probabilities, self._energies(features.trace) if encoder.has_energy else {})

    def _energies(self, trace: Any) -> dict[str, Float[Tensor, " b"]]:
        """Return the energy of the last layer, from which the answer is read, at the end and summed over steps."""
        layer = trace[-1]
        values = layer.energy_code[1:] if self.energy == "code" else layer.energy[1:]
        return {"energy_last": values[-1], "energy_sum": values.sum(dim=0)}

    def _forming_steps(self, subject: Subject) -> list[list[int]]:
        """Return the steps of each layer, for each answer that is kept: all of them but in the last layer."""
        if not (trained := subject.encoder.num_steps):
            return []
        *before, last = trained if self.num_steps is None else (self.num_steps,) * len(trained)
        return [[*before, 1 + step] for step in spread_steps(last, FORMING_STEPS)] if last > 1 else []

    def _forming(self, subject: Subject, data: DataSet) -> dict[str, Any]:
        """Return the answers to the first boards after steps of the last layer, of the first draw.

        The answer after t steps is that of a network which stops there. Nothing without steps.
        """
        if not (steps := self._forming_steps(subject)):
            return {}
        (batch,) = batches(data, in_order(len(data), subject.batch_size)[:1], device=subject.device)
        draws = []
        for each in steps:
            draw = generator(subject.device, subject.seed, "boards", 0, 0)  # as in the first draw
            draws.append(self._drawn(subject, batch.inputs, draw, each if len(each) > 1 else each[0]))
        shades = [(100 * self.shade(draw)).round().int() for draw in draws]
        boards = [
            {
                "answers": [draw.answers[place].tolist() for draw in draws],
                "shades": [shade[place].tolist() for shade in shades],
            }
            for place in range(min(FORMED, len(batch.inputs)))
        ]
        return {"forming": {"steps": [each[-1] for each in steps], "boards": boards}}

    def _notes(self, subject: Subject, fingerprint: str, total: int, metrics: Mapping[str, Metric]) -> list[str]:
        notes = [self.meaning, f"hash of the {self.puzzles}: {fingerprint}"]
        if subject.encoder.num_steps:
            trained = ", ".join(map(str, subject.encoder.num_steps))
            notes.append(f"steps per layer at test time: {self.num_steps or trained}; as trained: {trained}")
        if self.votes and total == 1:
            notes.append("the network is deterministic: it gives one answer, which is that of every vote")
        elif self.votes:
            each = f"each vote is of {self.draws} draws, repeated {self.groups} times (a deviation is over these)"
            energies = f"; energies as in the {self.energy}, of the last layer" if subject.encoder.has_energy else ""
            notes.append(f"{each}{energies}")
        if total > 1 and not any(name.startswith("confidence/auc") for name in metrics):
            notes.append("no board has right and wrong draws, so that no score can tell them apart")
        return notes

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost on this device after timing a few passes; measures nothing."""
        subject = self.on(subject)
        total = self._total(subject)
        parts = [("", self.num_steps, total), *((f"T={t}", t, min(total, MINIMUM_DRAWS)) for t in self.steps)]
        looks = [len(self._forming_steps(subject)), *(0 for _ in self.steps)]
        return [
            (name, self._cost_of(subject, steps, passes, more))
            for (name, steps, passes), more in zip(parts, looks, strict=True)
        ]

    def _cost_of(self, subject: Subject, num_steps: int | None, passes: int, looks: int) -> Cost:
        def forward(boards: Tensor, draw: torch.Generator) -> None:
            self._drawn(subject, boards, draw, num_steps)

        return passes_cost(subject, forward, self.splits[0], None, passes, looks)


def _per_board(values: Float[Tensor, "k n"]) -> list[float]:
    """Return the mean over draws, board by board."""
    return [round(value, 6) for value in values.double().mean(dim=0).tolist()]
