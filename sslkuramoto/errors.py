"""The one exception that means: the user can mend this; and errors of others as one line.

The command line prints its single line and leaves with exit code 2; anything else is a fault of ours (exit code 1).
"""

import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

LONGEST = 400  # characters of somebody else's error in a line


class UserError(ValueError):
    """A request that cannot be carried out as written.

    The message is one line and names the key, the value and what is allowed.
    """


class Interrupted(Exception):
    """Ctrl-C or SIGTERM during a run: the checkpoint is written, the same command goes on from there."""


_MEMORY = ("allocate memory", "not enough memory", "Storage size calculation overflowed", "Overflow when unpacking")


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
    """Return an error of somebody else's code as one line: its kind and the start of its text."""
    text = one_line(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def one_line(error: BaseException) -> str:
    """Return the text of an error as one line of at most 400 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@cache
def say_once(line: str) -> None:
    """Print a line to stderr, the first time that it is to be said."""
    print(line, file=sys.stderr)


def unknown(kind: str, name: object, allowed: Iterable[str]) -> UserError:
    """Return the error for a name outside a closed list, with the nearest right name.

    Args:
        kind: what the name stands for, for example ``"encoder"`` or ``"key of objective simclr"``.
        name: what the user wrote.
        allowed: every name that would have been accepted.
    """
    names = sorted(allowed)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {name!r}: {hint}allowed: {', '.join(names) or '(none)'}")
