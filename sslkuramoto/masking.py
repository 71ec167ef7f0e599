"""Which names are those of secrets, and text with the values of such names masked."""

import re
from itertools import pairwise

MASK = "***"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # hub_token, hubToken and HUB_TOKEN are two words each
_ANYWHERE = re.compile(
    r"\w*secrets?|\w*passw(or)?ds?|passphrase|\w*credentials?|o?auth|authori[sz]ation|authentication"
)
_PAIRS = {(first, key) for first in ("api", "access", "private", "secret") for key in ("key", "keys")}
_JOINED = {first + key for first, key in _PAIRS}
_KEY = re.compile(r"(?<![\w.-])(\\*[\"']?)([A-Za-z_][\w.-]*)\1[^\S\n]*[:=][^\S\n]*")
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:''|[^'])*'", re.DOTALL)
_NO_SECRETS = {"", "true", "false", "null", "none", "~"}


def names_secret(name: str) -> bool:
    """Return whether a key or variable is named like a secret: ``hub_token``, not ``author`` or ``token_dim``."""
    words = [word.lower() for word in _WORD.findall(name)]
    single = any(_ANYWHERE.fullmatch(word) or word in _JOINED for word in words)
    return single or any(pair in _PAIRS for pair in pairwise(words)) or (words or [""])[-1].endswith("token")


def masked(text: str) -> str:
    """Return text with ``***`` for the value of each ``KEY: VALUE`` and ``KEY=VALUE`` whose key names a secret.

    A value ends as in YAML: with its quote or bracket, at a comma within brackets, otherwise with the line. JSON stays
    JSON. Flags and null are no secrets.
    """
    parts, start, place = [], 0, 0
    while found := _KEY.search(text, place):
        place = found.end()
        if not names_secret(found[2]):
            continue
        end = _end_of_value(text, place)
        if text[place:end].strip().lower() in _NO_SECRETS:
            continue
        quote = '"' if found[1] == '"' or text[place] == '"' else ""
        parts += [text[start:place], quote, MASK, quote]
        start = place = end
    return "".join([*parts, text[start:]])


def _end_of_value(text: str, start: int) -> int:
    if quoted := _QUOTED.match(text, start):
        return quoted.end()
    if text[start : start + 1] in ("{", "["):
        depth = 0
        for place in range(start, len(text)):
            depth += (text[place] in "{[") - (text[place] in "}]")
            if depth == 0:
                return place + 1
        return len(text)
    line = text.rfind("\n", 0, start) + 1
    ends = "\n"
    if sum(text.count(sign, 0, start) for sign in "{[") > sum(text.count(sign, 0, start) for sign in "}]"):
        ends += ",}]"
    if len(re.findall(r'(?<!\\)"', text[line:start])) % 2:  # within a text of JSON
        ends += '"'
    return next((place for place in range(start, len(text)) if text[place] in ends), len(text))
