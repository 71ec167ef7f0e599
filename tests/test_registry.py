from typing import Annotated, Literal

import pytest
import torch

from sslkuramoto import registry
from sslkuramoto.errors import UserError
from sslkuramoto.registry import Registry, check_value
from sslkuramoto.values import Mark


class Thing:
    """A thing.

    More about it.
    """

    def __init__(self, given: int = 0, *, size: int, rate: float = 0.5, kind: Literal["a", "b"] = "a") -> None:
        if size < 1:
            raise UserError(f"size={size}: must be >= 1")
        self.values = (given, size, rate, kind)


def function(*, pair: tuple[float, float] = (0.0, 1.0), flag: bool = False, names: tuple[str, ...] = ()) -> tuple:
    """Return its options."""
    return (pair, flag, names)


@pytest.fixture
def things() -> Registry:
    found: Registry = Registry("thing", "sslkuramoto.nothing")
    found.add("thing", Thing)
    found.add("function", function)
    return found


def test_options_are_the_keyword_only_parameters(things):
    assert list(things.options("thing")) == ["size", "rate", "kind"]
    assert list(things) == ["function", "thing"]


def test_build_passes_checked_options_and_what_the_code_supplies(things):
    assert things.build("thing", {"size": 2, "rate": 1}, 7).values == (7, 2, 1.0, "a")
    assert things.build("function", {"pair": [1, 2], "names": ["x"]}) == ((1.0, 2.0), False, ("x",))


def test_resolved_writes_out_every_option(things):
    assert things.resolved("thing", {"kind": "b", "size": 3}) == {"size": 3, "rate": 0.5, "kind": "b"}


def test_resolved_leaves_out_a_later_option_at_its_default_so_that_earlier_recipes_stay_what_they_were(things):
    def grown(*, size: int, patch: Annotated[int, Mark.LATER] = 1) -> int:
        return size * patch

    things.add("grown", grown)
    assert things.resolved("grown", {"size": 3}) == things.resolved("grown", {"size": 3, "patch": 1}) == {"size": 3}
    assert things.resolved("grown", {"size": 3, "patch": 2}) == {"size": 3, "patch": 2}
    assert things.build("grown", {"size": 3}) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("thin", {}, "unknown thing 'thin': did you mean 'thing'? allowed: function, thing"),
        ("zzz", {}, "unknown thing 'zzz': allowed: function, thing"),
        ("thing", {"siz": 1}, "unknown key of thing thing 'siz': did you mean 'size'? allowed: kind, rate, size"),
        ("thing", {"given": 1, "size": 1}, "unknown key of thing thing 'given'"),
        ("thing", {}, "thing thing needs the key 'size'"),
        ("thing", {"size": 0}, "thing thing: size=0: must be >= 1"),
        ("thing", {"size": 1.5}, "thing.size=1.5: "),
        ("thing", {"size": True}, "thing.size=True: "),
        ("thing", {"size": 1, "rate": "1e-3"}, "read as text, write the number without quotes, for example 0.001"),
        ("thing", {"size": 1, "kind": "c"}, "thing.kind='c': must be 'a' or 'b'"),
        ("function", {"pair": [1.0]}, "thing.pair=[1.0]: "),
        ("function", {"flag": 1}, "thing.flag=1: "),
        ("function", {"flag": "yes"}, "thing.flag='yes': "),
        ("function", {"names": "x"}, "thing.names='x': "),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(things, name, options, message):
    with pytest.raises(UserError) as caught:
        things.build(name, options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "annotation", "wanted"),
    [
        (1, float, 1.0),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([[1, 2], [3]], tuple[tuple[int, ...], ...], ((1, 2), (3,))),
        (3, int | tuple[int, ...], 3),
        ([3], int | tuple[int, ...], (3,)),
        (None, float | None, None),
        ("auto", Literal["auto"] | bool, "auto"),
        ([1, 2], list[int], [1, 2]),
    ],
)
def test_values_of_the_right_type_pass(value, annotation, wanted):
    found = check_value("key", value, annotation)
    assert found == wanted
    assert type(found) is type(wanted)


class Point:
    value = "elsewhere:thing"

    def __init__(self, name, load):
        self.name, self.load = name, load


def test_entry_points_add_members_which_load_when_they_are_used(monkeypatch):
    loaded = []

    def load():
        loaded.append(1)
        return Thing

    def broken():
        raise ImportError("no module named elsewhere")

    points = [Point("theirs", load), Point("broken", broken), Point("function", broken)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "group" else [])
    things: Registry = Registry("thing", "group")
    things.add("function", function)
    assert list(things) == ["broken", "function", "theirs"]
    assert things.build("function", {})[1] is False, "a name of ours stays ours"
    assert not loaded
    assert things.build("theirs", {"size": 1}).values[1] == 1
    with pytest.raises(UserError, match="thing 'broken': its package cannot load elsewhere:thing: ImportError"):
        things.build("broken", {})


def test_a_name_is_registered_once(things):
    with pytest.raises(AssertionError, match="registered twice"):
        things.add("thing", Thing)


@pytest.mark.parametrize(
    "read",
    [
        lambda rates: [rate.item() for rate in rates],
        lambda rates: rates.tolist(),
        lambda rates: rates.numpy(),
        lambda rates: 1 if rates.sum() > 0 else 0,
    ],
    ids=["item", "tolist", "numpy", "if"],
)
def test_a_constructor_that_reads_values_of_tensors_is_named_where_tensors_have_none(things, read):
    class Reader:
        def __init__(self, *, depth: int = 3) -> None:
            self.rates = read(torch.linspace(0, 1, depth))

    things.add("reader", Reader)
    things.build("reader", {})
    with torch.device("meta"), pytest.raises(UserError) as caught:
        things.build("reader", {})
    line = str(caught.value)
    assert line.startswith("thing reader: a constructor is first called without memory (device meta) and may read no")
    assert "docs/plugins.md: " in line
    assert "\n" not in line


def test_a_fault_of_a_constructor_that_has_memory_stays_a_fault(things):
    class Broken:
        def __init__(self) -> None:
            raise RuntimeError("a fault")

    things.add("broken", Broken)
    with pytest.raises(RuntimeError, match="a fault"):
        things.build("broken", {})


def test_annotations_that_are_imported_for_type_checkers_alone_are_one_line(things):
    def lazy(*, file: "OnlyForCheckers | None" = None) -> "OnlyForCheckers":
        return file

    class Lazy:
        def __init__(self, *, file: "OnlyForCheckers | None" = None) -> None:
            self.file = file

    things.add("lazy", lazy)
    things.add("lazy class", Lazy)
    for read in (things.annotations, lambda name: things.build(name, {}), lambda name: things.resolved(name, {})):
        for name in ("lazy", "lazy class"):
            with pytest.raises(UserError, match=r"[Ll]azy.*: the annotations cannot be read: name 'OnlyForCheckers'"):
                read(name)
    with pytest.raises(UserError, match=r"the annotations cannot be read: .*not under TYPE_CHECKING$"):
        things.result_class("lazy", object)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_member_that_lacks_what_its_kind_is_called_with_is_one_line(device, things):
    def sizeless(*, depth: int = 3) -> int:
        return depth

    def demanding(size: int, other: int, *, depth: int = 3) -> int:
        return depth

    things.add("sizeless", sizeless)
    things.add("demanding", demanding)
    called = "is called with 1 positional argument, see docs/plugins.md: "
    for name, lack in (("sizeless", "too many positional arguments"), ("demanding", "missing a required argument")):
        with torch.device(device), pytest.raises(UserError, match=f"^thing {name}: {called}{lack}"):
            things.build(name, {}, 8)


def test_a_type_error_within_a_member_that_is_called_rightly_stays_a_fault(things):
    def broken(size: int) -> int:
        return size + "a"

    things.add("broken", broken)
    with pytest.raises(TypeError, match="unsupported operand"):
        things.build("broken", {}, 8)
