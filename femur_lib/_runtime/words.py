"""What programs say while they work."""

from collections.abc import Callable

Progress = Callable[[str], None]  # gets a line at a time


def duration(seconds: float) -> str:
    """Seconds in words: 48 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
