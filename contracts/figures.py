"""How numbers are written for people."""


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.{digits(value)}f}"


def signed(change: float | None, like: float) -> str:
    """A difference, with as many digits as the values have that it lies between."""
    return "–" if change is None else f"{change:+,.{digits(like)}f}"


def digits(value: float) -> int:
    return 3 if abs(value) < 10 else 1


def duration(seconds: float) -> str:
    """4.2 s, 3:07 min, 2:05:00 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"
