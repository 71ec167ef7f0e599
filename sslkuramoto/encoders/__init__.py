"""Networks that turn images into features. Another package adds one by an entry point ``sslkuramoto.encoders``."""

from sslkuramoto.encoders.akorn import AKOrN
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.encoders.timm import TimmEncoder
from sslkuramoto.registry import Registry

__all__ = ["ENCODERS", "AKOrN", "Encoder", "Features", "TimmEncoder"]

ENCODERS: Registry[Encoder] = Registry("encoder", "sslkuramoto.encoders")
ENCODERS.add("akorn", AKOrN)
ENCODERS.add("timm", TimmEncoder)
