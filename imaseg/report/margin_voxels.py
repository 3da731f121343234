"""What the voxel maps say: per structure, per distance to the boundary, and how far the estimate is from attacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from imaseg.report import style
from imaseg.report.margin_read import Margins
from imaseg.report.margin_schema import Compared, VoxelMap, VoxelRow
from imaseg.report.numerals import decimal, listing, set_name, short, unit_name
from imaseg.report.parts import Cell, Figure, Table, row

METHODS = {"attack": "found by attacks", "gradient": "estimated from gradients", "certified": "certified"}
_Found = list[VoxelRow]


def structure_table(margins: Margins) -> Table | None:
    """One row per map and structure; medians over cases of what holds within each."""
    rows = [
        row(
            Cell(set_name(first.perturbation), unit_name(first.unit)),
            METHODS.get(first.method, first.method),
            first.structure,
            str(len(found)),
            f"{sum(one.labelled for one in found):,}",
            f"{_percent([1 - one.right / one.labelled for one in found], found)}",
            _standing(found),
            _bounded(_median([one.median for one in found]), found),
        )
        for found in _grouped(margins, whole=True)
        for first in [found[0]]
    ]
    if not rows:
        return None
    head = ["Set (unit)", "Margins", "Structure", "Cases", "Voxels", "Wrong unattacked", "Standing", "Median"]
    caption = (
        "Voxels by structure of the label. Never flipped and median: of the voxels right on the unchanged image, never "
        "flipped ones at the ceiling; over cases the median of medians"
    )
    return Table(caption, head, rows)


def structure_medians(margins: Margins) -> dict[str, list[tuple[str, str]]]:
    """By set: structure and the median margin of its voxels that attacks found."""
    found: dict[str, list[tuple[str, str]]] = {}
    for each in _grouped(margins, whole=True):
        if each[0].method == "attack":
            median = _bounded(_median([one.median for one in each]), each)
            found.setdefault(each[0].perturbation, []).append((each[0].structure, median))
    return found


def distance_figures(margins: Margins) -> list[Figure]:
    """Per set: margin found by attacks (else estimated) against the distance to the boundary."""
    groups = [found for found in _grouped(margins, whole=False) if found[0].method != "certified"]
    figures = []
    for kind in dict.fromkeys(found[0].perturbation for found in groups):
        here = [found for found in groups if found[0].perturbation == kind]
        method = "attack" if any(found[0].method == "attack" for found in here) else "gradient"
        eps = max(one.eps for case in margins.cases for one in case.maps_of(kind) if one.method == method)
        figures.append(_figure(kind, eps, [found for found in here if found[0].method == method]))
    return figures


def estimate_table(margins: Margins) -> Table | None:
    """The estimate against what attacks found, case by case."""
    rows = [
        row(
            set_name(one.perturbation),
            case,
            where,
            f"{found.voxels:,}",
            short(found.ratio),
            "undefined" if found.low is None else f"{short(found.low)} to {short(found.high)}",
            decimal(found.spearman, 2),
        )
        for case, one, where, found in _compared(margins, "gradient")
    ]
    caption = (
        "Estimate from gradients against the margin that attacks found, over voxels that attacks flipped. A ratio of "
        "1 is agreement; above 1 the estimate is too large"
    )
    head = ["Set", "Case", "Where", "Voxels", "Median ratio", "5 % to 95 %", "Rank correlation"]
    return Table(caption, head, rows) if rows else None


def gap_table(margins: Margins) -> Table | None:
    """Certified radii against attacks on the smoothed model, case by case."""
    rows = [
        row(case, f"{found.voxels:,}", short(found.lower), short(found.upper), short(found.gap), str(found.violations))
        for case, _, _, found in _compared(margins, "certified")
    ]
    caption = (
        "The smoothed model, RMS per voxel, over voxels of structures that are certified and that an attack flipped: "
        "medians of the certified radius, of the margin found, and of what lies between. A violation is a radius "
        "above a margin; few are due to the draws that stand for the smoothed model in the attack"
    )
    head = ["Case", "Voxels", "Certified radius", "Margin found", "Gap", "Violations"]
    return Table(caption, head, rows) if rows else None


def _bounded(median: float | None, found: _Found) -> str:
    """A median that rests on voxels that nothing flipped is a lower bound."""
    bound = any(one.censored is not None and one.censored >= 0.5 for one in found)
    return f"{'above ' if bound else ''}{short(median)}"


def comparisons(margins: Margins) -> list[tuple[str, Table]]:
    """What voxel maps are compared with, under a heading each."""
    tables = {
        "The estimate against attacks": estimate_table(margins),
        "Certificates against attacks on the smoothed model": gap_table(margins),
    }
    return [(title, table) for title, table in tables.items() if table is not None]


def _compared(margins: Margins, method: str) -> list[tuple[str, VoxelMap, str, Compared]]:
    return [
        (case.case, one, where, found)
        for case in margins.cases
        for one in case.maps
        if one.method == method
        for where, found in one.against_attack.items()
    ]


def _standing(found: _Found) -> str:
    """Voxels that nothing flipped, or that nothing can."""
    if found[0].method == "certified":
        return f"{_percent([one.certified for one in found], found)} certified"
    return f"{_percent([one.censored for one in found], found)} never flipped"


def _grouped(margins: Margins, *, whole: bool) -> list[_Found]:
    """Rows of all cases by map, structure and band."""
    groups: dict[tuple[str, str, str, float | None], _Found] = {}
    for case in margins.cases:
        for one in case.voxel:
            if one.whole == whole:
                groups.setdefault((one.perturbation, one.method, one.structure, one.from_mm), []).append(one)
    maps = list(dict.fromkeys(key[:2] for key in groups))
    order = [*margins.run.structures, *dict.fromkeys(key[2] for key in groups)]  # the background comes last
    return sorted(
        groups.values(),
        key=lambda one: (maps.index((one[0].perturbation, one[0].method)), order.index(one[0].structure)),
    )


def _figure(kind: str, eps: float, groups: Sequence[_Found]) -> Figure:
    structures = list(dict.fromkeys(found[0].structure for found in groups))
    names = [_band(one) for one in sorted((found[0] for found in groups), key=lambda one: one.from_mm or 0.0)]
    name, unit, method = set_name(kind), unit_name(groups[0][0].unit), groups[0][0].method
    across = style.axis(
        "distance to the boundary (mm)",
        type="category",
        categoryorder="array",
        categoryarray=list(dict.fromkeys(names)),
    )
    up = style.axis(f"margin ({unit})", rangemode="tozero", nticks=6)
    plot = go.Figure(layout=style.layout(300, across, up, legend=True))
    rows = []
    for place, structure in enumerate(structures, start=1):
        found = sorted((one for one in groups if one[0].structure == structure), key=lambda one: one[0].from_mm or 0.0)
        plot.add_trace(_line(structure, found, place))
        rows += [
            row(
                structure,
                _band(one[0]),
                f"{sum(r.labelled for r in one):,}",
                f"{short(middle)} ({short(low)} to {short(high)})",
                _percent([r.censored for r in one], one),
            )
            for one in found
            for low, middle, high in [_quartiles(one)]
        ]
    caption = (
        f"Median and quartiles of the voxels right on the unchanged image, {METHODS[method]}. At the ceiling, "
        f"{short(eps)}, they are lower bounds."
    )
    label = f"Line chart of the voxel margin in the {name} against the distance to the boundary: {listing(structures)}."
    table = Table(
        f"Voxel margins in the {name} by distance to the boundary, {unit}",
        ["Structure", "Distance (mm)", "Voxels", "Median (quartiles)", "Never flipped"],
        rows,
    )
    title = f"{name[0].upper() + name[1:]}: margin against distance to the boundary"
    return Figure(f"distance-{kind}", title, caption, label, plot.to_plotly_json(), table)


def _line(structure: str, found: Sequence[_Found], place: int) -> go.Scatter:
    quartiles = np.array([_quartiles(one) for one in found], dtype=float)
    low, middle, high = quartiles[np.isfinite(quartiles).all(1)].T
    where = [_band(one[0]) for one, known in zip(found, np.isfinite(quartiles).all(1), strict=True) if known]
    return go.Scatter(
        x=where,
        y=middle.tolist(),
        mode="lines+markers",
        name=style.literal(structure),
        line={"color": style.colour(place), "width": 2, "dash": style.dash(place)},
        marker={"size": 8, "symbol": style.symbol(place), "color": style.colour(place)},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (high - middle).tolist(),
            "arrayminus": (middle - low).tolist(),
            "thickness": 1,
        },
        text=[
            f"{style.literal(structure)}, {band} mm: median {short(one)}"
            for band, one in zip(where, middle, strict=True)
        ],
        hoverinfo="text",
    )


def _quartiles(found: _Found) -> tuple[float | None, float | None, float | None]:
    """Medians over cases."""
    low, middle, high = (_median([getattr(one, name) for one in found]) for name in ("q25", "median", "q75"))
    return low, middle, high


def _band(one: VoxelRow) -> str:
    if one.to_mm is None:
        return f"over {short(one.from_mm)}"
    return f"{short(one.from_mm)} to {short(one.to_mm)}"


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _percent(shares: Sequence[float | None], found: _Found) -> str:
    """Share of the voxels of all cases."""
    pairs = [
        (share * one.labelled, one.labelled) for share, one in zip(shares, found, strict=True) if share is not None
    ]
    part, whole = (sum(column) for column in zip(*pairs, strict=True)) if pairs else (0.0, 0)
    return f"{short(100 * part / whole)} %" if whole else "undefined"
