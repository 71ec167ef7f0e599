"""Changes of a study on the command line, which win over those of its file, and which of them make it another study.

    KEY=VALUE                   every training run
    ROW.KEY=VALUE               the training runs of a row
    ROW.STAGE.KEY=VALUE         one of them, counted from 0
    columns.COLUMN.KEY=VALUE    an option of the protocol of a column

A folder of data for every training run does not apply to those that the file gives data of their own: CIFAR-100 is
not in the folder of CIFAR-10.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.recipe import Recipe
from sslkuramoto.study.options import Settings, merged, settings_from
from sslkuramoto.study.sections import settings_in

_WHICH_DATA = ("data", "data.name", "data.root")
_PLACES = ("data.root", "archive")  # where images are stored: their content is in every key
_COLUMNS = "columns."


def keeps_its_data(settings: Settings) -> bool:
    """Whether changes name the data that a training run takes."""
    return any(key in settings for key in _WHICH_DATA)


@dataclass(frozen=True)
class Overrides:
    """What the command line changes.

    Attributes:
        everywhere: of every training run.
        rows: (row, stage) -> of these training runs; stage None for all of a row.
        columns: column -> of its protocol.
    """

    everywhere: Settings = field(default_factory=dict)
    rows: Mapping[tuple[str, int | None], Settings] = field(default_factory=dict)
    columns: Mapping[str, Settings] = field(default_factory=dict)

    def of_stage(self, row: str, stage: int, own: Settings) -> Settings:
        """Return what is changed in a training run whose file changes are ``own``."""
        keeps = keeps_its_data(own)
        shared = {key: value for key, value in self.everywhere.items() if not (keeps and key in _WHICH_DATA)}
        return merged(shared, self.rows.get((row, None), {}), self.rows.get((row, stage), {}))

    def decide_data_of(self, row: str, stage: int, own: Settings) -> bool:
        """Whether a training run takes the data that are given for every one."""
        addressed = (self.rows.get((row, place), {}) for place in (None, stage))
        return not any(keeps_its_data(settings) for settings in (own, *addressed))

    @property
    def counted(self) -> dict[str, str]:
        """Return what changes results, key -> value as text, in a fixed order.

        Places of data do not, nor does the engine, but for its precision, which is that of the weights.
        """
        found = dict(self.everywhere)
        for (row, stage), settings in self.rows.items():
            place = row if stage is None else f"{row}.{stage}"
            found |= {f"{place}.{key}": value for key, value in settings.items() if _counts(key)}
        for column, settings in self.columns.items():
            found |= {f"{_COLUMNS}{column}.{key}": value for key, value in settings.items() if _counts(key)}
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}
        return {key: texts[key] for key in sorted(texts) if _counts(key)}


def _counts(key: str) -> bool:
    return key not in _PLACES and (key == "engine.precision" or not key.startswith("engine."))


def read_overrides(words: Sequence[str], rows: Mapping[str, Sequence[Settings]], columns: Sequence[str]) -> Overrides:
    """Sort ``key=value`` words by what they change.

    Args:
        words: of the command line.
        rows: row -> what the file changes in each of its training runs.
        columns: keys of the columns.

    Raises:
        UserError: a row, training run or column that is not there; a key that is the study's own; data that would go to
            training runs on different data.
    """
    everywhere: dict[str, object] = {}
    of_rows: dict[tuple[str, int | None], dict[str, object]] = {}
    of_columns: dict[str, dict[str, object]] = {}
    for key, value in settings_from(words).items():
        row = max((row for row in rows if key.startswith(f"{row}.")), key=len, default=None)
        first, dot, _ = key.partition(".")
        if key.startswith(_COLUMNS):
            column, option = _of_column(key, columns)
            of_columns.setdefault(column, {})[option] = value
        elif not dot or first in _SECTIONS:
            everywhere[key] = value
        elif row is not None:
            stage, option = _of_row(key, row, rows[row])
            of_rows.setdefault((row, stage), {})[option] = value
        else:
            raise unknown(f"row or section in {key}", first, {*rows, *_SECTIONS, _COLUMNS.rstrip(".")})
    settings_in("", everywhere)
    for (row, stage), settings in of_rows.items():
        settings_in(row if stage is None else f"{row}.{stage}", settings)
    return Overrides(everywhere, of_rows, of_columns)


_SECTIONS = {part.name for part in fields(Recipe)}


def _of_column(key: str, columns: Sequence[str]) -> tuple[str, str]:
    rest = key.removeprefix(_COLUMNS)
    column = max((column for column in columns if rest.startswith(f"{column}.")), key=len, default=None)
    if column is None:
        raise unknown(f"column in {key}", rest.partition(".")[0], columns)
    return column, _option(key, rest.removeprefix(f"{column}."))


def _of_row(key: str, row: str, stages: Sequence[Settings]) -> tuple[int | None, str]:
    rest = key.removeprefix(f"{row}.")
    if not stages:
        raise UserError(f"{key}: row {row} is published only, it has no training run")
    number, _, option = rest.partition(".")
    if number.removeprefix("-").isdecimal():
        if not 0 <= int(number) < len(stages):
            raise UserError(f"{key}: row {row} has {len(stages)} training run(s), counted from 0")
        return int(number), _option(key, option)
    own = [{name: value for name, value in stage.items() if name in _WHICH_DATA} for stage in stages]
    if rest in _WHICH_DATA and any(data != own[0] for data in own):
        raise UserError(f"{key}: the training runs of row {row} take different data; name one: {row}.0.{rest}=...")
    return None, _option(key, rest)


def _option(key: str, option: str) -> str:
    if not option:
        raise UserError(f"{key}: names no option")
    return option


def check_one_source(overrides: Overrides, sources: Sequence[tuple[str, str]]) -> None:
    """Refuse one place for the data of several sources.

    Args:
        overrides: of the command line.
        sources: row and data source of each training run that takes the data given for every one.

    Raises:
        UserError: there are several.
    """
    given = [key for key in overrides.everywhere if key in _WHICH_DATA]
    first = {source: row for row, source in reversed(sources)}
    if given and len(first) > 1:
        listed = ", ".join(f"{source} (row {row})" for source, row in sorted(first.items()))
        raise UserError(f"{given[0]}: training runs take different data: {listed}; name one: ROW.{given[0]}=...")
