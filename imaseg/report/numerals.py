"""Numbers as the page writes them: one place decides digits, minus signs and what stands for a missing value."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.attacks import Attack
from imaseg.report.known import about_set

UNDEFINED = "undefined"
_UNITS = {
    "rms": "RMS per voxel",
    "norm": "L2 norm",
    "max": "largest change per voxel",
    "relative": "relative change",
    "std": "standard deviations of the image",
    "native": "native units",
    "range": "share of the intensity range",
}
ADDED = frozenset({"rms", "norm", "max", "std"})
"""Units of budgets that are added intensity, so that native units exist for them."""


def decimal(value: float | None, digits: int = 3) -> str:
    """Fixed number of decimals with a typographic minus; `undefined` for None.

    >>> decimal(0.61249), decimal(None), decimal(-0.5, 1).endswith("0.5")
    ('0.612', 'undefined', True)
    """
    if value is None:
        return UNDEFINED
    return _minus(f"{value + 0.0:.{digits}f}")


def short(value: float | None, digits: int = 3) -> str:
    """Significant digits for budgets and native units, whose size is not known beforehand.

    >>> short(0.05), short(4031.2), short(12.14), short(0)
    ('0.05', '4030', '12.1', '0')
    """
    if value is None:
        return UNDEFINED
    if value and abs(value) >= 1:
        places = max(0, digits - len(str(int(abs(value)))))
        rounded = round(value, digits - len(str(int(abs(value)))))
        text = f"{rounded:.{places}f}"
        return _minus(text.rstrip("0").rstrip(".") if "." in text else text)
    return _minus(f"{value:.{digits}g}")


def signed(value: float | None, digits: int = 3) -> str:
    """Difference with its sign always shown."""
    if value is None:
        return UNDEFINED
    return _minus(f"{value + 0.0:+.{digits}f}")


def bracket(interval: Sequence[float | None] | None, digits: int = 3, *, sign: bool = False) -> str:
    """Interval for a table cell; empty when there is none.

    >>> bracket((0.58, 0.6401), 2), bracket(None)
    ('[0.58, 0.64]', '')
    """
    if interval is None or any(end is None for end in interval):
        return ""
    write = signed if sign else decimal
    return f"[{write(interval[0], digits)}, {write(interval[1], digits)}]"


def in_words(interval: Sequence[float | None] | None, digits: int = 3, *, sign: bool = False) -> str:
    """Interval inside a sentence.

    >>> in_words((0.58, 0.64), 2)
    '95 % CI 0.58 to 0.64'
    """
    if interval is None or any(end is None for end in interval):
        return "no interval"
    write = signed if sign else decimal
    return f"95 % CI {write(interval[0], digits)} to {write(interval[1], digits)}"


def listing(items: Sequence[str], last: str = "and") -> str:
    """Join with commas and a final word.

    >>> listing(["a"]), listing(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def unit_name(unit: str) -> str:
    """What the unit of a budget is called on the page; an unknown one keeps its name."""
    return _UNITS.get(unit, unit)


def set_name(perturbation: str) -> str:
    """What a perturbation set is called on the page; an unknown one keeps its name."""
    return about_set(perturbation).title


def attack_name(attack: str) -> str:
    """What an attack is called on the page; a preset keeps the name that plans know it by, an unknown one its own."""
    search = Attack.find(attack)
    return attack if search is None else search.title


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
