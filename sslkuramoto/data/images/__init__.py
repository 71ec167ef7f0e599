"""Image sources: files and archives in, an :class:`ImageSet` out."""
