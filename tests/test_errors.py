"""Errors that the user can mend are one line with the nearest right name."""

import pytest

from sslkuramoto.errors import UserError, printable, unknown


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jcat", "?[2Jcat"),
        ("a\rb\tc\nd", "a b c d"),
        ("right\u202eto left", "right?to left"),
        ("a\x9b31mb\x07", "a?31mb?"),
        ("\ud800", "?"),
        ("grün 東京 – é", "grün 東京 – é"),
        ("a wide\u3000and a hard\xa0space", "a wide\u3000and a hard\xa0space"),
        ("line\u2028separator", "line?separator"),
    ],
)
def test_text_of_others_steers_no_terminal(text, shown):
    assert printable(text) == shown
    assert str(UserError(text)) == shown


def test_a_whole_file_keeps_its_lines():
    assert printable("a\n\tb\x1b\n", keep="\n\t") == "a\n\tb?\n"


def test_a_very_long_value_is_shown_by_its_ends():
    said = str(UserError(f"data.root={'a' * 5000}: no such folder"))
    assert said.startswith("data.root=aaaa")
    assert said.endswith("aaaa: no such folder")
    assert "characters)" in said
    assert len(said) < 400
    listed = str(UserError(f"options={list(range(5000))}: must be a mapping"))
    assert listed.startswith("options=[0, 1, 2")
    assert listed.endswith("4999]: must be a mapping")
    assert len(listed) < 3000
    assert str(UserError(said)) == said, "a message in another one stays as it is"


def test_a_path_of_usual_length_is_shown_whole():
    path = "/" + "/".join(["a-folder-of-somebody"] * 12)
    assert str(UserError(f"{path}: no such file")) == f"{path}: no such file"
