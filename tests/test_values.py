"""Types and ranges stand in the signature: one place checks them, and one place puts them into words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field

from sslkuramoto.errors import UserError
from sslkuramoto.values import (
    Count,
    Kernel,
    Must,
    NotNegative,
    Odd,
    Positive,
    Repeats,
    Share,
    ShareBelowOne,
    Steps,
    check_value,
    checked,
    in_words,
    option_text,
)

Pair = Annotated[tuple[float, float], Must("(low, high) with low <= high", lambda pair: pair[0] <= pair[1])]


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (0.0, Positive, "key=0.0: must be > 0"),
        (float("inf"), Positive, "key=inf: must be finite and > 0"),
        (float("nan"), Positive, "key=nan: must be finite and > 0"),
        (-1, NotNegative, "key=-1: must be >= 0"),
        (float("nan"), Share, "key=nan: must be in [0, 1]"),
        (1.0, ShareBelowOne, "key=1.0: must be in [0, 1)"),
        (0, Count, "key=0: must be >= 1"),
        (0, Count | None, "key=0: must be >= 1, or null"),
        (2.0, Literal["val"] | Share, "key=2.0: must be in [0, 1], or val"),
        ([3, 2], tuple[Odd, ...], "key=[3, 2]: entry 2 must be odd and >= 1"),
        (0, Count | tuple[Count, ...], "key=0: must be >= 1"),
        ([2.0, 1.0], Pair, "key=[2.0, 1.0]: must be (low, high) with low <= high"),
        (5, Annotated[int, Field(lt=5)], "key=5: must be < 5"),
        ("1", Count, "read as text, write the number without quotes"),
        (1.5, Count, "key=1.5: must be a whole number"),
        (10_001, Steps, "key=10001: must be at most 10,000"),
        (10**20, Steps | tuple[Steps, ...], f"key={10**20}: must be at most 10,000"),
        ([3, 10**20], Steps | tuple[Steps, ...], f"key=[3, {10**20}]: entry 2: must be at most 10,000"),
        (0, Steps | tuple[Steps, ...] | None, "key=0: must be >= 1, or null"),
        (10**20 + 1, Kernel | None, f"key={10**20 + 1}: must be at most 999"),
        (4, Kernel, "key=4: must be odd and >= 1"),
        (10**7, Repeats, "key=10000000: must be at most 1,000,000"),
    ],
)
def test_a_value_out_of_range_is_one_line_with_key_value_and_range(value, annotation, message):
    with pytest.raises(UserError) as caught:
        check_value("key", value, annotation)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Count, "whole number >= 1"),
        (Positive | None, "number > 0 or null"),
        (Steps, "whole number >= 1, at most 10,000"),
        (tuple[Kernel, ...], "list (whole number, odd and >= 1, at most 999)"),
        (Share, "number in [0, 1]"),
        (tuple[Odd, ...], "list (whole number, odd and >= 1)"),
        (tuple[float, float], "list of 2 (number)"),
        (Literal["a", "b"], "a | b"),
        (dict[str, int], "mapping"),
        (bool, "true | false"),
        (str | None, "text or null"),
    ],
)
def test_an_annotation_reads_as_words(annotation, words):
    assert in_words(annotation) == words


@checked
def halved(given: int, /, other: int = -1, *, count: Count = 1, free: int = 0) -> int:
    return given // count


def test_a_checked_function_refuses_what_is_out_of_range_and_passes_on_the_rest_as_it_is():
    assert halved(4, count=2, free=-7) == 2
    with pytest.raises(UserError, match=r"^count=0: must be >= 1$"):
        halved(4, count=0)


@checked
def calibrated(*, bins: list[Count]) -> list[int]:
    return bins


@checked
@dataclass(frozen=True)
class Head:
    width: Count = 8
    kind: Literal["a", "b"] = "a"


def test_a_checked_dataclass_refuses_what_is_out_of_range():
    assert Head(width=2).width == 2
    with pytest.raises(UserError, match=r"^width=0: must be >= 1$"):
        Head(width=0)


def test_a_mapping_is_read_as_a_dataclass_with_every_key_checked():
    assert check_value("head", {"width": 3}, Head) == Head(width=3)
    assert check_value("head", None, Head | None) is None
    with pytest.raises(UserError, match=r"^head\.width=0: must be >= 1$"):
        check_value("head", {"width": 0}, Head)
    with pytest.raises(UserError, match=r"unknown key head\.widht 'widht': did you mean 'width'"):
        check_value("head", {"widht": 3}, Head)
    with pytest.raises(UserError, match="head=3: must be a mapping"):
        check_value("head", 3, Head)


def test_numbers_and_arrays_of_numpy_and_torch_become_pythons_and_nothing_else_is_converted():
    for given, annotation, wanted in (
        (np.int64(3), Count, 3),
        (np.float32(0.5), Share, 0.5),
        (torch.tensor(2), Count, 2),
        (np.bool_(True), bool, True),
        (np.array([1, 2]), list[int], [1, 2]),
        ([np.int64(1), torch.tensor(2.5)], tuple[float, ...], (1, 2.5)),
        ({"k": np.int64(1)}, Mapping[str, Any], {"k": 1}),
    ):
        found = check_value("key", given, annotation)
        assert found == wanted
        assert type(found) is type(wanted)
    for given in (np.int64(0), np.float64(2), np.bool_(True), np.str_("3")):
        with pytest.raises(UserError, match=r"^key="):
            check_value("key", given, Count)
    assert isinstance(check_value("key", torch.ones(2), torch.Tensor), torch.Tensor)
    listed = calibrated(bins=[np.int64(5), 3])  # pyright: ignore[reportArgumentType]
    assert [type(each) for each in listed] == [int, int], "what a list holds is converted too"
    with pytest.raises(UserError, match=r"^key="):
        check_value("key", torch.zeros(3, device="meta"), Count)
    count = halved(np.int64(4), count=np.int64(2), free=np.int64(1))  # pyright: ignore[reportArgumentType]
    assert type(count) is np.int64, "an argument without a range is passed on as it is"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1, "1"), ([False, 0], "false+0"), ({"name": "a", "k": None}, "a(k=null)")],
)
def test_an_option_is_written_as_in_yaml(value, text):
    assert option_text(value) == text
