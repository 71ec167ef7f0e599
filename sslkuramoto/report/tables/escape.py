"""Text from files of unknown origin, made harmless for a terminal and for a spreadsheet."""

import re
from unicodedata import category, normalize

from sslkuramoto.errors import printable

FORMULA = ("=", "+", "-", "@")
"""A spreadsheet computes a field that begins so, also behind blanks and in the full width of Chinese and Japanese."""


def visible(text: str) -> str:
    """Return ``text`` with a question mark for each character that would steer a terminal. Line breaks stay."""
    return printable(text, keep="\n")


def csv_field(value: object) -> object:
    """Return a field of a CSV file: numbers as they are, text that begins like a formula behind an apostrophe.

    What no one sees at the start of a text is passed over: blanks, line breaks, control and format characters.

    Source: OWASP, CSV Injection.
    """
    if not isinstance(value, str):
        return value
    start = next((sign for sign in value if not _unseen(sign)), "")
    odd = value[:1] in ("\t", "\r", "\n") or normalize("NFKC", start).startswith(FORMULA)
    return visible(f"'{value}" if odd else value)


def csv_comment(text: str) -> str:
    """Return a line of a CSV file that is no row, ``# text``, however many lines the text has.

    A program that knows no comments splits it at commas or semicolons; no part begins like a formula or with a quote.
    """
    line = visible(" ".join(text.split())).replace('"', "'")
    return "# " + "".join(str(csv_field(part)) for part in re.split("([,;])", line)) + "\n"


def _unseen(sign: str) -> bool:
    return sign.isspace() or category(sign)[0] == "C"
