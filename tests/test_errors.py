"""Errors that the user can mend are one line with the nearest right name."""

import pytest

from sslkuramoto.errors import UserError, unknown


def test_an_unknown_name_is_answered_by_the_nearest_and_all_allowed_in_order():
    error = unknown("encoder", "akron", ["timm", "akorn"])
    assert isinstance(error, UserError)
    assert str(error) == "unknown encoder 'akron': did you mean 'akorn'? allowed: akorn, timm"


def test_a_name_near_to_nothing_gets_the_list_only():
    assert str(unknown("encoder", "zzz", ["timm", "akorn"])) == "unknown encoder 'zzz': allowed: akorn, timm"


def test_an_empty_list_says_so():
    assert str(unknown("view", "a", [])) == "unknown view 'a': allowed: (none)"


@pytest.mark.parametrize("name", [3, None, 1.5, True])
def test_a_name_that_is_no_text_is_shown_as_it_is(name):
    assert f"unknown encoder {name!r}" in str(unknown("encoder", name, ["akorn"]))


def test_a_user_error_is_a_value_error_so_that_libraries_let_it_through():
    assert issubclass(UserError, ValueError)
