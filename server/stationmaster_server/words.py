"""Numbers and durations as people read them; nothing here is parsed again by a program."""

from __future__ import annotations

import math


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, without needless zeros: 0.412, 2.3, 0.00081, 4.1e-07, NaN; `–` for None."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return not_finite(value)
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{places}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = f"{value:.{max(0, digits - 1)}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"


def loss(value: float | None) -> str:
    """The checklist's X.XXX: three decimals, and three significant digits where those would hide a small loss."""
    if value is None or not math.isfinite(value) or (value != 0 and abs(value) < 0.01) or abs(value) >= 1e6:
        return number(value)
    return f"{value:,.3f}"


def not_finite(value: float) -> str:
    """NaN, Infinity or -Infinity, as the run's files spell them."""
    return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")


def count(value: int) -> str:
    """An integer with its thousands set apart: 12,345."""
    return f"{value:,}"


def many(value: int, noun: str, plural: str = "") -> str:
    """A count with its noun: 1 alert, 12 alerts, 3 classes (`plural`)."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def duration(seconds: float | None) -> str:
    """The two largest units: 45s, 3m 12s, 2h 5m, 3d 4h; `–` for None, `0s` for less than a second."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    for size, unit, part, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit} {rest}{below}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def hours_minutes(seconds: float) -> str:
    """The checklist's `Xh Xm`; below ten minutes the seconds follow in brackets, where minutes alone say too little."""
    whole = max(0, round(seconds))
    text = f"{whole // 3600}h {whole % 3600 // 60}m"
    return text if whole >= 600 else f"{text} ({duration(seconds)})"


def size(amount: int) -> str:
    """Bytes in decimal units: 512 B, 4.2 MB."""
    value = float(amount)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{number(value)} {unit}"
        value /= 1000
    return f"{number(value)} TB"


def percent(part: float, whole: float) -> str:
    """`part` of `whole`, rounded down so that 100 % means all of it; `–` when there is no whole."""
    return f"{math.floor(100 * part / whole)} %" if whole > 0 else "–"


def short(text: str, limit: int) -> str:
    """One line of at most `limit` characters, cut at a word where one ends in its last third."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    head = line[: limit - 1]
    space = head.rfind(" ")
    return (head[:space] if space > limit * 2 // 3 else head).rstrip(" ,;:") + "…"
