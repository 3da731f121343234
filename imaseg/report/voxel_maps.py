"""Voxel maps of an audit: those of margins and of certificates, by set and case, and their summaries by structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from imaseg.report.audits import Audit, Audits
from imaseg.report.breaking import breaks
from imaseg.report.compare import Series, ladder
from imaseg.report.margin_sets import ranked_cases
from imaseg.report.wording import UNDEFINED, percent, set_name, short
from imaseg.results.maps import BandSummary, CaseMaps, VoxelMap

_METHODS = {"attack": "found by attacks", "gradient": "estimated from gradients", "certified": "certified"}


class Band(NamedTuple):
    """What maps of one kind say of a structure, or of a band of distances in it.

    Attributes:
        audit: that holds the maps.
        map: of the first case.
        cases: summaries, one per case.
    """

    audit: Audit
    map: VoxelMap
    cases: list[BandSummary]

    @property
    def structure(self) -> str:
        """Its name."""
        return self.cases[0].structure

    @property
    def set(self) -> str:
        """What the perturbation set is called."""
        return set_name(self.map.perturbation, self.map.within)

    @property
    def method(self) -> str:
        """How the values were found."""
        return _METHODS.get(self.map.method, self.map.method)

    @property
    def distance(self) -> str:
        """From the boundary, in mm."""
        low, high = self.cases[0].from_mm, self.cases[0].to_mm
        return f"over {short(low)}" if high is None else f"{short(low)} to {short(high)}"

    @property
    def voxels(self) -> str:
        """Labelled ones of all cases."""
        return f"{sum(case.labelled for case in self.cases):,}"

    def share(self, of: Callable[[BandSummary], float | None]) -> str:
        """Share of the voxels of all cases, from the share in each."""
        pairs = [(share, case.labelled) for case in self.cases if case.labelled and (share := of(case)) is not None]
        if not pairs:
            return UNDEFINED
        return percent(sum(share * size for share, size in pairs) / sum(size for _, size in pairs))

    def over_cases(self, quantile: str) -> float | None:
        """Median over cases of a quantile within each."""
        values = [value for case in self.cases if (value := getattr(case, quantile)) is not None]
        return float(np.median(values)) if values else None

    @property
    def median(self) -> str:
        """A median that rests on voxels that nothing flipped is a lower bound."""
        bound = any(case.censored is not None and case.censored >= 0.5 for case in self.cases)
        return f"{'above ' if bound else ''}{short(self.over_cases('median'))}"


def case_maps(audit: Audit) -> list[CaseMaps]:
    """All maps of an audit, by probe and case."""
    summary = audit.summary
    margins = [case for entry in summary.voxel_margins for case in entry.per_case]
    return margins + [case for entry in summary.certified for case in entry.maps]


def maps_by_set(audit: Audit) -> dict[str, dict[str, list[VoxelMap]]]:
    """By perturbation set, then by case; margins found by attacks first."""
    sets: dict[str, dict[str, list[VoxelMap]]] = {}
    for case in case_maps(audit):
        for shown in case.maps:
            sets.setdefault(shown.in_set, {}).setdefault(case.case, []).append(shown)
    return sets


def first_cases(audit: Audit, stored: set[str], series: Series | None) -> list[str]:
    """Stored cases, the first to fail first: under the attack, else by their margins."""
    attacked = series is not None and ladder(audit, series)
    order = [each.case for each in breaks(audit, series)] if series and attacked else ranked_cases(audit)
    return [case for case in order if case in stored] + sorted(stored.difference(order))


def bands(audits: Audits, *, whole: bool) -> list[Band]:
    """By audit, map, structure and distance; the background comes last."""
    groups: dict[tuple[str, str, str, str, float | None], Band] = {}
    for audit in audits:
        for shown in (shown for case in case_maps(audit) for shown in case.maps):
            for one in shown.bands:
                if (one.from_mm is None and one.to_mm is None) == whole:
                    key = (audit.name, shown.in_set, shown.method, one.structure, one.from_mm)
                    groups.setdefault(key, Band(audit, shown, [])).cases.append(one)
    maps = list(dict.fromkeys(key[:3] for key in groups))
    structures = sorted(dict.fromkeys(key[3] for key in groups), key="background".__eq__)  # it comes last
    return [groups[k] for k in sorted(groups, key=lambda k: (maps.index(k[:3]), structures.index(k[3]), k[4] or 0.0))]
