"""Text from files of unknown origin, made harmless for a terminal and for a spreadsheet."""

from sslkuramoto.errors import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a field that begins so


def visible(text: str) -> str:
    """Return ``text`` with a question mark for each character that would steer a terminal. Line breaks stay."""
    return printable(text, keep="\n")


def csv_field(value: object) -> object:
    """Return a field of a CSV file: numbers as they are, text that begins like a formula behind an apostrophe.

    Source: OWASP, CSV Injection.
    """
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(FORMULA) else value
    return visible(text)
