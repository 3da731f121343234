"""What randomised smoothing proves: a table of certified radii, one row per radius and model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imaseg.report.audits import Audits
from imaseg.report.blocks import Table, table
from imaseg.report.numerals import decimal, listing, short, unit_name
from imaseg.report.sections.base import Section
from imaseg.report.works import WORKS
from imaseg.results.certificate import CertificateEntry


class _Proof(NamedTuple):
    model: str
    entry: CertificateEntry


def build(audits: Audits) -> Section | None:
    """One table per probe."""
    groups: dict[tuple[str, str], list[_Proof]] = {}
    for audit in audits:
        for entry in audit.summary.certified:
            groups.setdefault((entry.probe, entry.unit), []).append(_Proof(audit.name, entry))
    if not groups:
        return None
    noises = dict.fromkeys(
        f"standard deviation {short(proof.entry.sigma)}, {proof.entry.samples} draws, family-wise error rate "
        f"{short(proof.entry.alpha)} per case"
        for proofs in groups.values()
        for proof in proofs
    )
    return Section(
        70,
        "certified",
        "Certified radii",
        "Certified radii",
        [_table(probe, unit, proofs) for (probe, unit), proofs in groups.items()],
        "What no attack within the radius can undo, up to the stated error rate. It holds for the model smoothed by "
        "noise.",
        methods=[
            "Certified radii are those of the model smoothed by Gaussian noise (Fischer et al. 2021; "
            f"{'; '.join(noises)}), not of the model itself."
        ],
        works=[WORKS["certified"]],
        limits=["A certificate is about the model smoothed by noise, not about the model itself."],
    )


def _table(probe: str, unit: str, proofs: Sequence[_Proof]) -> Table:
    """Radii rising, the models of a radius below each other."""
    steps = [(radius, step, *proof) for proof in proofs for step, radius in enumerate(proof.entry.radii)]
    rows = [
        {
            "Model": model,
            f"Radius ({unit_name(unit)})": short(radius),
            "RMS per voxel": short(entry.radii_rms[step]),
            "Dice at radius": decimal(entry.dice_at_radius[step]),
            "Certified foreground": decimal(entry.certified_foreground[step]),
            "Smoothed Dice": decimal(entry.dice),
            "Abstained": f"{short(100 * entry.abstained)} %",
            "n": entry.n,
        }
        for radius, step, model, entry in sorted(steps, key=lambda line: line[0])
    ]
    return table(_caption(probe, [entry for _, entry in proofs]), rows)


def _caption(probe: str, entries: Sequence[CertificateEntry]) -> str:
    """Noise, number of noisy copies and chance of a wrong certificate; and what the columns mean."""
    settings = dict.fromkeys(
        f"noise of standard deviation {short(entry.sigma)}{f' ({entry.relative})' if entry.relative else ''}, "
        f"{entry.samples} noisy copies, error rate {short(entry.alpha)}"
        for entry in entries
    )
    meanings = dict.fromkeys(entry.what.strip().rstrip(".") for entry in entries if entry.what)
    return ". ".join(
        [f"Certified by probe {probe}: {listing(list(settings))}", *(f"{m[0].upper()}{m[1:]}" for m in meanings)]
    )
