"""What randomised smoothing proves: a table of certified radii, one row per radius and model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imaseg.report.numerals import decimal, listing, short, unit_name
from imaseg.report.parts import Cell, Table, row
from imaseg.report.read import Audit
from imaseg.report.schema_parts import Certified

_Found = Sequence[tuple[str, Certified]]


def certified_tables(audits: Sequence[Audit]) -> list[Table]:
    """One table per probe."""
    groups: dict[tuple[str, str], list[tuple[str, Certified]]] = {}
    for audit in audits:
        for one in audit.summary.certified:
            groups.setdefault((one.probe, one.unit), []).append((audit.name, one))
    return [_table(probe, unit, found) for (probe, unit), found in groups.items()]


def _table(probe: str, unit: str, found: _Found) -> Table:
    """Radii rising, the models of a radius below each other; columns that nobody recorded are left out."""
    lines = sorted(
        ((radius, place, name, one, step) for place, (name, one) in enumerate(found) for step, radius in _steps(one)),
        key=lambda line: line[:2],
    )
    rms = any(one.radii_rms for _, one in found)
    voxels = any(one.certified_foreground for _, one in found)
    rows = [
        row(
            name,
            short(radius),
            *([_at(one.radii_rms, step, short)] if rms else []),
            _at(one.dice_at_radius, step, decimal),
            *([_at(one.certified_foreground, step, decimal)] if voxels else []),
            _share(one.abstained),
            str(one.n),
        )
        for radius, _, name, one, step in lines
    ]
    head = [
        "Model",
        f"Radius ({unit_name(unit)})",
        *(["RMS per voxel"] if rms else []),
        "Dice at radius",
        *(["Certified foreground"] if voxels else []),
        "Abstained",
        "n",
    ]
    return Table(_caption(probe, found), head, rows)


def _steps(one: Certified) -> list[tuple[int, float]]:
    return list(enumerate(one.radii))


def _at(values: Sequence[float | None], step: int, write: Callable[[float | None], str]) -> Cell:
    return Cell(write(values[step])) if step < len(values) else Cell("not recorded", missing=True)


def _caption(probe: str, found: _Found) -> str:
    """Noise, number of noisy copies and chance of a wrong certificate; and what the columns mean."""
    settings = dict.fromkeys(
        f"noise of standard deviation {short(one.sigma)}{f' ({one.relative})' if one.relative else ''}"
        + (f", {one.samples} noisy copies" if one.samples is not None else "")
        + (f", error rate {short(one.alpha)}" if one.alpha is not None else "")
        for _, one in found
    )
    what = list(dict.fromkeys(one.what.strip().rstrip(".") for _, one in found if one.what))
    said = [
        f"Certified by probe {probe}: {listing(list(settings))}",
        *(f"{text[0].upper()}{text[1:]}" for text in what),
    ]
    return ". ".join(said)


def _share(value: float | None) -> str:
    return "not recorded" if value is None else f"{short(100 * value)} %"
