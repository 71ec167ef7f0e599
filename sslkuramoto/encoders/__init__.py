"""Encoders: networks that map images or boards to features.

Another package adds one through the entry-point group ``sslkuramoto.encoders``.
"""

from sslkuramoto.encoders.akorn import AKOrN
from sslkuramoto.encoders.board_akorn import BoardAKOrN
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.encoders.timm import TimmEncoder
from sslkuramoto.registry import Registry

__all__ = ["ENCODERS", "AKOrN", "BoardAKOrN", "Encoder", "Features", "TimmEncoder"]

ENCODERS: Registry[Encoder] = Registry("encoder", "sslkuramoto.encoders")
ENCODERS.add("akorn", AKOrN)
ENCODERS.add("board_akorn", BoardAKOrN)
ENCODERS.add("timm", TimmEncoder)
