"""Voxel margins: slices under a slider, margins by structure and by distance to the boundary, and comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, model_column, owner
from imaseg.report.blocks import Block, Cell, Figure, Grid, Heading, Legend, Sentence, Table, Viewer, table
from imaseg.report.compare import Series, main_series
from imaseg.report.drawing.map_slides import SWATCHES, colour_scale, make_viewer
from imaseg.report.drawing.volumes import cut, read_volumes, telling_places
from imaseg.report.numerals import decimal, listing, set_name, short, unit_name
from imaseg.report.sections.base import Section
from imaseg.report.sections.worst import outlined_classes
from imaseg.report.style import plot
from imaseg.report.voxel_maps import (
    Band,
    case_maps,
    first_cases,
    grouped_bands,
    maps_by_set,
    median_over_cases,
    median_text,
    percent,
    voxels,
)  # fmt: skip
from imaseg.results.maps import Compared, VoxelMap

METHODS = {"attack": "found by attacks", "gradient": "estimated from gradients", "certified": "certified"}
_VIEWERS = 4
_SLIDES, _MOST = 48, 24
"""Slices on the whole page, and of one case: a file must stay small enough to send."""


class _Stored(NamedTuple):
    audit: Audit
    maps: list[VoxelMap]


def build(audits: Audits) -> Section | None:
    """Pictures, structures, distances, comparisons."""
    shown = [shown for audit in audits for case in case_maps(audit) for shown in case.maps]
    if not shown:
        return None
    viewers, methods = _viewers(audits), {one.method for one in shown}
    swatches = [pair for pair in SWATCHES.items() if pair[0] != "certified" or "certified" in methods]
    blocks: list[Block] = [Legend(outlined_classes(audits), swatches)]
    blocks.append(Grid(viewers, "viewers" if len(audits) > 1 else "single"))
    if groups := grouped_bands(audits, whole=True):
        blocks.append(_structures(audits, groups))
    if distances := _distances(audits):
        blocks.append(Grid(distances))
    for title, compared in (
        ("The estimate against attacks", _estimates(audits)),
        ("Certificates against attacks on the smoothed model", _gaps(audits)),
    ):
        if compared.rows:
            blocks += [Heading(title), compared]
    return Section(
        60,
        "voxels",
        "Voxel margins",
        "Voxel margins",
        blocks,
        "How far each voxel by itself is from being decided otherwise. The slider moves through the slices (arrow "
        f"keys, Home and End{'; models move together' if len(audits) > 1 else ''})."
        + (" The whole maps lie next to this page as NIfTI files on the grid of the image."
           if any(one.file for one in shown) else ""),
        sentences=_sentences(audits),
        methods=list(_methods(audits, methods)),
        limits=[
            "A voxel's margin is an upper bound too: sharp where attacks aimed at few voxels at a time, in structures "
            "first, and loose far away from them."
            + (" The estimate from gradients is no bound on either side." if "gradient" in methods else "")
        ],
    )  # fmt: skip


def _viewers(audits: Audits) -> list[Viewer]:
    """Of each set the stored cases that fail first; of several models the first case that all of them stored."""
    series = main_series(audits)
    sets = [maps_by_set(audit) for audit in audits]
    kinds = list(dict.fromkeys(kind for each in sets for kind in each))
    groups: list[tuple[str, list[_Stored]]] = []
    for kind in kinds:
        stored = [(audit, each[kind]) for audit, each in zip(audits, sets, strict=True) if kind in each]
        groups += _shown_together(stored, series, max(1, min(3, _VIEWERS // len(kinds))), several=len(audits) > 1)
    groups = groups[:_VIEWERS]
    most = max(4, min(_MOST, _SLIDES // sum(len(stored) for _, stored in groups)))
    return [viewer for case, stored in groups for viewer in _side_by_side(case, stored, most, named=len(audits) > 1)]


def _shown_together(
    stored: Sequence[tuple[Audit, dict[str, list[VoxelMap]]]], series: Series | None, each: int, *, several: bool
) -> list[tuple[str, list[_Stored]]]:
    """Cases with the audits whose maps of them are shown side by side."""
    if not several:
        ((audit, cases),) = stored
        return [(case, [_Stored(audit, cases[case])]) for case in first_cases(audit, set(cases), series)[:each]]
    shared = set.intersection(*(set(cases) for _, cases in stored))
    units = {shown.unit for _, cases in stored for maps in cases.values() for shown in maps[:1]}
    if shared and len(units) == 1:
        case = first_cases(stored[0][0], shared, series)[0]
        return [(case, [_Stored(audit, cases[case]) for audit, cases in stored])]
    firsts = [(first_cases(audit, set(cases), series)[0], audit, cases) for audit, cases in stored]
    return [(case, [_Stored(audit, cases[case])]) for case, audit, cases in firsts]


def _side_by_side(case: str, stored: Sequence[_Stored], most: int, *, named: bool) -> list[Viewer]:
    """One viewer per model, on slices that show a structure in the label or in any model's prediction."""
    volumes = [read_volumes(audit.folder, maps) for audit, maps in stored]
    axis = volumes[0].axis
    same = len({one.label.shape for one in volumes}) == 1
    everywhere = np.any([one.structures for one in volumes], axis=0) if same else None
    views = [
        cut(one, axis, telling_places(one.structures if everywhere is None else everywhere, axis, most))
        for one in volumes
    ]
    scale = max(colour_scale(view, maps) for view, (_, maps) in zip(views, stored, strict=True))
    return [
        make_viewer(
            case, view, maps, scale, model=audit.name if named else "",
            group=f"{maps[0].perturbation} {case}" if same and len(stored) > 1 else "",
        )
        for view, (audit, maps) in zip(views, stored, strict=True)
    ]  # fmt: skip


def _structures(audits: Audits, groups: Sequence[Sequence[Band]]) -> Table:
    """One row per map and structure; medians over cases of what holds within each."""
    rows = [
        {
            "Set (unit)": Cell(set_name(first.map.perturbation), unit_name(first.map.unit)),
            **model_column(audits, first.audit),
            "Margins": METHODS.get(first.map.method, first.map.method),
            "Structure": first.summary.structure,
            "Cases": len(bands),
            "Voxels": voxels(bands),
            "Wrong unattacked": percent(
                bands, [1 - b.summary.right / b.summary.labelled if b.summary.labelled else None for b in bands]
            ),
            "Standing": _standing(bands),
            "Median": median_text(bands),
        }
        for bands in groups
        for first in bands[:1]
    ]
    caption = (
        "Voxels by structure of the label. Never flipped and median: of the voxels right on the unchanged image, never "
        "flipped ones at the ceiling; over cases the median of medians"
    )
    return table(caption, rows)


def _standing(bands: Sequence[Band]) -> str:
    """Voxels that nothing flipped, or that nothing can."""
    if bands[0].map.method == "certified":
        return f"{percent(bands, [band.summary.certified for band in bands])} certified"
    return f"{percent(bands, [band.summary.censored for band in bands])} never flipped"


def _distances(audits: Audits) -> list[Figure]:
    """Per model and set: margin found by attacks (else estimated) against the distance to the boundary."""
    groups = [bands for bands in grouped_bands(audits, whole=False) if bands[0].map.method != "certified"]
    kinds: dict[tuple[str, str], list[list[Band]]] = {}
    for bands in groups:
        kinds.setdefault((bands[0].audit.name, bands[0].map.perturbation), []).append(bands)
    figures = []
    for number, here in enumerate(kinds.values()):
        attacks = [bands for bands in here if bands[0].map.method == "attack"]
        figures.append(_distance_figure(audits, number, attacks or here))
    return figures


def _distance_figure(audits: Audits, number: int, groups: Sequence[Sequence[Band]]) -> Figure:
    structures = list(dict.fromkeys(bands[0].summary.structure for bands in groups))
    by_distance = sorted((bands[0] for bands in groups), key=lambda band: band.summary.from_mm or 0.0)
    first = groups[0][0]
    name, unit = set_name(first.map.perturbation), unit_name(first.map.unit)
    method = METHODS.get(first.map.method, first.map.method)
    lines = [
        _line(place, structure, [bands for bands in groups if bands[0].summary.structure == structure])
        for place, structure in enumerate(structures, start=1)
    ]
    return plot.figure(
        f"distance-{number}",
        f"{owner(audits, first.audit)}{name}: margin against distance to the boundary",
        lines,
        plot.axis(
            "distance to the boundary (mm)", type="category", categoryorder="array",
            categoryarray=list(dict.fromkeys(map(_range, by_distance))),
        ),
        plot.axis(f"margin ({unit})", rangemode="tozero", nticks=6),
        caption=(
            f"Median and quartiles of the voxels right on the unchanged image, {method}. At the ceiling, "
            f"{short(max(band.map.eps for bands in groups for band in bands))}, they are lower bounds."
        ),
        label=f"Line chart of the voxel margin in the {name} against the distance to the boundary: "
        f"{listing(structures)}.",
        table=_distance_table(groups, f"Voxel margins in the {name} by distance to the boundary, {unit}"),
    )  # fmt: skip


def _distance_table(groups: Sequence[Sequence[Band]], caption: str) -> Table:
    rows = [
        {
            "Structure": bands[0].summary.structure,
            "Distance (mm)": _range(bands[0]),
            "Voxels": voxels(bands),
            "Median (quartiles)": f"{short(middle)} ({short(low)} to {short(high)})",
            "Never flipped": percent(bands, [band.summary.censored for band in bands]),
        }
        for bands in groups
        for low, middle, high in [_quartiles(bands)]
    ]
    return table(caption, rows)


def _line(number: int, structure: str, groups: Sequence[Sequence[Band]]) -> object:
    points = [(_range(bands[0]), *_quartiles(bands)) for bands in groups]
    points = [point for point in points if None not in point]
    where, low, middle, high = (list(column) for column in zip(*points, strict=True)) if points else ([],) * 4
    return plot.line(
        number, structure, where, middle,
        [f"{structure}, {band} mm: median {short(value)}" for band, value in zip(where, middle, strict=True)],
        width=2,
        error_y={
            "type": "data", "symmetric": False, "thickness": 1,
            "array": [end - value for end, value in zip(high, middle, strict=True)],
            "arrayminus": [value - end for end, value in zip(low, middle, strict=True)],
        },
    )  # fmt: skip


def _quartiles(bands: Sequence[Band]) -> tuple[float | None, float | None, float | None]:
    """Medians over cases."""
    low, middle, high = (median_over_cases(bands, name) for name in ("q25", "median", "q75"))
    return low, middle, high


def _range(band: Band) -> str:
    low, high = band.summary.from_mm, band.summary.to_mm
    return f"over {short(low)}" if high is None else f"{short(low)} to {short(high)}"


def _compared(audits: Audits, method: str) -> Iterator[tuple[Audit, str, VoxelMap, str, Compared]]:
    for audit in audits:
        for case in case_maps(audit):
            for shown in case.maps:
                if shown.method == method:
                    for where, compared in shown.against_attack.items():
                        yield audit, case.case, shown, where, compared


def _estimates(audits: Audits) -> Table:
    """The estimate against what attacks found, case by case."""
    rows = [
        {
            "Set": set_name(shown.perturbation),
            **model_column(audits, audit),
            "Case": case,
            "Where": where,
            "Voxels": f"{found.voxels:,}",
            "Median ratio": short(found.ratio),
            "5 % to 95 %": "undefined" if found.low is None else f"{short(found.low)} to {short(found.high)}",
            "Rank correlation": decimal(found.spearman, 2),
        }
        for audit, case, shown, where, found in _compared(audits, "gradient")
    ]
    caption = (
        "Estimate from gradients against the margin that attacks found, over voxels that attacks flipped. A ratio of "
        "1 is agreement; above 1 the estimate is too large"
    )
    return table(caption, rows)


def _gaps(audits: Audits) -> Table:
    """Certified radii against attacks on the smoothed model, case by case."""
    rows = [
        {
            "Case": case,
            **model_column(audits, audit),
            "Voxels": f"{found.voxels:,}",
            "Certified radius": short(found.lower),
            "Margin found": short(found.upper),
            "Gap": short(found.gap),
            "Violations": found.violations,
        }
        for audit, case, _, _, found in _compared(audits, "certified")
    ]
    caption = (
        "The smoothed model, RMS per voxel, over voxels of structures that are certified and that an attack flipped: "
        "medians of the certified radius, of the margin found, and of what lies between. A violation is a radius "
        "above a margin; few are due to the draws that stand for the smoothed model in the attack"
    )
    return table(caption, rows)


def _sentences(audits: Audits) -> list[Sentence]:
    """Where half of the voxels of each structure flip."""
    medians: dict[str, list[str]] = {}
    for bands in grouped_bands(audits, whole=True):
        first = bands[0]
        if first.map.method == "attack":
            named = f"{owner(audits, first.audit)}{set_name(first.map.perturbation)}"
            medians.setdefault(named, []).append(f"{first.summary.structure} {median_text(bands)}")
    points = tuple(f"{named}: {listing(each)}" for named, each in medians.items())
    return [Sentence("Half of the voxels that are right on the unchanged image flip at:", points)] if points else []


def _methods(audits: Audits, methods: set[str]) -> Iterator[str]:
    entries = [entry for audit in audits for entry in audit.summary.voxel_margins]
    if "attack" in methods:
        searched = dict.fromkeys(
            f"{set_name(e.perturbation)} up to {short(e.eps)} {unit_name(e.unit)} on {counted(len(e.per_case), 'case')}"
            for e in entries
        )
        groups = listing([str(number) for number in sorted({entry.focus for entry in entries})])
        yield (
            "The margin of a voxel, the size of the smallest change found at which it is decided wrongly, was mapped "
            f"in the {'; '.join(searched)}, over attacks on all voxels at a ladder of budgets and attacks aimed at "
            f"{groups} groups of few voxels each; distances to the boundary are those between voxel centres."
        )
    if "gradient" in methods:
        yield "Its estimate is the gap between logits over the dual norm of that gap's gradient."
