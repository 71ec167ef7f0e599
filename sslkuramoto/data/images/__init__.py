"""Image sources: each reads files or an archive and returns an :class:`ImageSet`."""
