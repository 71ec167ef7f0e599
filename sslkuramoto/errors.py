"""The one exception that means: the user can mend this.

The command line prints its single line and leaves with exit code 2; anything else is a fault of ours (exit code 1).
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A request that cannot be carried out as written.

    The message is one line and names the key, the value and what is allowed.
    """


class Interrupted(Exception):
    """Ctrl-C or SIGTERM during a run: the checkpoint is written, the same command goes on from there."""


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
