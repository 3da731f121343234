"""What randomised smoothing proves: a table of certified radii, one row per radius and model."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.audits import Audits
from imaseg.report.blocks import Section, Table, table
from imaseg.report.wording import decimal, listing, percent, short, unit_name
from imaseg.results.certificate import CertificateEntry

_Proofs = list[tuple[str, CertificateEntry]]
"""Certificates with the name of the model."""


def build(audits: Audits) -> Section | None:
    """One table per probe."""
    groups: dict[tuple[str, str], _Proofs] = {}
    for audit in audits:
        for entry in audit.summary.certified:
            groups.setdefault((entry.probe, entry.unit), []).append((audit.name, entry))
    if not groups:
        return None
    noises = dict.fromkeys(_noise(entry) for proofs in groups.values() for _, entry in proofs)
    return Section(
        70,
        "certified",
        "Certified radii",
        [_table(probe, unit, proofs) for (probe, unit), proofs in groups.items()],
        "What no attack within the radius can undo, up to the stated error rate. It holds for the model smoothed by "
        "noise.",
        methods=[
            "Certified radii are those of the model smoothed by Gaussian noise (Fischer et al. 2021; "
            f"{'; '.join(noises)}), not of the model itself."
        ],
        works=["certified"],
        limits=["A certificate is about the model smoothed by noise, not about the model itself."],
    )


def _table(probe: str, unit: str, proofs: _Proofs) -> Table:
    """Radii rising, the models of a radius below each other."""
    steps = [(radius, step, *proof) for proof in proofs for step, radius in enumerate(proof[1].radii)]
    rows = [
        {
            "Model": model,
            f"Radius ({unit_name(unit)})": short(radius),
            "RMS per voxel": short(entry.radii_rms[step]),
            "Dice at radius": decimal(entry.dice_at_radius[step]),
            "Certified foreground": decimal(entry.certified_foreground[step]),
            "Smoothed Dice": decimal(entry.dice),
            "Abstained": percent(entry.abstained),
            "n": entry.n,
        }
        for radius, step, model, entry in sorted(steps, key=lambda line: line[0])
    ]
    return table(_caption(probe, [entry for _, entry in proofs]), rows)


def _caption(probe: str, entries: Sequence[CertificateEntry]) -> str:
    """Noise, number of noisy copies and chance of a wrong certificate; and what the columns mean."""
    settings = dict.fromkeys(map(_noise, entries))
    meanings = dict.fromkeys(entry.what.strip().rstrip(".") for entry in entries if entry.what)
    parts = [f"Certified by probe {probe}: {listing(settings)}", *(m[0].upper() + m[1:] for m in meanings)]
    return ". ".join(parts)


def _noise(entry: CertificateEntry) -> str:
    relative = f" ({entry.relative})" if entry.relative else ""
    return (
        f"noise of standard deviation {short(entry.sigma)}{relative}, {entry.samples} noisy copies, family-wise "
        f"error rate {short(entry.alpha)} per case"
    )
