"""Voxel maps of an audit: those of margins and of certificates, by set and case, and their summaries by structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from imaseg.report.audits import Audit, Audits
from imaseg.report.breaking import breaks
from imaseg.report.compare import Series, ladder
from imaseg.report.margin_sets import ranked_cases
from imaseg.report.numerals import short
from imaseg.results.maps import BandSummary, CaseMaps, VoxelMap


class Band(NamedTuple):
    """What a map says of a structure, or of a band of distances in it."""

    audit: Audit
    map: VoxelMap
    summary: BandSummary


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
            sets.setdefault(shown.perturbation, {}).setdefault(case.case, []).append(shown)
    return sets


def first_cases(audit: Audit, stored: set[str], series: Series | None) -> list[str]:
    """Stored cases, the first to fail first: under the attack, else by their margins."""
    if series is not None and ladder(audit, series):
        order = [each.case for each in breaks(audit, series)]
    else:
        order = ranked_cases(audit)
    return [case for case in order if case in stored] + sorted(stored.difference(order))


def grouped_bands(audits: Audits, *, whole: bool) -> list[list[Band]]:
    """Summaries of all cases by audit, map, structure and band; the background comes last."""
    groups: dict[tuple[str, str, str, str, float | None], list[Band]] = {}
    for audit in audits:
        for shown in (shown for case in case_maps(audit) for shown in case.maps):
            for band in shown.bands:
                if (band.from_mm is None and band.to_mm is None) == whole:
                    key = (audit.name, shown.perturbation, shown.method, band.structure, band.from_mm)
                    groups.setdefault(key, []).append(Band(audit, shown, band))
    maps = list(dict.fromkeys(key[:3] for key in groups))
    structures = list(dict.fromkeys(key[3] for key in groups if key[3] != "background"))
    rank = {name: number for number, name in enumerate([*structures, "background"])}
    return [groups[key] for key in sorted(groups, key=lambda key: (maps.index(key[:3]), rank[key[3]], key[4] or 0.0))]


def median_over_cases(bands: Sequence[Band], name: str) -> float | None:
    """Median over cases of a quantile within each."""
    values = [value for band in bands if (value := getattr(band.summary, name)) is not None]
    return float(np.median(values)) if values else None


def median_text(bands: Sequence[Band]) -> str:
    """A median that rests on voxels that nothing flipped is a lower bound."""
    bound = any(band.summary.censored is not None and band.summary.censored >= 0.5 for band in bands)
    return f"{'above ' if bound else ''}{short(median_over_cases(bands, 'median'))}"


def percent(bands: Sequence[Band], shares: Sequence[float | None]) -> str:
    """Share of the voxels of all cases."""
    sizes = [band.summary.labelled for band in bands]
    pairs = [(share, size) for share, size in zip(shares, sizes, strict=True) if share is not None and size]
    if not pairs:
        return "undefined"
    return f"{short(100 * sum(share * size for share, size in pairs) / sum(size for _, size in pairs))} %"


def voxels(bands: Sequence[Band]) -> str:
    """Labelled voxels of all cases."""
    return f"{sum(band.summary.labelled for band in bands):,}"
