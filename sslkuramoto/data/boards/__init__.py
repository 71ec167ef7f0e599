"""Board sources: puzzles made or read, a :class:`BoardSet` out."""
