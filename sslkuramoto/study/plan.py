"""The plan of a study: every training run and every measurement it needs, each once, and which of them are there.

ROOT/runs/RECIPE-KEY is a run directory that all studies share; RUN/results/PROTOCOL-KEY.json is a measurement of it;
ROOT/runs/MODEL-KEY holds the results of a function's network; ROOT/failures/*.json says why something could not be
done. A plan reads the source of a function and does not call it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.foreign import code_of_function, run_of_function
from sslkuramoto.evaluation.protocol import Loaded, Protocol, load_protocol
from sslkuramoto.recipe import Part, Recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.run_options import Engine
from sslkuramoto.sources import CODE_DIGITS, content_key
from sslkuramoto.study.jobs import Evaluation, Network, Stage, Task, recorded_failure
from sslkuramoto.study.keys import OPENING_FUNCTIONS, OPENING_RUNS, DataFacts, Facts, measuring_code, training_code
from sslkuramoto.study.parse import Study, StudyColumn
from sslkuramoto.study.plugins import plugins_named
from sslkuramoto.training.learner import resolved


@dataclass
class Plan:
    """What a study needs.

    Attributes:
        study: the study.
        root: the folder of runs, results and failures.
        tasks: by key, each after those it needs; seeds outermost, so that a table fills evenly.
        chains: (row, seed) -> keys of its training runs.
        cells: (row, column, seed) -> key of its measurement.
        networks: (row, seed) -> the network of a function, of rows that have no training runs.
        any_code: whether results of other code versions count.
        columns: keys of the columns that it was asked for; None for all.
        other_code: keys of what was found of another code version.
    """

    study: Study
    root: Path
    tasks: dict[str, Task] = field(default_factory=dict)
    chains: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    cells: dict[tuple[str, str, int], str] = field(default_factory=dict)
    networks: dict[tuple[str, int], Network] = field(default_factory=dict)
    any_code: bool = False
    columns: tuple[str, ...] | None = None
    other_code: set[str] = field(default_factory=set)

    @property
    def stages(self) -> list[Stage]:
        """All training runs."""
        return [task for task in self.tasks.values() if isinstance(task, Stage)]

    @property
    def evaluations(self) -> list[Evaluation]:
        """All measurements."""
        return [task for task in self.tasks.values() if isinstance(task, Evaluation)]

    @property
    def problems(self) -> list[str]:
        """Each reason for which something that is missing cannot be carried out now, once."""
        return list(dict.fromkeys(task.problem for task in self.missing() if task.problem))

    def missing(self, retry: bool = True) -> list[Task]:
        """Return what is not done; without ``retry`` not what failed before, nor what needs it.

        A run of which every measurement is there already is not missed.
        """
        wanted: set[str] = set()
        for key in [*self.cells.values(), *(key for chain in self.chains.values() for key in chain[-1:])]:
            self._want(key, wanted)
        tasks = [task for key, task in self.tasks.items() if key in wanted]
        return [task for task in tasks if retry or self.failure(task.key) is None]

    def possible(self, retry: bool = True) -> list[Task]:
        """Return what of :meth:`missing` can be carried out now."""
        return [task for task in self.missing(retry) if self.problem(task.key) is None]

    def with_needs(self, keys: Sequence[str]) -> set[str]:
        """Return tasks and all that they need."""
        found: set[str] = set()
        for key in keys:
            if key not in found:
                found |= {key} | self.with_needs(self.tasks[key].needs)
        return found

    def up_to(self, key: str) -> "Plan":
        """Return the plan of one training run and of those that it needs."""
        keys = self.with_needs([key])
        chain = [stage.key for stage in self.stages if stage.key in keys]
        (row, seed) = next(at for at, keys in self.chains.items() if keys)
        return replace(self, tasks={each: self.tasks[each] for each in chain}, chains={(row, seed): chain}, cells={})

    def _want(self, key: str, wanted: set[str]) -> None:
        """Add a task that is not done to ``wanted``, and what it needs."""
        if key not in wanted and not self.tasks[key].done():
            wanted.add(key)
            for before in self.tasks[key].needs:
                self._want(before, wanted)

    def problem(self, key: str) -> str | None:
        """Return what a task, or one before it, lacks to be carried out now; None where it can be."""
        task = self.tasks[key]
        if task.done():
            return None
        before = (self.problem(each) for each in task.needs)
        return task.problem or next((problem for problem in before if problem is not None), None)

    def failures(self, hindered: Collection[str] = ()) -> int:
        """Return how many tasks could not be done: they failed, lack their data, or are among ``hindered``."""
        return sum(key in hindered or (self.failure(key) or self.problem(key)) is not None for key in self.tasks)

    def failure(self, key: str) -> str | None:
        """Return why a task, or one before it, could not be done; None where nothing failed."""
        task = self.tasks[key]
        if task.done():
            return None
        reason = recorded_failure(self.root, key)
        if reason is not None:
            return reason
        for before in task.needs:
            if (reason := self.failure(before)) is not None:
                return reason if reason.startswith("training failed: ") else f"training failed: {reason}"
        return None


def plan_study(
    study: Study,
    root: Path,
    *,
    rows: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    columns: Sequence[str] | None = None,
    any_code: bool = False,
    record: bool = True,
) -> Plan:
    """Lay out what a study needs under ``root``.

    Args:
        study: from :func:`~sslkuramoto.study.parse.load_study`.
        root: of all studies.
        rows, seeds, columns: only these; None for all. A row without such a column is left out.
        any_code: take results of other code versions too, the newest where the present version has none.
        record: write what was seen of the data to ``root/data.json``, for tables without them; nothing else is written.

    Raises:
        UserError: a row, seed or column that the study does not have, or that have nothing in common; a root that
            cannot be written.
    """
    for row in rows or ():
        if row not in study.rows:
            raise unknown(f"row of study {study.name}", row, study.rows)
    for column in columns or ():
        if column not in study.columns:
            raise unknown(f"column of study {study.name}", column, study.columns)
    known = list(dict.fromkeys(seed for row in study.rows.values() for seed in row.seeds))
    for seed in seeds or ():
        if seed not in known:
            raise unknown(f"seed of study {study.name}", seed, map(str, known))
    planner = _Planner(study, root, any_code, None if columns is None else tuple(columns))
    plan = planner.plan(rows, known if seeds is None else [seed for seed in known if seed in seeds])
    if not plan.chains:
        raise UserError(f"study {study.name}: no chosen row has a chosen seed and a chosen column: nothing to compute")
    if record:
        planner.facts.record()
    return plan


class _Planner:
    """Builds a plan; ``facts`` loads each split once, ``paths`` gives equal work one place, however it is called."""

    def __init__(self, study: Study, root: Path, any_code: bool, columns: tuple[str, ...] | None) -> None:
        self.study, self.root = study, root
        self.facts = DataFacts(root)
        self.found = Plan(study, root, any_code=any_code, columns=columns)
        self.paths: dict[tuple[str, str], Path] = {}
        self._chains: dict[tuple[str, int], list[Stage]] = {}
        self._recipes: dict[tuple[str, int, int | None], Recipe] = {}
        self._protocols: dict[tuple[str, ...], Loaded] = {}

    def plan(self, rows: Sequence[str] | None, seeds: Sequence[int]) -> Plan:
        wanted = self.found.columns
        for seed in seeds:
            for row in self.study.rows.values():
                columns = [column for column in self.study.columns.values() if row.key in column.rows]
                chosen = [column for column in columns if wanted is None or column.key in wanted]
                asked = seed in row.seeds and (rows is None or row.key in rows) and (chosen or wanted is None)
                if row.changes and asked:
                    self._row(row.key, seed, chosen)
        return self.found

    def _row(self, row: str, seed: int, columns: Sequence[StudyColumn]) -> None:
        stages = len(self.study.rows[row].stages)
        if stages and self.found.columns is not None:  # no training run after those that are measured
            stages = 1 + max(column.stage % stages for column in columns)
        self.found.chains[row, seed] = [stage.key for stage in self._chain(row, seed, stages)]
        if (function := self.study.rows[row].model) is not None:
            self.found.networks[row, seed] = self._network(row, function, seed)
        for column in columns:
            self._evaluation(row, column, seed)

    def _chain(self, row: str, seed: int, stages: int | None = None) -> list[Stage]:
        """Return the training runs of a row, or the first ones, each entered once."""
        chain = self._chains.setdefault((row, seed), [])
        for number in range(len(chain), len(self.study.rows[row].stages) if stages is None else stages):
            chain.append(self._stage(row, number, seed, chain[-1] if chain else None))
        return chain[:stages]

    def _stage(self, row: str, number: int, seed: int, before: Stage | None) -> Stage:
        recipe = self._recipe(row, number, seed)
        facts, problem = self.facts.of(recipe.data, "train")
        method = recipe.method()
        method["data"] = [recipe.data.name, facts.fingerprint if facts else f"unknown: {recipe.data.to_dict()}"]
        method["init"], lost = (before.content, None) if before else self.facts.of_start(recipe.init, facts)
        if recipe.engine.precision != Engine().precision:  # unnamed where it is the usual one: older keys hold
            method["precision"] = recipe.engine.precision
        encoder = ENCODERS.result_class(recipe.encoder.name, Encoder)
        weights = encoder.weight_file(recipe.encoder.options) if before is None else None
        if weights is not None:
            method["weights"], unread = self.facts.of_weights(weights, facts)
            problem = problem or unread
        plugins = plugins_named(method)
        content, code = content_key(method), training_code(plugins)
        if before is not None and before.code != code:
            code = content_key([code, before.code])[: len(code)]  # neither of one version nor of the other
        name = self.study.rows[row].stages[number].name
        path = self.paths.setdefault((content, code), self._run_path(name, content, code, recipe.engine.precision))
        if not RunDirectory(path).last_checkpoint.is_file():  # with one, what it started from is not needed
            problem = problem or lost
        stage = Stage(
            label=f"{row}, seed {seed}: {name}",
            path=path,
            recipe=recipe,
            before=None if before is None else before.path,
            content=content,
            code=path.name.rpartition("-")[2],
            steps=recipe.epochs * (facts.n // recipe.batch_size) if facts else 0,
            facts=facts,
            problem=problem,
            plugins=plugins if before is None else {**before.plugins, **plugins},
        )
        if stage.code != code:
            self.found.other_code.add(stage.key)
        known = self.found.tasks.setdefault(stage.key, stage)
        assert isinstance(known, Stage)
        return known

    def _recipe(self, row: str, number: int, seed: int) -> Recipe:
        """Return the recipe of a training run; those of other seeds are read once where ``seed`` alone differs."""
        known = (row, number, seed if self.study.follows_seed(row, number) else None)
        if known not in self._recipes:
            self._recipes[known] = resolved(self.study.recipe(row, number, seed))
        return replace(self._recipes[known], seed=seed)

    def _network(self, row: str, function: str, seed: int) -> Network:
        data, code = self.study.data_of(row), code_of_function(function)
        facts, problem = self.facts.of(data, "test")
        fingerprint = facts.fingerprint if facts else f"unknown: {data.to_dict()}"
        content = content_key([function, data.name, fingerprint, seed])
        name = f"{run_of_function(function).name}-{content}-{content_key(code)[:CODE_DIGITS]}"
        path, plugins = self.root / "runs" / name, plugins_named(data.name)
        return Network(function, code, path, data, fingerprint, seed, problem, plugins)

    def _run_path(self, name: str, content: str, code: str, precision: str) -> Path:
        """Return the run directory of a key, whatever recipe file it was first called after.

        Keys of other code may be older than the day on which they named the precision.
        """
        folder = self.root / "runs"
        exact = sorted(folder.glob(f"*-{content}-{code}"))
        if exact and (RunDirectory(exact[0]).finished or not self.found.any_code):
            return exact[0]
        if self.found.any_code:
            runs = [RunDirectory(path) for path in folder.glob(f"*-{content}-*")]
            others = [run.path for run in runs if run.finished and run.recipe().engine.precision == precision]
            if others:
                return max(others, key=lambda path: RunDirectory(path).encoder_file().stat().st_mtime)
        return exact[0] if exact else folder / f"{name}-{content}-{code}"

    def _evaluation(self, row: str, column: StudyColumn, seed: int) -> None:
        column = column.of(self.study.rows[row])
        network, stages = self.found.networks.get((row, seed)), len(self.study.rows[row].stages)
        measured = network or self._chain(row, seed, 1 + column.stage % stages)[-1]
        sources = {name: self._chain(name, seed)[-1] for name in column.sources}
        loaded = self._loaded(column, lambda name: sources[name].content)
        # the training may be another row's too; the images that are measured are this row's own
        own = network.data if network else self._recipe(row, column.stage % stages, seed).data
        trained = network is None and loaded.measure.own_source is None
        facts, data, problem = self._measured_data(loaded.measure.own_source or own, loaded.measure, trained)
        options, lacking = self._contents(loaded, facts, {source.content for source in sources.values()})
        content = content_key([loaded.name, options, column.encoder, data])
        plugins = {**measured.plugins, **plugins_named([loaded.name, loaded.options])}
        plugins |= {package: known for source in sources.values() for package, known in source.plugins.items()}
        code = measuring_code(loaded.measure, OPENING_FUNCTIONS if network else OPENING_RUNS, plugins)
        here = measured.path / "results"
        path = self.paths.setdefault((measured.path.name, content), self._result_path(here, loaded, content, code))
        changed = f" ({column.key})" if column.settings or column.encoder else ""
        evaluation = Evaluation(
            label=f"{row}, seed {seed}: {loaded.file}{changed}",
            path=path,
            stage=measured.path,
            sources=tuple(source.path for source in sources.values()),
            protocol=column.protocol,
            overrides=tuple(column.overrides(lambda name: str(sources[name].path))),
            encoder_options=dict(column.encoder),
            data_options=dict(own.options),
            content=content,
            problem=problem or lacking or (network and network.problem),
            network=network,
            plugins=plugins,
        )
        if not path.stem.endswith(code):
            self.found.other_code.add(evaluation.key)
        self.found.tasks.setdefault(evaluation.key, evaluation)
        self.found.cells[row, column.key, seed] = evaluation.key

    def _measured_data(
        self, source: Part, measure: Protocol, trained: bool
    ) -> tuple[Facts | None, str | list[str], str | None]:
        """Return the facts of the scored split, the fingerprints of what is read, and why it cannot be read now.

        Args:
            source: of the data.
            measure: the protocol.
            trained: whether the key of the run holds the training images already.
        """
        found = {split: self.facts.of(source, split) for split in measure.splits}
        problem = next((problem for _, problem in found.values() if problem is not None), None)
        for split in measure.optional_splits:
            facts, lacks = self.facts.of(source, split)
            if facts is not None and (lacks is None or problem is not None):  # recorded facts: where all data are away
                found[split] = facts, lacks
        scored, *others = found
        hashed = [scored, *(split for split in others if not (trained and split == "train"))]
        prints = [
            facts.fingerprint if (facts := found[split][0]) else f"unknown: {source.to_dict()}" for split in hashed
        ]
        return found[scored][0], prints if len(prints) > 1 else prints[0], problem

    def _contents(
        self, loaded: Loaded, facts: Facts | None, sources: Collection[str]
    ) -> tuple[dict[str, Any], str | None]:
        """Return the options of a protocol with the content of its files, and what it lacks.

        Args:
            loaded: the protocol.
            facts: of the split that it scores.
            sources: content keys that stand in its options for runs of other rows.
        """
        options, lacking = dict(loaded.options), None
        for given in loaded.measure.inputs():
            if given.place in sources:
                continue
            if given.place is None:
                lacking = lacking or f"{loaded.file}: needs {given.option}=DIR, {given.wanted}"
            elif facts is not None:  # where the split itself is not there, that is said already
                found, problem = self.facts.of_input(given, facts)
                options[given.option] = found.fingerprint if found else f"unknown: {given.place}"
                lacking = lacking or problem
        return options, lacking

    def _loaded(self, column: StudyColumn, run_of: Callable[[str], str]) -> Loaded:
        """Return the protocol of a column as its file is now; read once in a plan, not for every row."""
        known = (column.protocol, *column.overrides(run_of))
        if known not in self._protocols:
            self._protocols[known] = load_protocol(column.protocol, known[1:])
        return self._protocols[known]

    def _result_path(self, folder: Path, loaded: Loaded, content: str, code: str) -> Path:
        """Return the file of a key, whatever protocol file it was first called after."""
        exact = sorted(folder.glob(f"*-{content}-{code}.json"))
        others = list(folder.glob(f"*-{content}-*.json")) if self.found.any_code and not exact else []
        if others:
            return max(others, key=lambda path: path.stat().st_mtime)
        return exact[0] if exact else folder / f"{loaded.file}-{content}-{code}.json"
