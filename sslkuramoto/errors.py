"""The one exception that means: the user can mend this; and errors of others as one line.

The command line prints its single line and leaves with exit code 2; anything else is a fault of ours (exit code 1).
"""

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple
from unicodedata import category

LONGEST = 400  # characters of another package's error in a line
LONGEST_WORD, LONGEST_LINE = 300, 3000  # characters of a message of ours


class UserError(ValueError):
    """A request that cannot be carried out as written.

    The message is one line and names the key, the value and what is allowed. Whatever a file or a caller put into it,
    it contains no terminal control characters, and a very long value is shown by its ends.
    """

    def __init__(self, message: str) -> None:
        words = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: shortened(word[0], LONGEST_WORD), printable(message))
        super().__init__(shortened(words, LONGEST_LINE))


class Interrupted(Exception):
    """Ctrl-C or SIGTERM during a run: the checkpoint is written, the same command continues from there."""


def printable(text: str, keep: str = "") -> str:
    """Return text without terminal control: ``?`` in place of control, format and unassigned characters.

    Names of classes and files, results and recipes come from other people. Escape sequences would move the cursor,
    marks of direction would turn a line round.

    Args:
        text: to be shown; a line break becomes a space.
        keep: characters that are not replaced, such as the line breaks and tabs of a whole file.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign in keep else " " if sign in "\r\n\t" else _seen(sign) for sign in text)


def _seen(sign: str) -> str:
    kind = category(sign)
    return "?" if kind[0] == "C" or kind in ("Zl", "Zp") else sign


def shortened(text: str, longest: int) -> str:
    """Return a text by its ends, with the number of characters left out, where it is longer than ``longest``."""
    if len(text) <= longest:
        return text
    start, end = longest * 2 // 3, longest // 4
    return f"{text[:start]}...({len(text) - start - end:,} characters)...{text[-end:]}"


_MEMORY = ("allocate memory", "not enough memory", "Storage size calculation overflowed", "Overflow when unpacking")
_MEMORY += ("integer multiplication overflow",)


class TooLarge(NamedTuple):
    """What a size or a number of the user's has led to.

    Attributes:
        what: the trouble.
        advice: what helps.
    """

    what: str
    advice: str


def too_large(error: Exception) -> TooLarge | None:
    """Return what to tell the user about an error that a size or a number of theirs caused; None for any other error.

    Args:
        error: of torch or of Python; on a CPU torch has no type of its own for them, only their wording.
    """
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(w in text for w in _MEMORY):
        wanted = re.search(r"tried to allocate ([\d.]+ \w+)", text, re.IGNORECASE)
        what = f"out of memory{f' ({wanted[1]} more were wanted)' if wanted else ''}"
        return TooLarge(what, "smaller images, batches or networks need less")
    if "cannot be converted to type" in text and "without overflow" in text:
        what = "a number is beyond 32-bit floats (3.4e38)"
        return TooLarge(what, "a smaller option helps, in training optimizer.lr above all")
    return None


def line_of(error: BaseException) -> str:
    """Return an error of another package's code as one line: its kind and the start of its text."""
    text = one_line(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def one_line(error: BaseException) -> str:
    """Return the text of an error as one line of at most 400 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@cache
def say_once(line: str) -> None:
    """Print a line to stderr, the first time that it is to be said."""
    print(printable(line), file=sys.stderr)


def unknown(kind: str, name: object, allowed: Iterable[str]) -> UserError:
    """Return the error for a name outside a closed list, with the nearest allowed name.

    Args:
        kind: what is named, for example ``"encoder"`` or ``"key of objective simclr"``.
        name: what the user wrote.
        allowed: every name that would have been accepted.
    """
    names = sorted(allowed)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {name!r}: {hint}allowed: {', '.join(names) or '(none)'}")
