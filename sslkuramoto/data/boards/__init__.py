"""Board sources: each returns a :class:`BoardSet` of puzzles with their solutions."""
