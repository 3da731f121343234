"""Margins of cases and structures: the smallest budget that meets a criterion, on one case and over all."""

from __future__ import annotations

from typing import ClassVar, Literal

from imaseg.results.base import MEAN, CaseId, Entry, Interval, Record, Row, SearchedNear, SearchedNearAll, in_set


class MarginRow(Row):
    """The margin of one case, or of one of its structures.

    Attributes:
        structure: class number; None for the whole case.
        eps: largest budget looked at, in the unit of the probe.
        margin: smallest budget that meets the criterion, in the same unit; 0 where the clean prediction meets it, `eps`
            where censored, None where the label does not hold the structure.
        censored: whether no attack within `eps` met the criterion.
        confirmed: whether new attacks just below the margin failed; None where that was not asked, or margin is 0 or
            None.
        forward_calls, backward_calls: of the search.
        searched_near: where the search stayed; None for all of the image.
    """

    kind: Literal["margin"] = "margin"
    structure: int | None
    eps: float
    margin: float | None = None
    censored: bool = False
    confirmed: bool | None = None
    forward_calls: int = 0
    backward_calls: int = 0
    searched_near: SearchedNear | None = None

    def table(self) -> list[tuple[float | str, str, str, float | None]]:
        """The margin and whether it is censored; nothing where the structure is absent."""
        if self.margin is None:
            return []
        structure = MEAN if self.structure is None else str(self.structure)
        return [("", structure, "margin", self.margin), ("", structure, "censored", float(self.censored))]


class CaseMargin(Record):
    """A margin next to what else is known of the case or the structure.

    Attributes:
        case: id.
        eps: largest budget looked at.
        margin, censored, confirmed: as in `MarginRow`; margin is never None here.
        clean_dice: of the prediction on the unchanged image.
        volume_ml: in the label.
        forward_calls, backward_calls: of the search.
    """

    case: CaseId
    eps: float
    margin: float
    censored: bool
    confirmed: bool | None
    clean_dice: float | None
    volume_ml: float
    forward_calls: int
    backward_calls: int


class MarginEntry(Entry):
    """Margins of one set and criterion over all cases: of whole cases, or of one structure.

    A censored margin is known to lie above its ceiling, so a quantile that rests on one is a lower bound: `*_at_least`.

    Attributes:
        structure: name; None for whole cases.
        perturbation, unit: the set, and the unit of all budgets.
        within: mm from a structure within which alone may change; None for the whole image.
        unrestricted: cases without a structure, of which all may change though `within` is given.
        criterion: as it would be written in Python.
        eps: largest budget looked at, over the cases.
        rtol: relative width of a margin's bracket.
        steps: of the attack inside.
        n: cases with a margin; `absent` counts those whose label does not hold the structure.
        q25, median, q75: of the margins; None without any.
        median_ci95: interval of the median.
        median_share_of_range: median margin as a share of each case's intensity range, where the unit is an intensity.
        censored: cases that nothing broke.
        clean_failures: cases that meet the criterion unattacked.
        held, tested: margins that withstood new attacks just below them, of those challenged.
        per_case: the cases with a margin.
        searched_near: where searches stayed that spared the rest of the image; None where none did.
    """

    place: ClassVar[str] = "margins"
    kind: Literal["margin"] = "margin"
    structure: str | None
    perturbation: str
    unit: str
    within: float | None = None
    unrestricted: int = 0
    criterion: str
    eps: float
    rtol: float
    steps: int
    n: int
    absent: int
    q25: float | None
    median: float | None
    q75: float | None
    q25_at_least: bool
    median_at_least: bool
    q75_at_least: bool
    median_ci95: Interval
    median_share_of_range: float | None
    censored: int
    clean_failures: int
    held: int
    tested: int
    per_case: list[CaseMargin]
    searched_near: SearchedNearAll | None = None

    @property
    def in_set(self) -> str:
        """Set, and where it may change, as names of probes hold it."""
        return in_set(self.perturbation, self.within)
