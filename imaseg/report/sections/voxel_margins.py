"""Voxel margins: slices under a slider, margins by structure and by distance to the boundary, and comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go

from imaseg.progress import counted
from imaseg.report import plot
from imaseg.report.audits import Audit, Audits, model_column, owner, reference_word
from imaseg.report.blocks import Block, Cell, Figure, Grid, Heading, Legend, Section, Sentence, Table, Viewer, table
from imaseg.report.compare import main_series
from imaseg.report.drawing.map_slides import SWATCHES, colour_scale, make_viewer
from imaseg.report.drawing.pictures import outlined_classes
from imaseg.report.drawing.volumes import cut, read_volumes, telling_places
from imaseg.report.other_cases import other_cases
from imaseg.report.voxel_maps import Band, bands, case_maps, first_cases, maps_by_set
from imaseg.report.wording import UNDEFINED, amount, decimal, listing, set_name, short, unit_name
from imaseg.results.maps import Compared, VoxelMap

_Stored = list[tuple[Audit, list[VoxelMap]]]
"""Audits with their maps of a case."""
_VIEWERS = 4
_SLIDES, _MOST = 36, 24
"""Slices on the whole page, and of one case: a file must stay small enough to send."""
_FILES = " The whole maps lie next to this page as NIfTI files on the grid of the image."
_LIMIT = (
    "A voxel's margin is an upper bound too: sharp where attacks aimed at few voxels at a time, in structures first, "
    "and loose far away from them."
)


def build(audits: Audits) -> Section | None:
    """Pictures, structures, distances, comparisons."""
    shown = [shown for audit in audits for case in case_maps(audit) for shown in case.maps]
    if not shown:
        return None
    methods, several = {one.method for one in shown}, len(audits) > 1
    swatches = [pair for pair in SWATCHES.items() if pair[0] != "certified" or "certified" in methods]
    blocks: list[Block] = [Legend(outlined_classes(audits), swatches, reference_word(audits))]
    blocks.append(Grid(_viewers(audits), "viewers" if several else "single"))
    blocks += [_structures(audits, whole)] if (whole := bands(audits, whole=True)) else []
    blocks += [Grid(figures)] if (figures := _distances(audits)) else []
    estimates, gaps = _estimates(audits), _gaps(audits)
    blocks += [Heading("The estimate against attacks"), estimates] if estimates.rows else []
    blocks += [Heading("Certificates against attacks on the smoothed model"), gaps] if gaps.rows else []
    lead = (
        "How far each voxel by itself is from being decided otherwise. The slider moves through the slices (arrow "
        f"keys, Home and End{'; models move together' if several else ''})."
    )
    bound = " The estimate from gradients is no bound on either side." if "gradient" in methods else ""
    return Section(
        60,
        "voxels",
        "Voxel margins",
        blocks,
        lead + (_FILES if any(one.file for one in shown) else ""),
        sentences=_sentences(audits, whole),
        methods=list(_methods(audits, methods)),
        limits=[_LIMIT + bound],
    )


def _viewers(audits: Audits) -> list[Viewer]:
    """Of each set the stored cases that fail first; of several models the first case that all of them stored."""
    sets = [maps_by_set(audit) for audit in audits]
    kinds = list(dict.fromkeys(kind for each in sets for kind in each))
    groups: list[tuple[str, _Stored]] = []
    for kind in kinds:
        stored = [(audit, each[kind]) for audit, each in zip(audits, sets, strict=True) if kind in each]
        groups += _shown_together(audits, stored, max(1, min(3, _VIEWERS // len(kinds))))
    groups = groups[:_VIEWERS]
    most = max(4, min(_MOST, _SLIDES // sum(len(stored) for _, stored in groups)))
    return [viewer for case, stored in groups for viewer in _side_by_side(case, stored, most, named=len(audits) > 1)]


def _shown_together(
    audits: Audits, stored: Sequence[tuple[Audit, dict[str, list[VoxelMap]]]], most: int
) -> Iterator[tuple[str, _Stored]]:
    """Cases with the audits whose maps of them are shown side by side."""
    firsts = [first_cases(audit, set(cases), main_series(audits)) for audit, cases in stored]
    alike = not any(other_cases(stored[0][0], audit) for audit, _ in stored)
    shared = [case for case in firsts[0] if alike and all(case in cases for _, cases in stored)]
    units = {maps[0].unit for _, cases in stored for maps in cases.values()}
    if len(audits) == 1 or (shared and len(units) == 1):
        for case in shared[: most if len(audits) == 1 else 1]:
            yield case, [(audit, cases[case]) for audit, cases in stored]
    else:
        for (first, *_), (audit, cases) in zip(firsts, stored, strict=True):
            yield first, [(audit, cases[first])]


def _side_by_side(case: str, stored: _Stored, most: int, *, named: bool) -> list[Viewer]:
    """One viewer per model, on slices that show a structure in the label or in any model's prediction."""
    volumes = [read_volumes(audit.folder, maps) for audit, maps in stored]
    axis, same = volumes[0].axis, len({one.label.shape for one in volumes}) == 1
    shown = [np.any([one.structures for one in (volumes if same else [each])], axis=0) for each in volumes]
    views = [cut(one, axis, telling_places(where, axis, most)) for one, where in zip(volumes, shown, strict=True)]
    scale = max(colour_scale(view, maps) for view, (_, maps) in zip(views, stored, strict=True))
    return [
        make_viewer(case, view, maps, scale, model=audit.name if named else "", group=group)
        for view, (audit, maps) in zip(views, stored, strict=True)
        for group in [f"{maps[0].in_set} {case}" if same and len(stored) > 1 else ""]
    ]


def _structures(audits: Audits, whole: Sequence[Band]) -> Table:
    """One row per map and structure; medians over cases of what holds within each."""
    rows = [
        {
            "Set (unit)": Cell(band.set, unit_name(band.map.unit)),
            **model_column(audits, band.audit),
            "Margins": band.method,
            "Structure": band.structure,
            "Cases": len(band.cases),
            "Voxels": band.voxels,
            "Wrong unattacked": band.share(lambda case: 1 - case.right / case.labelled),
            "Standing": f"{band.share(lambda case: case.certified)} certified"
            if band.map.method == "certified"
            else f"{band.share(lambda case: case.censored)} never flipped",
            "Median": band.median,
        }
        for band in whole
    ]
    caption = (
        "Voxels by structure of the label. Never flipped and median: of the voxels right on the unchanged image, never "
        "flipped ones at the ceiling; over cases the median of medians"
    )
    return table(caption, rows)


def _distances(audits: Audits) -> list[Figure]:
    """Per model and set: margin found by attacks (else estimated) against the distance to the boundary."""
    kinds: dict[tuple[str, str], list[Band]] = {}
    for band in bands(audits, whole=False):
        if band.map.method != "certified":
            kinds.setdefault((band.audit.name, band.map.in_set), []).append(band)
    attacks = [[band for band in here if band.map.method == "attack"] or here for here in kinds.values()]
    return [_distance_figure(audits, number, here) for number, here in enumerate(attacks)]


def _distance_figure(audits: Audits, number: int, here: Sequence[Band]) -> Figure:
    structures: dict[str, list[Band]] = {}
    for band in here:
        structures.setdefault(band.structure, []).append(band)
    first, unit = here[0], unit_name(here[0].map.unit)
    model = f" ({first.audit.name})" if len(audits) > 1 else ""
    ranges = [band.distance for band in sorted(here, key=lambda band: band.cases[0].from_mm or 0.0)]
    across = {"type": "category", "categoryorder": "array", "categoryarray": list(dict.fromkeys(ranges))}
    ceiling = short(max(shown.eps for case in case_maps(first.audit) for shown in case.maps if _alike(shown, first)))
    return plot.figure(
        f"distance-{number}",
        f"{first.set}: margin against distance to the boundary{model}",
        [_line(place, name, each) for place, (name, each) in enumerate(structures.items(), start=1)],
        plot.axis("distance to the boundary (mm)", **across),
        plot.axis(f"margin ({unit})", rangemode="tozero", nticks=6),
        caption=[
            f"Median and quartiles of the voxels right on the unchanged image, {first.method}.",
            f"At the ceiling, {ceiling}, they are lower bounds.",
        ],
        label=f"Line chart of the voxel margin in the {first.set} against the distance to the boundary: "
        f"{listing(structures)}.",
        table=_distance_table(here, f"Voxel margins in the {first.set} by distance to the boundary, {unit}"),
    )


def _alike(shown: VoxelMap, band: Band) -> bool:
    return (shown.in_set, shown.method) == (band.map.in_set, band.map.method)


def _quartiles(band: Band) -> list[float | None]:
    return [band.over_cases(quantile) for quantile in ("q25", "median", "q75")]


def _distance_table(here: Sequence[Band], caption: str) -> Table:
    rows = [
        {
            "Structure": band.structure,
            "Distance (mm)": band.distance,
            "Voxels": band.voxels,
            "Median (quartiles)": f"{short(middle)} ({short(low)} to {short(high)})",
            "Never flipped": band.share(lambda case: case.censored),
        }
        for band in here
        for low, middle, high in [_quartiles(band)]
    ]
    return table(caption, rows)


def _line(number: int, structure: str, here: Sequence[Band]) -> go.Scatter:
    spots, low, high = [], [], []
    for band in here:
        first, middle, last = _quartiles(band)
        if first is not None and middle is not None and last is not None:
            spots.append((band.distance, middle, f"{structure}, {band.distance} mm: median {short(middle)}"))
            low.append(middle - first)
            high.append(last - middle)
    ends = {"type": "data", "symmetric": False, "thickness": 1, "array": high, "arrayminus": low}
    return plot.line(number, structure, spots, width=2, error_y=ends)


def _compared(audits: Audits, method: str) -> Iterator[tuple[Audit, str, VoxelMap, str, Compared]]:
    every = [(audit, case.case, shown) for audit in audits for case in case_maps(audit) for shown in case.maps]
    for audit, case, shown in every:
        if shown.method == method:
            yield from ((audit, case, shown, *found) for found in shown.against_attack.items())


def _estimates(audits: Audits) -> Table:
    """The estimate against what attacks found, case by case."""
    rows = [
        {
            "Set": set_name(shown.perturbation, shown.within),
            **model_column(audits, audit),
            "Case": case,
            "Where": where,
            "Voxels": f"{found.voxels:,}",
            "Median ratio": short(found.ratio),
            "5 % to 95 %": UNDEFINED if found.low is None else f"{short(found.low)} to {short(found.high)}",
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


def _sentences(audits: Audits, whole: Sequence[Band]) -> list[Sentence]:
    """Where half of the voxels of each structure flip."""
    medians: dict[str, list[str]] = {}
    for band in whole:
        if band.map.method == "attack":
            medians.setdefault(f"{owner(audits, band.audit)}{band.set}", []).append(f"{band.structure} {band.median}")
    points = tuple(f"{named}: {listing(each)}" for named, each in medians.items())
    return [Sentence("Half of the voxels that are right on the unchanged image flip at:", points)] if points else []


def _methods(audits: Audits, methods: set[str]) -> Iterator[str]:
    entries = [entry for audit in audits for entry in audit.summary.voxel_margins]
    if "attack" in methods:
        searched = dict.fromkeys(
            f"{set_name(e.perturbation, e.within)} up to {amount(e.eps, e.unit)} on {counted(len(e.per_case), 'case')}"
            for e in entries
        )
        groups = listing(sorted({entry.focus for entry in entries}))
        yield (
            "The margin of a voxel, the size of the smallest change found at which it is decided wrongly, was mapped "
            f"in the {'; '.join(searched)}, over attacks on all voxels at a ladder of budgets and attacks aimed at "
            f"{groups} groups of few voxels each; distances to the boundary are those between voxel centres."
        )
    if "gradient" in methods:
        yield "Its estimate is the gap between logits over the dual norm of that gap's gradient."
