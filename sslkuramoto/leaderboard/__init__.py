"""A board of networks: one card each, recomputed from its run before it is shown, and a static page of them.

A card of the board lists how robust a network was measured to be. The model card that ``export`` writes
(:mod:`sslkuramoto.interop.card`) says how weights were trained and how they are loaded.
"""

from sslkuramoto.leaderboard.network import CARD, card_of, check_card, checked_card, keep_card
from sslkuramoto.leaderboard.page import board_page

__all__ = ["CARD", "board_page", "card_of", "check_card", "checked_card", "keep_card"]
