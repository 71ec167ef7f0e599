"""Glyphs: pairs of pictures of characters for same/different, and match-to-sample, made without a download."""
