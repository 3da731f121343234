"""What randomised smoothing proves: a table of certified radii, one row per model and noise level."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.numerals import decimal, listing, short, unit_name
from imaseg.report.parts import MISSING, Cell, Table, row
from imaseg.report.read import Audit
from imaseg.report.schema_parts import Certified


def certified_tables(audits: Sequence[Audit]) -> list[Table]:
    """One table per probe and unit, with a column for every radius of any model."""
    groups: dict[tuple[str, str], list[tuple[str, Certified]]] = {}
    for audit in audits:
        for one in audit.summary.certified:
            groups.setdefault((one.probe, one.unit), []).append((audit.name, one))
    return [_table(probe, unit, found) for (probe, unit), found in groups.items()]


def _table(probe: str, unit: str, found: Sequence[tuple[str, Certified]]) -> Table:
    radii = sorted({radius for _, one in found for radius in one.radii})
    rows = []
    for name, one in found:
        at = dict(zip(one.radii, one.dice_at_radius, strict=False))
        shown = [Cell(decimal(at[radius])) if radius in at else MISSING for radius in radii]
        rows.append(row(name, short(one.sigma), *_settings(one), str(one.n), _share(one.abstained), *shown))
    what = listing(list(dict.fromkeys(one.what.strip().rstrip(".") for _, one in found if one.what)))
    caption = f"Certified by probe {probe}, radii in {unit_name(unit)} of the model's input"
    head = ["Model", "Noise sigma", "Draws", "Error rate", "n", "Abstained", *(f"radius {short(r)}" for r in radii)]
    return Table(f"{caption}: {what}" if what else caption, head, rows)


def _settings(one: Certified) -> tuple[str, str]:
    """Number of noisy copies, and the chance of a wrong certificate."""
    return (
        str(one.samples) if one.samples is not None else "not recorded",
        short(one.alpha) if one.alpha is not None else "not recorded",
    )


def _share(value: float | None) -> str:
    return "not recorded" if value is None else f"{short(100 * value)} %"
