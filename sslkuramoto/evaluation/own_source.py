"""Data that a protocol names by an option and measures instead of those of the run: scenes, photographs or boards."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

from sslkuramoto.data import DATA, DataSet, expected_spec
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Reads, Spec, check_reads
from sslkuramoto.recipe import Part


class OwnSource(Part):
    """A data source of a protocol's own; each split is loaded once."""

    @property
    def spec(self) -> Spec:
        """The spec that the source declares."""
        return expected_spec(self.name, self.options)

    @cached_property
    def of_subject(self) -> dict[str, Any]:
        """Fields of a subject that is measured on the source; its run records nothing about these data."""
        load: Callable[[str], DataSet] = cache(lambda split: DATA.build(self.name, self.options, split))
        return {"data": load, "spec": self.spec, "data_options": {}, "remember_data": lambda: None}


def own_source(option: str, value: Mapping[str, Any] | None, reads: Reads) -> OwnSource | None:
    """Return the data source that an option describes; None where the option is null.

    Args:
        option: its name, for errors.
        value: name and options of a source, such as ``{name: voc, root: DIR}``.
        reads: kinds of spec that the protocol reads.

    Raises:
        UserError: no name, an unknown source or option, or a source of something else.
    """
    if value is None:
        return None
    options = {str(key): item for key, item in value.items() if key != "name"}
    if "name" not in value:
        raise UserError(f"{option}={dict(value)}: needs the key 'name', one of {', '.join(DATA)}")
    name = str(value["name"])
    check_reads(option, reads, f"data {name}", expected_spec(name, options))
    return OwnSource(name, DATA.resolved(name, options))
