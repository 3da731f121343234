"""Numbers, units and names as the page writes them: digits, minus signs, what stands for a missing value.

Attacks, objectives and perturbation sets are asked for what they are called and whom they cite, by the names that
results hold. A name of a plug-in that is not installed here stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from imaseg.attacks import Attack, UniversalPGD
from imaseg.attacks.about import About
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.results.attack import AttackEntry
from imaseg.results.base import Spread, made_words, near_words
from imaseg.statistics import FEWEST

UNDEFINED = "undefined"
NO_INTERVAL = f"no interval below n = {FEWEST}"
"""What a table says where there are too few cases or patients."""
_UNITS = {
    "rms": "RMS per voxel",
    "norm": "L2 norm",
    "max": "largest change per voxel",
    "relative": "relative change",
    "std": "standard deviations of the image",
    "native": "native units",
    "range": "share of the intensity range",
}
_BRIEF = {"rms": "RMS", "norm": "L2", "std": "SD", "range": "of range"}
OWN = ("native", "HU")
"""Units that are the image's own."""
ADDED = frozenset({"rms", "norm", "max", "std"})
"""Units of budgets that are added intensity, so that native units exist for them."""


def decimal(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Fixed number of decimals with a typographic minus, on request with a plus; `undefined` for None.

    >>> decimal(0.61249), decimal(None), decimal(0.5, 1, sign=True), decimal(-0.5, 1).endswith("0.5")
    ('0.612', 'undefined', '+0.5', True)
    """
    return UNDEFINED if value is None else _minus(f"{value + 0.0:{'+' if sign else ''}.{digits}f}")


def short(value: float | None, digits: int = 3) -> str:
    """Significant digits for budgets and native units, whose size is not known beforehand.

    >>> short(0.05), short(4031.2), short(12.14), short(0)
    ('0.05', '4030', '12.1', '0')
    """
    if value is None:
        return UNDEFINED
    text = f"{value:.{digits}g}"
    return _minus(f"{float(text):.0f}" if "e+" in text else text)


def percent(share: float, digits: int = 3) -> str:
    """A share as a percentage.

    >>> percent(0.305)
    '30.5 %'
    """
    return f"{short(100 * share, digits)} %"


def amount(eps: float, unit: str) -> str:
    """A budget in its unit.

    >>> amount(0.5, "rms")
    '0.5 RMS per voxel'
    """
    return f"{short(eps)} {unit_name(unit)}"


def brief(eps: float, unit: str) -> str:
    """A budget in its unit, for the heads of columns and axes.

    >>> brief(0.5, "std"), brief(0.2, "mm")
    ('0.5 SD', '0.2 mm')
    """
    return f"{short(eps)} {_BRIEF.get(unit, unit)}"


def bracket(interval: Sequence[float | None] | None, *, sign: bool = False) -> str:
    """Interval for a table cell.

    >>> bracket((0.58, 0.6401)), bracket(None)
    ('[0.580, 0.640]', 'no interval below n = 7')
    """
    ends = _ends(interval, sign=sign)
    return f"[{', '.join(ends)}]" if ends else NO_INTERVAL


def in_words(interval: Sequence[float | None] | None, *, sign: bool = False) -> str:
    """Interval inside a sentence.

    >>> in_words((0.58, 0.64))
    '95 % CI 0.580 to 0.640'
    """
    ends = _ends(interval, sign=sign)
    return f"95 % CI {' to '.join(ends)}" if ends else f"no interval: fewer than {FEWEST} cases or patients"


def _ends(interval: Sequence[float | None] | None, *, sign: bool) -> list[str]:
    return [] if interval is None or None in interval else [decimal(end, sign=sign) for end in interval]


def listing(items: Iterable[object]) -> str:
    """Join with commas and `and`, each item once.

    >>> listing(["a"]), listing([1, 2, 2, 3])
    ('a', '1, 2 and 3')
    """
    words = list(dict.fromkeys(map(str, items)))
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def sentence_case(text: str) -> str:
    """A phrase with its first letter large.

    >>> sentence_case("nothing is found in HU")
    'Nothing is found in HU'
    """
    return text[:1].upper() + text[1:]


def some(items: Sequence[str], most: int = 3) -> str:
    """The first few of a list, and how many more there are.

    >>> some(["a", "b"]), some(["a", "b", "c", "d", "e"])
    ('a and b', 'a, b, c and 2 more')
    """
    return listing(items) if len(items) <= most else f"{', '.join(items[:most])} and {len(items) - most} more"


def spread_text(spread: Spread) -> str:
    """Median and extremes over the cases."""
    return f"{short(spread.median)} ({short(spread.min)} to {short(spread.max)})"


def unit_name(unit: str) -> str:
    """What the unit of a budget is called on the page; an unknown one keeps its name."""
    return _UNITS.get(unit, unit)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


class Unknown(NamedTuple):
    """Stands in for a class that is not installed."""

    title: str
    meaning: str = ""
    reference: str = ""
    cited: str = ""


def about_attack(name: str) -> About:
    """A search or a preset.

    >>> about_attack("pgd").title, about_attack("theirs").title
    ('PGD', 'theirs')
    """
    if name == UniversalPGD.name:
        return About(UniversalPGD.title, UniversalPGD.reference, UniversalPGD.cited)
    try:
        return Attack.about(name)
    except ValueError:
        return About(name)


def about_objective(name: str | None) -> type[Objective] | Unknown:
    """Class of an objective; None is what no objective was recorded for."""
    return (Objective.find(name) if name else None) or Unknown(name or "")


def about_set(name: str) -> type[Perturbation] | Unknown:
    """Class of a perturbation set."""
    return Perturbation.find(name) or Unknown(name)


def about(entry: AttackEntry) -> tuple[About, type[Objective] | Unknown, type[Perturbation] | Unknown]:
    """Attack, objective and set of an entry."""
    return about_attack(entry.attack), about_objective(entry.objective), about_set(entry.perturbation)


def set_name(perturbation: str, within: float | None = None, made_on: str = "") -> str:
    """What a perturbation set is called on the page.

    >>> set_name("l2", 20.0)
    'L2 ball within 20 mm of the structures'
    """
    return about_set(perturbation).title + near_words(within) + made_words(made_on)


def set_meaning(perturbation: str, within: float | None = None) -> str:
    """What changes and what a budget of it measures, in sentences."""
    known = about_set(perturbation)
    where = "" if within is None else f"Only what lies{near_words(within)} may change."
    over = "A mean is over that part alone." if where and getattr(known, "is_intensity", False) else ""
    return " ".join(filter(None, [known.meaning, where, over]))


def attack_name(attack: str) -> str:
    """What an attack is called on the page; a preset keeps the name that plans know it by."""
    if attack == UniversalPGD.name:
        return UniversalPGD.title
    search = Attack.find(attack)
    return attack if search is None else search.title


def source_of(perturbation: str) -> str:
    """The work behind a perturbation set, as a sentence names it."""
    cited = about_set(perturbation).cited
    return f" (after {cited})" if cited else ""
