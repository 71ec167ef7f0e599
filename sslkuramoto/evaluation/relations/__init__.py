"""Protocols for relations between images: same or different, match to sample."""
