"""Encoders: networks that map images or boards to features.

Another package adds one through the entry-point group ``sslkuramoto.encoders``.
"""

from sslkuramoto.encoders.akorn import AKOrN
from sslkuramoto.encoders.board_akorn import BoardAKOrN
from sslkuramoto.encoders.board_winfree import BoardWinfree
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.encoders.iterative import BoardIterative, Iterative
from sslkuramoto.encoders.patch_akorn import PatchAKOrN
from sslkuramoto.encoders.relational import Relational, RelationalControl
from sslkuramoto.encoders.timm import TimmEncoder
from sslkuramoto.encoders.winfree import Winfree
from sslkuramoto.registry import Registry

__all__ = [
    "ENCODERS",
    "AKOrN",
    "BoardAKOrN",
    "BoardIterative",
    "BoardWinfree",
    "Encoder",
    "Features",
    "Iterative",
    "PatchAKOrN",
    "Relational",
    "RelationalControl",
    "TimmEncoder",
    "Winfree",
]

ENCODERS: Registry[Encoder] = Registry("encoder", "sslkuramoto.encoders")
ENCODERS.add("akorn", AKOrN)
ENCODERS.add("board_akorn", BoardAKOrN)
ENCODERS.add("board_iterative", BoardIterative)
ENCODERS.add("board_winfree", BoardWinfree)
ENCODERS.add("iterative", Iterative)
ENCODERS.add("patch_akorn", PatchAKOrN)
ENCODERS.add("relational", Relational)
ENCODERS.add("relational_control", RelationalControl)
ENCODERS.add("timm", TimmEncoder)
ENCODERS.add("winfree", Winfree)
