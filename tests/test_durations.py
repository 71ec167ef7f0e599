"""Durations as text."""

import pytest

from sslkuramoto.durations import shown_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (4e5, "5 days"),
    ],
)
def test_a_duration_is_shown_in_the_unit_that_people_use(seconds: float, text: str):
    assert shown_time(seconds) == text
