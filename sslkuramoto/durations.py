"""Durations as text, for estimates and progress."""


def shown_time(seconds: float) -> str:
    """Return a duration in the unit that people would use: seconds, minutes, hours or days."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else f"{hours / 24:,.0f} days"
