"""A study file: one published table as rows, columns, seeds and published figures, read strictly.

``eval/studies/NAME.yaml``; docs/studies.md lists every key. Every error is found here, before data are read:
unknown keys, rows whose recipe is missing or does not load with its changes, protocols that do not load, published
figures without a source.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.foreign import code_of_function
from sslkuramoto.evaluation.protocol import Loaded
from sslkuramoto.recipe import read_yaml, recipe_file
from sslkuramoto.registry import check_value
from sslkuramoto.sources import content_key
from sslkuramoto.study.checks import check_recipes
from sslkuramoto.study.model import Study, StudyColumn, StudyRow, StudyStage
from sslkuramoto.study.named import study_file, study_files
from sslkuramoto.study.options import Settings, merged, rows_named
from sslkuramoto.study.overrides import read_overrides
from sslkuramoto.study.published import Published
from sslkuramoto.study.sections import check_keys, mapping, section, seeds_from, settings_in

_STUDY = "title question seeds set small columns rows published compare curves curves_stage notes"
_COLUMN = "title protocol metric per_image stage set encoder rows except unit"
_ROW = "label train model data published seeds group measure"
_FIGURE = "value std n source differs"


def load_study(name: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study and check everything that can be checked without data.

    Args:
        name: of a file in eval/studies, or the path of one.
        overrides: ``key=value`` words of the command line, over those of the file (:mod:`.overrides`).

    Raises:
        UserError: one line that names the study, the place and what is allowed.
    """
    study = read_study(name, overrides)
    check_recipes(study)
    return study


def read_study(name: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study as :func:`load_study` does, without a check that its recipes can be trained and measured.

    Raises:
        UserError: what is wrong with the file itself, or with a protocol.
    """
    path = study_file(str(name))
    content = OmegaConf.to_container(read_yaml(path), resolve=False)
    assert isinstance(content, dict)
    try:
        return _study(path, {str(key): value for key, value in content.items()}, overrides)
    except UserError as error:
        raise UserError(f"study {path.stem}: {error}") from None


def _study(path: Path, content: dict[str, Any], words: Sequence[str]) -> Study:
    check_keys("", content, _STUDY, required=("title", "columns", "rows"))
    for part in ("columns", "rows"):
        if not mapping(part, content[part]):
            raise UserError(f"{part}: needs at least one")
    default = section("published", content.get("published"), "source n differs")
    seeds = seeds_from("seeds", content.get("seeds", [0]))
    columns = mapping("columns", content["columns"])
    rows = {key: _row(key, row, seeds, columns, default) for key, row in mapping("rows", content["rows"]).items()}
    labels = [(row.group, row.label) for row in rows.values()]
    for row in rows.values():
        if labels.count((row.group, row.label)) > 1:
            raise UserError(
                f"rows.{row.key}.label={row.label!r}: another row has it too; rows need labels of their own"
            )
    overrides = read_overrides(words, {key: row.changes for key, row in rows.items()}, [*columns])
    read: dict[tuple[str, ...], Loaded] = {}
    found = {key: _column(key, column, rows, overrides.columns.get(key, {}), read) for key, column in columns.items()}
    return Study(
        name=path.stem,
        path=path,
        title=check_value("title", content["title"], str),
        question=check_value("question", content.get("question", ""), str),
        seeds=seeds,
        settings=settings_in("set", content.get("set")),
        rows=rows,
        columns=found,
        small=_small_study(path, check_value("small", content.get("small"), str | None)),
        compare=_pairs(content.get("compare", []), rows, found),
        curves=tuple(check_value("curves", content.get("curves", []), list[str])),
        curves_stages=_curves_stages(content.get("curves_stage", 0), rows),
        notes=tuple(check_value("notes", content.get("notes", []), list[str])),
        overrides=overrides,
        own_file=_own_content(path, content),
    )


def _own_content(path: Path, content: dict[str, Any]) -> str:
    """Return the hash of a file that only has the name of a study of the package; empty for all others."""
    packaged = study_files().get(path.stem)
    if packaged is None or packaged.resolve() == path.resolve():
        return ""
    known = OmegaConf.to_container(read_yaml(packaged), resolve=False)
    return "" if known == content else content_key(content)


def _small_study(path: Path, small: str | None) -> str | None:
    if small is not None and not path.with_name(f"{small}.yaml").is_file():
        raise UserError(f"small={small!r}: there is no study of this name beside this one")
    return small


def _curves_stages(content: Any, rows: Mapping[str, StudyRow]) -> tuple[int, ...]:
    stages = check_value("curves_stage", content, int | list[int])
    longest = max((len(row.stages) for row in rows.values()), default=0)
    listed = [stages] if isinstance(stages, int) else stages
    if not listed or len(set(listed)) < len(listed):
        raise UserError(f"curves_stage={stages}: must be different training runs, at least one")
    for stage in listed:
        if stage and not -longest <= stage < longest:
            raise UserError(f"curves_stage={stages}: no row has more than {longest} stage(s), counted from 0")
    return tuple(listed)


def _row(
    key: str, content: Any, seeds: tuple[int, ...], columns: Mapping[str, Any], default: Mapping[str, Any]
) -> StudyRow:
    where = f"rows.{key}"
    row = section(where, content, _ROW)
    stages = check_value(f"{where}.train", row.get("train", []), list[Any])
    figures = {}
    for column, figure in mapping(f"{where}.published", row.get("published", {})).items():
        if column not in columns:
            raise unknown(f"column in {where}.published", column, columns)
        figures[column] = _figure(f"{where}.published.{column}", figure, default)
    model, data = check_value(f"{where}.model", row.get("model"), str | None), row.get("data")
    if not stages and not figures and model is None:
        raise UserError(f"{where}: needs 'train' or 'model', 'published', or both")
    _check_model(where, model, bool(stages), data is not None)
    if "seeds" in row:
        seeds = seeds_from(f"{where}.seeds", row["seeds"])
    elif model is not None:
        seeds = seeds[:1]  # nothing is trained: one measurement
    return StudyRow(
        key=key,
        label=check_value(f"{where}.label", row.get("label", key), str),
        stages=tuple(_stage(f"{where}.train[{number}]", stage) for number, stage in enumerate(stages)),
        published=figures,
        seeds=seeds,
        group=check_value(f"{where}.group", row.get("group"), str | None),
        model=model,
        data={"name": data} if isinstance(data, str) else settings_in(f"{where}.data", data, reserved=()),
        measure=settings_in(f"{where}.measure", row.get("measure"), reserved=()),
    )


def _check_model(where: str, model: str | None, trained: bool, data: bool) -> None:
    """Check that a function is there; reads its source and runs nothing of it."""
    if model is None:
        if data:
            raise UserError(f"{where}.data: is of rows with 'model'; those of a training run are in its 'set'")
        return
    if trained:
        raise UserError(f"{where}: has both 'train' and 'model'; a row is trained here or the network of a function")
    try:
        code_of_function(model)
    except UserError as error:
        raise UserError(f"{where}.model: {error}") from None


def _stage(where: str, content: Any) -> StudyStage:
    stage = section(where, content, "recipe set", required=("recipe",))
    name = check_value(f"{where}.recipe", stage["recipe"], str)
    try:
        path = recipe_file(name)
    except UserError as error:
        raise UserError(f"{where}.recipe: {error}") from None
    return StudyStage(name, path, settings_in(f"{where}.set", stage.get("set")))


def _figure(where: str, content: Any, default: Mapping[str, Any]) -> Published:
    given = (
        section(where, content, _FIGURE, required=("value",)) if isinstance(content, Mapping) else {"value": content}
    )
    values = {"source": "", **{key: value for key, value in default.items() if value is not None}, **given}
    try:
        return Published(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _column(
    key: str, content: Any, rows: Mapping[str, StudyRow], changes: Settings, read: dict[tuple[str, ...], Loaded]
) -> StudyColumn:
    where = f"columns.{key}"
    column = section(where, content, _COLUMN, required=("protocol", "metric"))
    measured = [name for name, row in rows.items() if row.changes]
    for option in ("rows", "except"):
        for name in check_value(f"{where}.{option}", column.get(option, []), list[str]):
            if name not in rows:
                raise unknown(f"row in {where}.{option}", name, rows)
    chosen = column.get("rows", measured)
    found = StudyColumn(
        key=key,
        title=check_value(f"{where}.title", column.get("title", key), str),
        protocol=check_value(f"{where}.protocol", column["protocol"], str),
        metric=check_value(f"{where}.metric", column["metric"], str),
        per_image=check_value(f"{where}.per_image", column.get("per_image"), str | None),
        stage=check_value(f"{where}.stage", column.get("stage", -1), int),
        settings=merged(settings_in(f"{where}.set", column.get("set"), reserved=()), changes),
        encoder=settings_in(f"{where}.encoder", column.get("encoder"), reserved=()),
        rows=tuple(name for name in measured if name in chosen and name not in column.get("except", [])),
        unit=check_value(f"{where}.unit", column.get("unit"), str | None),
        read=read,
    )
    try:
        for source in found.sources:
            _check_source(source, found, rows)
        found.loaded()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    for row in found.rows:
        _check_measure(found, rows[row])
        if found.encoder and rows[row].model is not None:
            raise UserError(
                f"{where}.encoder: row {row} is the network of a function, whose encoder has no options; leave it out "
                "by 'except'"
            )
        stages = len(rows[row].changes)
        if not -stages <= found.stage < stages:
            raise UserError(f"{where}.stage={found.stage}: row {row} has {stages} stage(s); leave it out by 'except'")
    return found


def _check_measure(column: StudyColumn, row: StudyRow) -> None:
    """Check that the protocol of a column has the options that a row changes."""
    if not row.measure:
        return
    if names := rows_named(row.measure):
        raise UserError(f"rows.{row.key}.measure: ${{run:{names[0]}}} is of columns only")
    try:
        column.of(row).loaded()
    except UserError as error:
        raise UserError(f"rows.{row.key}.measure, column {column.key}: {error}") from None


def _check_source(source: str, column: StudyColumn, rows: Mapping[str, StudyRow]) -> None:
    if source not in rows:
        raise unknown("row in ${run:ROW}", source, rows)
    if not rows[source].stages:
        kind = "published only" if rows[source].model is None else "the network of a function"
        raise UserError(f"${{run:{source}}}: this row is {kind}, it has no run")
    for row in column.rows:
        if lacking := set(rows[row].seeds) - set(rows[source].seeds):
            raise UserError(f"${{run:{source}}}: has no seed {min(lacking)}, which row {row} has")


def _pairs(
    content: Any, rows: Mapping[str, StudyRow], columns: Mapping[str, StudyColumn]
) -> tuple[tuple[str, str], ...]:
    pairs = check_value("compare", content, list[list[str]])
    known: set[frozenset[str]] = set()
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise UserError(f"compare: {pair!r}: must be two rows, not one with itself")
        if frozenset(pair) in known:
            raise UserError(f"compare: {pair!r}: is listed twice; the order of two rows does not matter")
        known.add(frozenset(pair))
        for name in pair:
            if name not in rows:
                raise unknown("row in compare", name, rows)
            if not rows[name].changes:
                raise UserError(f"compare: row {name} is published only, it has no results for a paired test")
    if pairs and not any(column.per_image for column in columns.values()):
        raise UserError("compare: no column names its 'per_image' results, which paired tests need")
    return tuple((a, b) for a, b in pairs)
