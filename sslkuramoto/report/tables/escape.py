"""Text from files that anybody may have written, made harmless for a terminal and for a spreadsheet."""

import unicodedata

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a field that begins so
STEERING = {"Cc", "Cs", "Zl", "Zp"}  # control characters, lone surrogates, separators of lines
TURNING = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # the direction of writing


def visible(text: str) -> str:
    """Return ``text`` with a question mark for each character that would steer a terminal or turn text around.

    Line breaks stay.
    """

    def steers(sign: str) -> bool:
        return sign != "\n" and (sign in TURNING or unicodedata.category(sign) in STEERING)

    return "".join("?" if steers(sign) else sign for sign in text)


def csv_field(value: object) -> object:
    """Return a field of a CSV file: numbers as they are, text that begins like a formula behind an apostrophe.

    Source: OWASP, CSV Injection.
    """
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(FORMULA) else value
    return visible(text)
